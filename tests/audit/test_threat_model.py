"""The threat model names tests; each of them exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "gateway" / "docs" / "THREAT_MODEL.md").read_text()
CITED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_cited_exists() -> None:
    cited = CITED.findall(TEXT)
    assert len(cited) > 30
    missing = [f"{file}::{name}" for file, name in cited if name not in functions(ROOT / file)]
    assert missing == []


def test_every_threat_cites_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if re.match(r"\| [STRIDE ]+ \|", line)]
    assert len(rows) > 20
    assert [row for row in rows if not CITED.search(row)] == []

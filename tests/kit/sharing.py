"""How several processes share the tests: a file at a time, and what has a fixture in common stays together."""

from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST: Final = (
    "tests/browser/test_ohif.py",
    "tests/adversity/test_store_adversity.py",
    "tests/interop/test_openapi_fuzz.py",
    "tests/regions/",
    "tests/interop/",
    "tests/docker/",
    "tests/cli/",
)
"""What begins first, so that nobody is left alone with it at the end."""

TOGETHER: Final = {
    "tests/interop/test_search_everywhere.py": "two provinces",
    "tests/interop/test_qido_tables.py": "two provinces",
    "tests/regions/": "the small province",
}
"""Files, or folders of them, that share what takes long to start."""


class Sharing(LoadScopeScheduling):  # type: ignore[misc]  # it says no types
    """Gives a process what belongs together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((name for path, name in TOGETHER.items() if file.startswith(path)), file)


def longest_first(items: list[pytest.Item]) -> None:
    """Bring forward what takes long; the rest stays in the order it has."""
    items.sort(
        key=lambda item: next((n for n, path in enumerate(LONGEST) if item.nodeid.startswith(path)), len(LONGEST))
    )

"""Whatever schemathesis makes of the OpenAPI is answered as it says, and never with a failure of ours."""

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.web.parameter_descriptions import INSTANCE, SERIES, STUDY
from regions.plan import SMALL
from regions.truth import default_cache, truth
from tests.interop.serving import PATIENT, Gateway
from tests.kit.peers import SECONDS, free_port, running
from tests.kit.small_province import small_province

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance"),
)
BUDGET = 45
"""Seconds for what is made up beyond the examples: as much as comes of it in them."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of the small embedded province, each in a process of its own."""
    http_port, dimse_port = free_port(), free_port()
    ports = ("--http-port", http_port, "--dimse-port", dimse_port, "--ops-port", 0, "--region-base-port", 0)
    command = [
        sys.executable,
        "-m",
        "gateway",
        "demo",
        "--open",
        "--no-viewer",
        "--scale",
        SMALL.name,
        *map(str, ports),
    ]
    home = tmp_path_factory.mktemp("fuzz")
    small_province(home)
    with running(command, http_port, home / "log", environment=PATIENT | {"XDG_CACHE_HOME": str(home)}) as process:
        yield Gateway(http_port, dimse_port, process.pid)


@pytest.fixture(scope="module")
def openapi(small: Gateway) -> str:
    """The description, its examples moved from the full province to the small one."""
    study = truth(default_cache(1, SMALL.name)).study("ct-volume")
    series = next(one for one in study.series if one.modality == "CT")
    answer = small.get("/openapi.json", "*/*", root="")
    text = answer.body.decode()
    for theirs, ours in (
        (STUDY, study.study_instance_uid),
        (SERIES, series.series_instance_uid),
        (INSTANCE, series.instances[0].sop_instance_uid),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    return text


def examples(document: dict[str, Any]) -> Iterator[str]:
    """Yield each resource that can be had by GET, as its examples name it."""
    for path, methods in document["paths"].items():
        if "get" not in methods:
            continue
        shared = document["components"]["parameters"]
        named = (shared[x["$ref"].split("/")[-1]] for x in methods["get"].get("parameters", ()))
        found = [x for x in named if "example" in x]
        target = path
        for one in found:
            if one["in"] == "path":
                target = target.replace(f"{{{one['name']}}}", str(one["example"]))
        needed = [x for x in found if x.get("required") and x["in"] == "query"]
        query = "&".join(f"{x['name']}={quote(str(x['example']))}" for x in needed)
        if "{" not in target:
            yield f"{target}?{query}" if query else target


def test_the_examples_of_every_resource_work(small: Gateway, openapi: str) -> None:
    refused = {}
    for target in examples(json.loads(openapi)):
        if target.endswith(("/bulkdata", "/events")) or target.startswith(("/regions/", "/fhir/Consent", "/IHE")):
            # A CT has no bulk data but its pixels; what is streamed has no end; one region has not all of it; and who
            # names no patient is told so.
            continue
        connection = http.client.HTTPConnection("127.0.0.1", small.http_port, timeout=SECONDS)
        connection.request("HEAD", target)
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            refused[target] = status
    assert refused == {}


def test_nothing_that_is_made_of_the_openapi_fails_or_is_answered_otherwise_than_it_says(
    small: Gateway, openapi: str, tmp_path: Path
) -> None:
    document = json.loads(openapi)
    for path in list(document["paths"]):
        endless, again = path.endswith("/events"), path.startswith("/regions/") and path.count("/") > 4
        if endless or again:  # what one region alone has is, but for its searches, the same code as the province's
            del document["paths"][path]
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    said = tried(small, file, "--phases", "examples")
    operations = sum(len(methods) for methods in document["paths"].values())
    found = re.search(r"Tested: (\d+)", said)
    assert found, said
    assert operations // 2 < int(found[1]) <= operations
    tried(small, file, "--phases", "coverage,fuzzing", "--max-examples", "3", "--max-time", str(BUDGET))


def tried(small: Gateway, file: Path, *more: str) -> str:
    """Have schemathesis try the description, and return what it says; it finds no fault."""
    options = (
        *("--url", f"http://127.0.0.1:{small.http_port}", "--checks", ",".join(CHECKS), "--generation-deterministic"),
        *("--request-timeout", str(SECONDS), "--workers", "1", "--continue-on-failure"),
        *("--no-color", "--warnings", "off"),
    )
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(file), *options, *more]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=file.parent)
    said = ended.stdout[-20_000:] + ended.stderr[-2_000:]
    assert ended.returncode == 0, said
    return said

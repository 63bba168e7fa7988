"""The conformance statement says what the code does: it is made from it, and the committed one is the current one."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.dimse.sop_classes import STORAGE

COMMITTED = Path(__file__).parents[2] / "gateway/docs/conformance.md"


def conformance(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["conformance", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(conformance("--json").stdout)
    return found


def test_the_committed_statement_is_the_current_one() -> None:
    assert conformance().stdout == COMMITTED.read_text(encoding="utf-8"), (
        "write it again: gateway conformance --output gateway/docs/conformance.md"
    )


def test_it_has_the_sections_of_the_template_in_their_order() -> None:
    """PS3.2 N: content and organisation of a statement shall conform to the template."""
    headings = [line.removeprefix("## ") for line in conformance().stdout.splitlines() if line.startswith("## ")]
    assert headings == [
        "1 Overview",
        "2 Table of Contents",
        "3 Introduction",
        "4 Implementation Model",
        "5 Service and Interoperability Description",
        "6 Configuration",
        "7 Network and Media Communication Details",
        "8 Security",
        "Annex A.A Information Object Definitions",
        "Annex A.B Structured Report Content Encoding",
        "Annex A.C Security Details",
        "Annex A.D Mapping of Attributes",
        "Annex A.E Code Set Usage",
    ]


def test_it_does_not_depend_on_who_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = conformance().stdout
    monkeypatch.setenv("GATEWAY_DIMSE__AE_TITLE", "ELSEWHERE")
    assert conformance().stdout == before


def test_that_of_an_installation_has_its_settings(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text('[dimse]\nae_title = "ONTARIO"\nmaximum_pdu_length = 65536\n')
    text = conformance("--config", tmp_path / "gateway.toml").stdout
    assert "| AE title (configurable) | ONTARIO |" in text
    assert "65536 bytes" in text


def test_roles_are_those_in_which_the_gateway_speaks(facts: dict[str, Any]) -> None:
    roles = {one["name"]: (one["scu"], one["scp"]) for one in facts["network_services"]}
    assert roles["Study Root Query/Retrieve Information Model - MOVE"] == (True, True)
    assert roles["Patient Root Query/Retrieve Information Model - MOVE"] == (False, True)
    assert {one["uid"] for one in facts["storage_sop_classes"]} == STORAGE


def test_every_resource_names_the_transaction_that_answers_it(facts: dict[str, Any]) -> None:
    resources = {one["path"]: one for one in facts["dicomweb"]}
    assert all(one["transactions"] for one in resources.values())
    frames = resources["/dicom-web/studies/{study}/series/{series}/instances/{instance}/frames/{frames}"]
    assert frames["transactions"] == ["Retrieve: retrieveFrames (PS3.18 10.4)"]
    assert frames["scopes"] == ["retrieve"]
    assert "POST" in resources["/dicom-web/studies"]["methods"]
    assert resources["/dicom-web/studies"]["transactions"] == [
        "Search: searchForStudies (PS3.18 10.6)",
        "Store: storeInstances (PS3.18 10.5)",
    ]
    assert resources["/dicom-web/studies"]["scopes"] == ["search", "store"]
    assert resources["/dicom-web/studies/{study}/rendered"]["scopes"] == ["rendered"]
    assert resources["/wado"]["scopes"] == ["rendered", "retrieve"]


def test_storage_commitment_is_served_and_reported_and_asked_of_nobody(facts: dict[str, Any]) -> None:
    [commitment] = [one for one in facts["network_services"] if one["name"].startswith("Storage Commitment")]
    assert (commitment["scu"], commitment["scp"]) == (False, True)
    [report] = [one for one in facts["requestor"] if one["uid"] == commitment["uid"]]
    assert report["role"] == "SCP, to a peer (N-EVENT-REPORT)"


def test_who_may_do_what_is_told(facts: dict[str, Any]) -> None:
    access = facts["access"]
    assert access["modes"] == ["closed", "tokens", "open"]
    assert {scope for one in facts["dicomweb"] for scope in one["scopes"]} <= set(access["scopes"])
    assert access["peer_services"]["commit"] == ["store"]
    assert not any(algorithm.startswith("HS") or algorithm == "none" for algorithm in access["algorithms"])


def test_the_fhir_resources_are_those_of_the_capability_statement(facts: dict[str, Any]) -> None:
    assert {one["type"] for one in facts["fhir"]} == {"Consent", "AuditEvent", "Task"}
    assert all(one["interactions"] and one["search_parameters"] for one in facts["fhir"])


def test_it_can_be_written_to_a_file(tmp_path: Path) -> None:
    assert conformance("--output", tmp_path / "out.md").stdout == ""
    assert (tmp_path / "out.md").read_text(encoding="utf-8") == COMMITTED.read_text(encoding="utf-8")

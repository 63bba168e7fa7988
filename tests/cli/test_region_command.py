"""``gateway region``: the list, the echo, and a profile that says what was learned and loads back."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.cli.learned import Learned, improved, toml
from gateway.cli.probe import Probe
from gateway.cli.visit import Visit
from gateway.region.profile import Profile, load
from tests.kit import dicom, pdus
from tests.kit.peers import free_port, orthanc, pynetdicom_archive
from tests.kit.scripted import scripted_acceptor
from tests.region.picky_archive import PickyArchive

NAMED: dict[str, Any] = {"PatientName": "TREMBLAY^ZOE", "AccessionNumber": "A1", "StudyDescription": "CT HEAD"}


def gateway(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["region", *map(str, arguments)])


def profile(port: int, **more: Any) -> Profile:
    facts = {"name": "NEODIN", "ae_title": "NEODIN", "host": "127.0.0.1", "port": port, "max_associations": 2}
    return Profile.model_validate({**facts, **more})


async def probed(archive: PickyArchive, **more: Any) -> tuple[Profile, Learned]:
    async with scripted_acceptor(archive.script) as node:
        known = profile(node.port, **more)
        learned = await Probe(Visit(known, "GATEWAY", 5.0), None).run(lambda _: None)
    return improved(known, learned), learned


# --- list and echo


@pytest.fixture
def regions(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "regions"
    folder.mkdir()
    with pynetdicom_archive("NEODIN") as node:
        for rank, (name, port) in enumerate((("NEODIN", node.port), ("HDIRS", free_port()))):
            text = f'name = "{name}"\nae_title = "{name}"\nhost = "127.0.0.1"\nport = {port}\n'
            (folder / f"{rank}.toml").write_text(text)
        yield folder


def test_list_shows_the_regions_in_their_order(regions: Path) -> None:
    lines = gateway("list", "--regions", regions).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["region", "NEODIN", "HDIRS"]
    told = json.loads(gateway("list", "--regions", regions, "--json").stdout)
    assert [one["ae_title"] for one in told] == ["NEODIN", "HDIRS"]


def test_echo_says_who_answers_and_ends_as_all_some_or_none_do(regions: Path) -> None:
    result = gateway("echo", "--regions", regions)
    assert result.exit_code == 3
    well, ill = result.stdout.splitlines()
    assert well.startswith("neodin: answers in ")
    assert ill.startswith("hdirs: nothing listens as HDIRS")
    assert gateway("echo", "--regions", regions, "NEODIN").exit_code == 0
    silent = gateway("echo", "--regions", regions, "hdirs", "--json")
    assert (silent.exit_code, json.loads(silent.stdout)[0]["region"]) == (4, "hdirs")


def test_a_region_that_is_not_there_is_told_with_those_that_are(regions: Path) -> None:
    result = gateway("echo", "--regions", regions, "SWODIN")
    assert str(result.exception) == "there is no region 'SWODIN': known are NEODIN, HDIRS"


# --- what a probe learns


async def test_a_key_that_is_ignored_is_told_from_one_that_is_honoured() -> None:
    archive = PickyArchive(dicom.study(1, **NAMED), ignores=["PatientName", "StudyDescription"])
    _, learned = await probed(archive)
    assert {"PatientName", "StudyDescription"} == set(learned.ignored)
    assert {"AccessionNumber", "StudyDate", "StudyInstanceUID", "PatientID"} <= set(learned.honoured)


@pytest.mark.parametrize(
    ("grants", "can", "word", "setting"),
    [(b"", False, "not granted", "auto"), (b"\1", True, "granted", "auto"), (b"\1", False, "refused", "never")],
)
async def test_relational_queries_are_tried_and_not_believed(grants: bytes, can: bool, word: str, setting: str) -> None:
    found, learned = await probed(PickyArchive(dicom.study(1), grants=grants, is_relational=can))
    assert (learned.relational, found.relational_queries) == (word, setting)


@pytest.mark.parametrize(("studies", "cap", "learned"), [(8, 0, 0), (8, 5, 5), (5, 5, 0)])
async def test_a_result_cap_is_found_by_what_its_halves_hold(studies: int, cap: int, learned: int) -> None:
    instances = [each for number in range(1, studies + 1) for each in dicom.study(number, instances=1)]
    found, _ = await probed(PickyArchive(instances, cap=cap))
    assert found.result_cap == learned


async def test_a_probe_cancels_what_is_longer_than_it_wants_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.probe.MOST_ROWS", 3)
    monkeypatch.setattr("gateway.cli.probe.SAMPLE", 3)
    archive = PickyArchive([each for number in range(1, 9) for each in dicom.study(number, instances=1)])
    async with scripted_acceptor(archive.script) as node:
        learned = await Probe(Visit(profile(node.port), "GATEWAY", 5.0), None).run(lambda _: None)
        assert any(peer.saw(pdus.C_CANCEL_RQ) for peer in node.peers)
    assert (learned.rows_seen, learned.result_cap) == (3, None)


async def test_the_rule_for_case_and_accents_is_learned_from_a_name_that_is_there() -> None:
    spelt = dicom.study(1, instances=1, PatientName="BÉLANGER^ZOE")
    plain = dicom.study(2, instances=1, PatientName="TREMBLAY^ZOE")
    _, learned = await probed(PickyArchive([*spelt, *plain]))
    assert (learned.ignores_case, learned.ignores_accents) == (True, False)


async def test_of_an_archive_that_ignores_names_nothing_is_concluded_about_them() -> None:
    archive = PickyArchive(dicom.study(1, PatientName="BÉLANGER^ZOE"), ignores=["PatientName"])
    found, learned = await probed(archive)
    assert (learned.ignores_case, learned.ignores_accents, found.ignores_accents) == (None, None, False)


async def test_an_empty_archive_teaches_little_and_the_remarks_say_so() -> None:
    found, learned = await probed(PickyArchive([]))
    assert any("no study is shown to us" in remark for remark in learned.remarks)
    assert found == profile(found.port)


# --- the profile that is written


def test_what_is_written_loads_back_as_it_was_decided(tmp_path: Path) -> None:
    known = profile(104, move_destinations=("GATEWAY",), title='A "quoted" título')
    learned = Learned(character_set="ISO_IR 192", result_cap=500, c_get=False, c_move=True, relational="refused")
    decided = improved(known, learned)
    (tmp_path / "neodin.toml").write_text(toml(decided, learned, "2026-01-01"), encoding="utf-8")
    [back] = load(tmp_path)
    assert back == decided
    assert (back.retrieve, back.result_cap, back.relational_queries) == ("c-move", 500, "never")
    assert back.character_set == "ISO_IR 192"


@pytest.mark.parametrize(
    ("offered", "c_get", "c_move", "retrieve"),
    [
        (["Study Root MOVE"], True, True, "auto"),
        (["Study Root MOVE"], True, False, "auto"),
        (["Study Root MOVE"], False, True, "c-move"),
        (["Study Root GET"], True, None, "c-get"),
        ([], None, None, "auto"),
    ],
)
def test_a_retrieve_service_is_ruled_out_only_where_the_archive_does_not_have_it(
    offered: list[str], c_get: bool | None, c_move: bool | None, retrieve: str
) -> None:
    learned = Learned(sop_classes=offered, c_get=c_get, c_move=c_move)
    assert improved(profile(104, move_destinations=("GATEWAY",)), learned).retrieve == retrieve


@contextlib.contextmanager
def archive_that_moves(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Run an archive that knows us at the port of a settings file."""
    port = free_port()
    (tmp_path / "gateway.toml").write_text(f"[dimse]\nport = {port}\n")
    with pynetdicom_archive("NEODIN", dicom.study(1, **NAMED), {"GW1": port}) as node:
        yield node.port, tmp_path / "gateway.toml"


def test_an_archive_of_which_only_the_address_is_known_gets_a_profile_that_loads(tmp_path: Path) -> None:
    out = tmp_path / "regions"
    out.mkdir()
    with archive_that_moves(tmp_path) as (port, config):
        target = ("profile", f"127.0.0.1:{port}", "--ae-title", "NEODIN", "--move-destination", "GW1")
        result = gateway(*target, "--config", config, "--output", out / "neodin.toml")
    assert result.exit_code == 0, result.output
    [found] = load(out)
    assert (found.name, found.port, found.move_destinations) == ("NEODIN", port, ("GW1",))
    text = (out / "neodin.toml").read_text()
    assert "# C-GET: works; C-MOVE: works" in text
    assert "# its C-STOREs name of the C-MOVE: AE title and Message ID" in text
    assert "Explicit VR Little Endian" in text
    assert "TREMBLAY" not in text


def test_an_orthanc_is_learned_and_its_profile_loads(tmp_path: Path) -> None:
    with orthanc(tmp_path, "NEODIN", dicomweb=False) as peer:
        peer.upload(dicom.study(1, **NAMED))
        result = gateway("profile", f"127.0.0.1:{peer.port}", "--ae-title", "NEODIN", "--json")
    told = json.loads(result.stdout)
    assert told["learned"]["c_get"] is True
    assert "AccessionNumber" in told["learned"]["honoured"]
    assert Profile.model_validate(told["profile"]).name == "NEODIN"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["NEODIN"], "is not HOST:PORT"),
        (["127.0.0.1:104"], "add --ae-title"),
        (["127.0.0.1:0", "--ae-title", "X"], '"port" cannot be 0'),
    ],
)
def test_a_target_that_cannot_be_probed_is_told(arguments: list[str], said: str) -> None:
    assert said in str(gateway("profile", *arguments).exception)

"""Peer profiles: one small file a peer; every mistake is told by file, key and remedy, all at once."""

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.scp.profile import load
from tests.scp.pacs import peer

PACS = """
name = "GENERAL"
title = "Example General Hospital"
ae_title = "PACS"
addresses = ["10.1.2.0/24", "2001:db8::7"]
services = ["echo", "find", "move", "store"]
move_destination = { host = "10.1.2.7", port = 104 }
may_move_to = ["WORKSTATION"]
certificates = ["pacs.general.example.ca"]
character_set = "ISO_IR 192"
issuer_of_patient_id = "GENERAL"
"""
WORKSTATION = """
name = "WORKSTATION"
ae_title = "WORKSTATION"
addresses = ["10.1.2.9"]
move_destination = { host = "10.1.2.9", port = 104 }
"""


def put(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def refused(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder)
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


def test_a_profile_says_what_it_says(tmp_path: Path) -> None:
    pacs, workstation = load(put(tmp_path, a=PACS, b=WORKSTATION))
    assert (pacs.id, pacs.services) == ("general", ("echo", "find", "move", "store"))
    assert pacs.move_destination is not None
    assert (pacs.move_destination.host, pacs.move_destination.port, pacs.move_destination.tls) == (
        "10.1.2.7",
        104,
        False,
    )
    assert workstation.services == ("echo", "find", "get", "move")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("move_destination", "move_destinations"), 'did you mean "move_destination"?'),
        (('"find"', '"fnid"'), "services"),
        (("10.1.2.0/24", "10.1.2.0/240"), "10.1.2.0/24"),
        (('["10.1.2.0/24", "2001:db8::7"]', "[]"), "addresses"),
        (("ISO_IR 192", "ISO_IR 1"), "Specific Character Set"),
        (("port = 104", "port = 0"), "move_destination.port"),
        (('may_move_to = ["WORKSTATION"]', 'may_move_to = ["ELSEWHERE"]'), "ELSEWHERE"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, changed: tuple[str, str], told: str) -> None:
    faults = refused(put(tmp_path, a=PACS.replace(*changed), b=WORKSTATION))
    assert any(told in fault for fault in faults), faults


def test_two_peers_are_not_the_same(tmp_path: Path) -> None:
    faults = refused(put(tmp_path, a=WORKSTATION, b=WORKSTATION))
    assert [fault.split(":")[0] for fault in faults] == ["b.toml", "b.toml"]


def test_a_folder_without_profiles_is_told(tmp_path: Path) -> None:
    assert "holds no peer profile" in refused(tmp_path)[0]


@pytest.mark.parametrize(
    ("address", "known"),
    [("10.1.2.200", True), ("10.1.3.1", False), ("::ffff:10.1.2.1", True), ("2001:db8::7", True), ("::1", False)],
)
def test_a_peer_calls_from_its_own_addresses(address: str, known: bool) -> None:
    assert peer(addresses=("10.1.2.0/24", "2001:db8::7")).calls_from(address) is known

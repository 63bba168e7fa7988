"""Region profiles: one small file a region; every mistake is told by file, key and remedy, all at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.region.profile import Profile, load

NEODIN = """
name = "NEODIN"
title = "Northern and Eastern Ontario Diagnostic Imaging Network"
ae_title = "NEODIN"
host = "127.0.0.1"
port = 11201
retrieve = "auto"                    # "auto" | "c-get" | "c-move"
move_destinations = ["GATEWAY"]      # our AE titles, as this region knows them
max_associations = 4
character_set = "ISO_IR 100"         # when a response does not say
time_zone = "America/Toronto"
issuer_of_patient_id = "NEODIN"
"""
SHORTEST: dict[str, Any] = {"name": "HDIRS", "ae_title": "HDIRS", "host": "10.0.0.5", "port": 104}


def toml(**values: Any) -> str:
    written = {key: value for key, value in {**SHORTEST, **values}.items() if value is not None}
    return "".join(f"{key} = {json.dumps(x)}\n" for key, x in written.items())


def put(folder: Path, **files: str | bytes) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def refused(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder)
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


def test_a_profile_says_what_it_says(tmp_path: Path) -> None:
    [profile] = load(put(tmp_path, neodin=NEODIN))
    assert profile.id == "neodin"
    assert profile == Profile(
        name="NEODIN",
        title="Northern and Eastern Ontario Diagnostic Imaging Network",
        ae_title="NEODIN",
        host="127.0.0.1",
        port=11201,
        retrieve="auto",
        move_destinations=("GATEWAY",),
        max_associations=4,
        character_set="ISO_IR 100",
        time_zone="America/Toronto",
        issuer_of_patient_id="NEODIN",
    )


def test_only_name_and_address_must_be_said(tmp_path: Path) -> None:
    [profile] = load(put(tmp_path, hdirs=toml()))
    assert (profile.retrieve, profile.max_associations, profile.character_set) == ("auto", 4, "ISO_IR 100")
    assert (profile.time_zone, profile.move_destinations) == ("America/Toronto", ())
    assert (profile.relational_queries, profile.ignores_accents, profile.result_cap) == ("auto", False, 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [("relational_queries", "always"), ("ignores_accents", 1), ("result_cap", -1), ("result_cap", "9")],
)
def test_what_is_said_of_its_searches_is_checked(tmp_path: Path, key: str, value: object) -> None:
    assert load(put(tmp_path, hdirs=toml(relational_queries="never", ignores_accents=True, result_cap=500)))
    [fault] = refused(put(tmp_path, hdirs=toml(**{key: value})))
    assert key in fault


def test_the_order_of_the_file_names_ranks_the_regions(tmp_path: Path) -> None:
    files = {name: toml(name=name.upper()) for name in ("swodin", "hdirs", "neodin")}
    assert [profile.id for profile in load(put(tmp_path, **files))] == ["hdirs", "neodin", "swodin"]


def test_other_files_of_the_folder_are_none_of_our_business(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("not TOML = =")
    assert len(load(put(tmp_path, hdirs=toml()))) == 1


# --- what is refused


@pytest.mark.parametrize("key", SHORTEST)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    assert refused(put(tmp_path, hdirs=toml(**{key: None}))) == [f'hdirs.toml: "{key}" is missing: add it']


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("aetitle", "ae_title"),
        ("AE_Title", "ae_title"),
        ("move_destination", "move_destinations"),
        ("charset", "character_set"),
        ("timezone", "time_zone"),
        ("max_association", "max_associations"),
        ("issuer", "issuer_of_patient_id"),
        ("hostname", "host"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_name(tmp_path: Path, key: str, near: str) -> None:
    [said] = refused(put(tmp_path, hdirs=toml(**{key: "x"})))
    assert said.startswith(f'hdirs.toml: "{key}" is not a known key: ')
    assert near in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "GTA West"),
        ("name", "-x"),
        ("name", "région"),
        ("name", "x" * 33),
        ("name", "a;state=complete"),
        ("name", "../etc"),
        ("name", 1),
        ("ae_title", ""),
        ("ae_title", "A" * 17),
        ("ae_title", "RÉGION"),
        ("host", ""),
        ("host", 10),
        ("port", 0),
        ("port", 65536),
        ("port", "104"),
        ("port", True),
        ("retrieve", "wado"),
        ("retrieve", "C-MOVE"),
        ("move_destinations", "GATEWAY"),
        ("max_associations", 0),
        ("max_associations", 2.5),
        ("max_associations", True),
        ("character_set", "latin-1"),
        ("character_set", "ISO_IR 100\\nonsense"),
        ("time_zone", "Toronto"),
        ("time_zone", "../../etc/passwd"),
        ("time_zone", ""),
        ("title", 5),
    ],
)
def test_a_wrong_value_is_refused_by_file_and_key(tmp_path: Path, key: str, value: object) -> None:
    [said] = refused(put(tmp_path, hdirs=toml(**{key: value})))
    assert said.startswith(f'hdirs.toml: "{key}" cannot be {value!r}: ')


def test_a_wrong_move_destination_is_named_by_its_place(tmp_path: Path) -> None:
    [said] = refused(put(tmp_path, hdirs=toml(move_destinations=["GATEWAY", "TOO_LONG_AN_AE_TITLE"])))
    assert said.startswith('hdirs.toml: "move_destinations.1" cannot be ')


@pytest.mark.parametrize("key", ["character_set", "time_zone", "name"])
def test_the_remedy_shows_an_example(tmp_path: Path, key: str) -> None:
    [said] = refused(put(tmp_path, hdirs=toml(**{key: "?"})))
    assert " such as " in said


@pytest.mark.parametrize(
    "value", ["ISO_IR 192", "ISO_IR 6", "\\ISO 2022 IR 87", "ISO 2022 IR 6\\ISO 2022 IR 100", "GB18030"]
)
def test_every_defined_term_of_specific_character_set_is_taken(tmp_path: Path, value: str) -> None:
    [profile] = load(put(tmp_path, hdirs=toml(character_set=value)))
    assert profile.character_set == value


def test_two_regions_of_one_name_are_refused_whatever_its_case(tmp_path: Path) -> None:
    [said] = refused(put(tmp_path, a=toml(), b=toml(name="Hdirs", ae_title="OTHER")))
    assert said == "b.toml: \"name\" 'Hdirs' is taken by another profile: give each region its own"


def test_c_move_without_a_move_destination_is_refused(tmp_path: Path) -> None:
    [said] = refused(put(tmp_path, hdirs=toml(retrieve="c-move")))
    assert said.startswith('hdirs.toml: "move_destinations" is empty: ')


def test_c_get_needs_no_move_destination(tmp_path: Path) -> None:
    assert load(put(tmp_path, hdirs=toml(retrieve="c-get")))


def test_two_regions_that_one_c_store_could_come_from_are_refused(tmp_path: Path) -> None:
    """A C-STORE is bound by AE titles: two regions alike in theirs and in ours could not be told apart."""
    first, second = (toml(name=name, ae_title="ORTHANC", move_destinations=["GATEWAY"]) for name in ("A", "B"))
    [said] = refused(put(tmp_path, a=first, b=second))
    assert said.startswith('b.toml: "ae_title" ')


def test_two_regions_of_one_ae_title_are_told_apart_by_their_move_destinations(tmp_path: Path) -> None:
    first, second = (toml(name=name, ae_title="ORTHANC", move_destinations=[f"GATEWAY{name}"]) for name in ("A", "B"))
    assert len(load(put(tmp_path, a=first, b=second))) == 2


def test_every_mistake_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    said = refused(
        put(
            tmp_path,
            a=toml(prot=1, port=0),
            b="name = ",
            c=b"title = '\xe9'",
            d=toml(name="D", time_zone="Mars"),
            e=toml(name="E"),
        )
    )
    assert [line.split(":")[0] for line in said] == ["a.toml", "a.toml", "b.toml", "c.toml", "d.toml"]


def test_a_folder_without_profiles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no region profile: put one \*\.toml file per region there"):
        load(tmp_path)


def test_a_folder_that_is_not_there_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent: is not a folder"):
        load(tmp_path / "absent")

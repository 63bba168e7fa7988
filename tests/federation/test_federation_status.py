"""Completeness: which regions answered, in headers that a program can read."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.federation.completeness import COMPLETE, LIMITED, Completeness, RegionState


def slugs(root: type[GatewayError] = GatewayError) -> Iterator[str]:
    yield root.slug
    for child in root.__subclasses__():
        yield from slugs(child)


STATES = st.builds(
    RegionState,
    region=st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True),
    state=st.sampled_from([COMPLETE, LIMITED, "identity-conflict", *slugs()]),
    count=st.none() | st.integers(0, 10**9),
)
MEMBER = re.compile(r"([a-z][a-z0-9_-]*);state=([a-z][a-z-]*)(?:;matches=(\d+))?")


def test_the_header_reads_as_documented() -> None:
    states = (RegionState("neodin", COMPLETE, 12), RegionState("hdirs", "timeout"))
    assert Completeness("matches", states).header() == "neodin;state=complete;matches=12, hdirs;state=timeout"


def test_a_region_that_failed_after_some_rows_says_how_many() -> None:
    assert Completeness("matches", (RegionState("a", "aborted", 3),)).header() == "a;state=aborted;matches=3"


def test_none_found_is_not_the_same_as_not_known() -> None:
    states = (RegionState("a", COMPLETE, 0), RegionState("b", COMPLETE))
    assert Completeness("instances", states).header() == "a;state=complete;instances=0, b;state=complete"


@given(st.lists(STATES, min_size=1, unique_by=lambda state: state.region))
def test_a_program_reads_back_what_was_said(states: list[RegionState]) -> None:
    header = Completeness("matches", tuple(states)).header()
    read = [MEMBER.fullmatch(member) for member in header.split(", ")]
    assert [
        RegionState(found[1], found[2], None if found[3] is None else int(found[3])) for found in read if found
    ] == states


def test_every_region_that_may_be_missing_gets_a_warning_that_names_it() -> None:
    states = (RegionState("a", COMPLETE, 1), RegionState("b", "timeout"), RegionState("c", LIMITED, 10))
    first, second = Completeness("matches", states).warnings()
    assert first == "region b unavailable (timeout): results incomplete"
    assert second.startswith("region c has more ")


def test_a_complete_answer_has_no_warning() -> None:
    answer = Completeness("matches", (RegionState("a", COMPLETE, 0),))
    assert (answer.missing, answer.warnings(), answer.failed) == ((), [], False)


@pytest.mark.parametrize(
    ("states", "failed"),
    [
        ([], False),
        (["timeout"], True),
        (["timeout", "refused"], True),
        (["timeout", COMPLETE], False),
        (["timeout", LIMITED], False),
        ([LIMITED], False),
    ],
)
def test_the_province_failed_when_each_of_its_regions_did(states: list[str], failed: bool) -> None:
    answer = Completeness("matches", tuple(RegionState(f"r{i}", state) for i, state in enumerate(states)))
    assert answer.failed is failed

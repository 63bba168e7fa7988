"""The one order of an answer and the pages cut from it: the same for the same search (PS3.18 8.3.4.4)."""

import math
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.attributes import first
from gateway.dataset.query import Level, Row
from gateway.federation.paging import ordered, page
from tests.federation.scripted_region import KEYS, row

DATE, TIME, SERIES_NUMBER, INSTANCE_NUMBER = "00080020", "00080030", "00200011", "00200013"

dates = st.sampled_from(["20240101", "20231231", "19991231", None])
times = st.sampled_from(["101500", "1015", "101500.5", "235959", None])
studies = st.lists(
    st.tuples(st.integers(1, 99), dates, times).map(lambda x: row(uid=f"1.{x[0]}", _00080020=x[1], _00080030=x[2])),
    unique_by=lambda x: first(x["0020000D"]),
)
odd: st.SearchStrategy[Any] = st.sampled_from(
    ["", "19991399", "1999.11.05", "today", 20240101, {"Alphabetic": "x"}, [], None]
)
numbers: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, 2, 10, -1, 1.5, 10**400, "1a", None, "7", " +07 ", "-", math.nan, math.inf, True, {}]
)


def uids(rows: list[Row], level: Level = Level.STUDY) -> list[str]:
    return [str(first(x[KEYS[level]])) for x in rows]


@given(studies, st.randoms())
def test_the_order_does_not_depend_on_arrival(rows: list[Row], dice: random.Random) -> None:
    shuffled = dice.sample(rows, len(rows))
    assert ordered(shuffled, Level.STUDY) == ordered(rows, Level.STUDY)


@given(studies)
def test_studies_go_from_new_to_old_and_by_uid_at_one_time(rows: list[Row]) -> None:
    keys = [
        (first(x.get(DATE)) or "", first(x.get(TIME)) or "", first(x["0020000D"])) for x in ordered(rows, Level.STUDY)
    ]
    for (date, time, uid), (next_date, next_time, next_uid) in pairwise(keys):
        assert (date, time) > (next_date, next_time) or ((date, time) == (next_date, next_time) and uid < next_uid)


def test_a_study_without_a_date_comes_last() -> None:
    rows = [row(uid="1"), row(uid="2", _00080020="19000101"), row(uid="3", _00080020="20240101")]
    assert uids(ordered(rows, Level.STUDY)) == ["3", "2", "1"]


@pytest.mark.parametrize(("level", "tag"), [(Level.SERIES, SERIES_NUMBER), (Level.IMAGE, INSTANCE_NUMBER)])
def test_series_and_instances_go_by_number_then_uid(level: Level, tag: str) -> None:
    rows = [row(level, uid, **{f"_{tag}": n}) for uid, n in [("4", None), ("3", 10), ("2", 2), ("1", 10), ("5", "x")]]
    assert uids(ordered(rows, level), level) == ["2", "1", "3", "4", "5"]


@given(st.lists(numbers), st.randoms())
def test_a_number_of_any_kind_has_a_place(values: list[object], dice: random.Random) -> None:
    """A region may send an Integer String of a thousand digits, a fraction or letters."""
    rows = [row(Level.IMAGE, f"1.{i}", _00200013=value) for i, value in enumerate(values)]
    shuffled = dice.sample(rows, len(rows))
    assert ordered(shuffled, Level.IMAGE) == ordered(rows, Level.IMAGE)


@given(st.lists(st.tuples(odd, odd)), st.randoms())
def test_a_moment_of_any_kind_has_a_place(moments: list[tuple[Any, Any]], dice: random.Random) -> None:
    rows: list[Row] = [
        {
            "0020000D": {"vr": "UI", "Value": [f"1.{i}"]},
            DATE: {"vr": "DA", "Value": [d]},
            TIME: {"vr": "TM", "Value": [t]},
        }
        for i, (d, t) in enumerate(moments)
    ]
    shuffled = dice.sample(rows, len(rows))
    assert uids(ordered(shuffled, Level.STUDY)) == uids(ordered(rows, Level.STUDY))


def test_a_date_with_the_punctuation_of_old_is_that_date() -> None:
    rows = [
        row(uid="1", _00080020="1994.11.05"),
        row(uid="2", _00080020="19941104"),
        row(uid="3", _00080020="19941106"),
    ]
    assert uids(ordered(rows, Level.STUDY)) == ["3", "1", "2"]


def test_a_number_in_letters_is_that_number() -> None:
    rows = [
        row(Level.IMAGE, "1", _00200013="10"),
        row(Level.IMAGE, "2", _00200013=9),
        row(Level.IMAGE, "3", _00200013=" 8"),
    ]
    assert uids(ordered(rows, Level.IMAGE), Level.IMAGE) == ["3", "2", "1"]


# --- pages

ROWS = [row(uid=f"1.{i}") for i in range(10)]


@pytest.mark.parametrize(
    ("offset", "limit", "most", "cut", "remaining"),
    [
        (0, None, 1000, range(10), 0),
        (0, 3, 1000, range(3), 7),
        (3, 3, 1000, range(3, 6), 4),
        (9, 3, 1000, range(9, 10), 0),
        (10, 3, 1000, range(0), 0),
        (99, None, 1000, range(0), 0),
        (0, 0, 1000, range(0), 10),
        (0, None, 4, range(4), 6),
        (0, 99, 4, range(4), 6),
        (8, 99, 4, range(8, 10), 0),
        (0, 10, 10, range(10), 0),
    ],
)
def test_a_page_is_cut_at_offset_and_limit(
    offset: int, limit: int | None, most: int, cut: range, remaining: int
) -> None:
    assert page(ROWS, offset, limit, most) == ([ROWS[i] for i in cut], remaining)


@given(st.integers(0, 30), st.none() | st.integers(0, 30), st.integers(1, 30), st.integers(0, 25))
def test_offset_page_and_remainder_add_up(offset: int, limit: int | None, most: int, count: int) -> None:
    rows = [row(uid=f"1.{i}") for i in range(count)]
    cut, remaining = page(rows, offset, limit, most)
    assert len(cut) <= most
    assert limit is None or len(cut) <= limit
    assert min(offset, count) + len(cut) + remaining == count


@given(st.integers(1, 7), st.integers(0, 25))
def test_turning_the_pages_shows_each_row_once(size: int, count: int) -> None:
    rows = [row(uid=f"1.{i}") for i in range(count)]
    shown: list[Row] = []
    remaining = count
    while remaining:
        cut, remaining = page(rows, len(shown), size, 1000)
        shown += cut
    assert shown == rows


@pytest.mark.parametrize("attribute", [None, {"vr": "LO"}, {"vr": "LO", "Value": []}, {"vr": "LO", "Value": [None]}])
def test_an_attribute_without_a_value_has_no_first_value(attribute: dict[str, object] | None) -> None:
    assert first(attribute) is None

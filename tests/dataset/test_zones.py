"""Dates and times are compared in the caller's time zone and never rewritten (PS3.4 C.2.2.2.5; trap 8)."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.dataset.matching import Verdict, matcher
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.zones import minutes_east, offset, upstream

TORONTO = ZoneInfo("America/Toronto")
VANCOUVER = ZoneInfo("America/Vancouver")
EAST, PACIFIC, GREENWICH = -300, -480, 0


def row(day: str, time: str | None = None, own: str | None = None) -> Row:
    attributes: dict[str, tuple[str, str | None]] = {
        "00080020": ("DA", day),
        "00080030": ("TM", time),
        "00080201": ("SH", own),
    }
    return {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in attributes.items() if value is not None}


def asking(caller: int | None, dates: str = "", times: str = "") -> Query:
    keys: dict[TagPath, str] = {("00080020",): dates, ("00080030",): times}
    return Query(Level.STUDY, keys={path: key for path, key in keys.items() if key}, utc_offset=caller)


# --- what a row's offset is


@pytest.mark.parametrize(
    ("day", "time", "expected"),
    [
        ("20240115", "101530", "-0500"),
        ("20240715", "101530", "-0400"),
        ("20240115", None, "-0500"),
        ("2024.07.15", None, "-0400"),
        ("20240310", "015959", "-0500"),
        ("20240310", "030000", "-0400"),
        ("20241103", "0059", "-0400"),
        ("20241103", "03", "-0500"),
        # on the day of the change, without the time of day, nobody knows
        ("20240310", None, None),
        ("nonsense", "101530", None),
        ("00000000", None, None),
    ],
)
def test_offset_follows_daylight_saving_time_by_the_date_of_the_row(day: str, time: str, expected: str | None) -> None:
    assert offset(row(day, time), TORONTO) == expected


def test_offset_of_zones_that_are_no_whole_hours_off() -> None:
    assert offset(row("20240115"), ZoneInfo("America/St_Johns")) == "-0330"
    assert offset(row("20240115"), ZoneInfo("Asia/Kathmandu")) == "+0545"
    assert offset(row("20240115"), ZoneInfo("UTC")) == "+0000"


def test_offset_of_an_instance_is_told_by_the_first_date_it_has() -> None:
    assert offset({"00080023": {"vr": "DA", "Value": ["20240715"]}, "00080020": {"vr": "DA"}}, TORONTO) == "-0400"
    assert offset({"00080060": {"vr": "CS", "Value": ["CT"]}}, TORONTO) is None
    assert offset({"00400244": {"vr": "DA", "Value": ["20240115"]}}, TORONTO) == "-0500"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-0500", -300), ("+0545", 345), ("+0000", 0), (" -0330 ", -210), ("-1200", -720), ("+1400", 840)],
)
def test_offset_is_read(text: str, expected: int) -> None:
    assert minutes_east(text) == expected


@pytest.mark.parametrize("text", ["", "0500", "-500", "-05:00", "-0560", "+1500", "EST", "-٠٥٠٠"])
def test_what_is_no_offset_is_none(text: str) -> None:
    assert minutes_east(text) is None


# --- matching


@pytest.mark.parametrize(
    ("caller", "found", "expected"),
    [
        # 23:30 in Toronto on the 15th is the 15th there, 22:30 in Winnipeg, 20:30 in Vancouver, the 16th in Greenwich
        (EAST, row("20240115", "233000"), True),
        (PACIFIC, row("20240115", "233000"), True),
        (GREENWICH, row("20240115", "233000"), False),
        (GREENWICH, row("20240114", "233000"), True),
        (PACIFIC, row("20240116", "023000"), True),
        (PACIFIC, row("20240116", "030000"), False),
        # in July Toronto is four hours behind Greenwich
        (None, row("20240115", "233000"), True),
        # the row's own offset comes before its region's
        (GREENWICH, row("20240114", "180000", "-0600"), True),
        (GREENWICH, row("20240114", "175959", "-0600"), False),
        (GREENWICH, row("20240114", "190000"), True),
        # one that is none is as if it were absent
        (GREENWICH, row("20240114", "190000", "EST"), True),
    ],
)
def test_day_is_the_callers(caller: int | None, found: Row, expected: bool) -> None:
    assert matcher(asking(caller, "20240115"), TORONTO)(found) == Verdict(matches=expected)


def test_day_in_summer_is_an_hour_nearer_to_greenwich() -> None:
    verdict_on = matcher(asking(GREENWICH, "20240716"), TORONTO)
    assert verdict_on(row("20240715", "200000"))
    assert not verdict_on(row("20240715", "195959"))


@pytest.mark.parametrize(
    ("day", "expected"),
    [("20240112", False), ("20240113", None), ("20240114", True), ("20240115", None), ("20240116", False)],
)
def test_day_without_a_time_is_unverified_where_it_may_be_another_in_the_callers_zone(
    day: str, expected: bool | None
) -> None:
    verdict = matcher(asking(GREENWICH, "20240114-20240115"), TORONTO)(row(day))
    unverified = (("00080020",),) if expected is None else ()
    assert verdict == Verdict(matches=expected is not False, unverified=unverified)


def test_day_without_a_time_is_certain_where_the_zones_agree() -> None:
    verdict_on = matcher(asking(EAST, "20240115"), TORONTO)
    assert verdict_on(row("20240115")) == Verdict(matches=True)
    assert verdict_on(row("20240116")) == Verdict(matches=False)


@pytest.mark.parametrize(
    ("times", "found", "expected"),
    [
        ("0000-0100", row("20240115", "190000"), True),
        ("0000-0100", row("20240715", "190000"), False),
        ("0000-0100", row("20240715", "200000"), True),
        ("0030", row("20240115", "193045"), True),
        ("0000-0100", row("20240115", "003000", "+0000"), True),
    ],
)
def test_time_of_day_is_the_callers_midnight_included(times: str, found: Row, expected: bool) -> None:
    assert bool(matcher(asking(GREENWICH, times=times), TORONTO)(found)) is expected


def test_time_without_a_date_is_unverified_unless_the_row_names_its_offset() -> None:
    verdict_on = matcher(asking(GREENWICH, times="0000-0100"), TORONTO)
    assert verdict_on({"00080030": {"vr": "TM", "Value": ["190000"]}}).unverified == (("00080030",),)
    own: Row = {"00080030": {"vr": "TM", "Value": ["190000"]}, "00080201": {"vr": "SH", "Value": ["-0500"]}}
    assert verdict_on(own) == Verdict(matches=True)
    assert verdict_on({"00080030": {"vr": "TM", "Value": ["nonsense"]}}).unverified == (("00080030",),)
    assert not verdict_on({"00080030": {"vr": "TM"}})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (row("20240114", "190000"), True),
        (row("20240114", "185959"), False),
        (row("20240115", "120000"), True),
        (row("20240115", "120001"), True),
        (row("20240115", "120101"), False),
    ],
)
def test_date_and_time_pair_is_one_range_of_instants_in_the_callers_zone(found: Row, expected: bool) -> None:
    assert bool(matcher(asking(GREENWICH, "20240115-20240115", "0000-1700"), TORONTO)(found)) is expected


@pytest.mark.parametrize(
    ("key", "value", "own", "expected"),
    [
        # PS3.4 C.2.2.2.1.3: 10:30 local in Greenwich is 07:30 at -0300
        ("19980128103000", "19980128073000-0300", None, True),
        ("19980128103000", "19980128073000", "-0300", True),
        ("19980128103000", "19980128073000", None, False),
        ("19980128103000", "19980128053000", None, True),
        ("19980128103000+0100", "19980128043000", None, True),
        ("199801281030+0000-199801280631-0400", "19980128053000", None, True),
        ("199801281030+0000-199801280628-0400", "19980128053000", None, False),
        ("-19980128", "19980128185959", None, True),
        ("-19980128", "19980128190000", None, False),
        ("1998", "nonsense", None, None),
    ],
)
def test_date_time_is_one_instant_whatever_zone_it_is_written_in(
    key: str, value: str, own: str | None, expected: bool | None
) -> None:
    query = Query(Level.STUDY, keys={("0008002A",): key}, utc_offset=GREENWICH)
    found: Row = {**row("19980128", own=own), "0008002A": {"vr": "DT", "Value": [value]}}
    verdict = matcher(query, TORONTO)(found)
    assert (verdict.matches, bool(verdict.unverified)) == (expected is not False, expected is None)


def test_date_time_without_offset_is_in_the_regions_zone_also_when_the_caller_names_none() -> None:
    verdict_on = matcher(Query(Level.STUDY, keys={("0008002A",): "20240115150000+0000"}), TORONTO)
    assert verdict_on({"0008002A": {"vr": "DT", "Value": ["20240115100000"]}})
    assert not verdict_on({"0008002A": {"vr": "DT", "Value": ["20240115150000"]}})


def test_birthday_is_the_same_in_every_zone() -> None:
    born: Row = {"00100030": {"vr": "DA", "Value": ["19700101"]}, "00080201": {"vr": "SH", "Value": ["-0800"]}}
    for key, expected in (("19700101", True), ("19700102", False), ("19691231-19700101", True)):
        query = Query(Level.STUDY, keys={("00100030",): key}, utc_offset=840)
        assert matcher(query, VANCOUVER)(born) == Verdict(matches=expected)
        assert upstream(query, VANCOUVER).keys == query.keys


def test_dates_inside_a_sequence_are_in_the_offset_that_the_row_names() -> None:
    path: TagPath = ("00400275", "00400002")
    query = Query(Level.STUDY, keys={path: "20240115"}, utc_offset=GREENWICH)
    step: Row = {
        "00400002": {"vr": "DA", "Value": ["20240114"]},
        "00400003": {"vr": "TM", "Value": ["193000"]},
    }
    own: Row = {"00080201": {"vr": "SH", "Value": ["-0400"]}, "00400275": {"vr": "SQ", "Value": [step]}}
    assert not matcher(query, TORONTO)(own)
    assert matcher(query, TORONTO)({"00400275": {"vr": "SQ", "Value": [step]}})
    assert upstream(query, TORONTO).keys == {path: "20240114-20240115"}


def test_row_of_an_unknown_zone_is_compared_as_it_is_written() -> None:
    assert matcher(asking(GREENWICH, "20240115", "2330"))(row("20240115", "233000"))
    assert not matcher(asking(GREENWICH, "20240115"))(row("20240115", "233000", "-0500"))


def test_matching_leaves_the_row_alone() -> None:
    found = row("20240115", "233000")
    matcher(asking(GREENWICH, "20240116", "0000-1000"), TORONTO)(found)
    assert found == row("20240115", "233000")


# --- what a region is asked


@pytest.mark.parametrize(
    ("caller", "dates", "times", "asked"),
    [
        # nobody names a zone: nothing changes
        (None, "20240115", "0800", ("20240115", "0800")),
        # the zones agree
        (EAST, "20240115", "0800-0900", ("20240115", "0800-0900")),
        (EAST, "20240101-20240131", "0800", ("20240101-20240131", "0800")),
        # they do not: only the side that reaches into another day is widened
        (GREENWICH, "20240115", "0800", ("20240114-20240115", "")),
        (PACIFIC, "20240115", "", ("20240115-20240116", None)),
        (GREENWICH, "20240101-20240131", "", ("20231231-20240131", None)),
        (GREENWICH, "20240101-", "", ("20231231-", None)),
        (PACIFIC, "-20240131", "", ("-20240201", None)),
        # in summer they do not either
        (EAST, "20240715", "0800", ("20240715-20240716", "")),
        (EAST, "20240101-20241231", "0800", ("20240101-20241231", "")),
        # a list, a shorter date, a date in the old form
        (GREENWICH, "20240115\\20240120", "", ("20240114-20240115\\20240119-20240120", None)),
        (GREENWICH, "2024.01.15", "", ("20240114-20240115", None)),
        (GREENWICH, "202402", "", ("20240131-20240229", None)),
        # the ends of the calendar, and what is no date
        (GREENWICH, "00010101", "", ("", None)),
        (PACIFIC, "99991231-", "", ("", None)),
        (GREENWICH, "nonsense", "", ("nonsense", None)),
        # times without a date, or without an end: the clocks change in between
        (EAST, "", "0800", (None, "")),
        (EAST, "20240101-", "0800-", ("20240101-", "")),
    ],
)
def test_region_is_asked_for_the_days_that_may_be_the_callers(
    caller: int | None, dates: str, times: str, asked: tuple[str | None, str | None]
) -> None:
    query = upstream(asking(caller, dates, times), TORONTO)
    assert (query.keys.get(("00080020",)), query.keys.get(("00080030",))) == asked
    assert query.utc_offset is None


def test_other_keys_are_asked_as_they_are() -> None:
    keys: dict[TagPath, str] = {("00100020",): "MRN-1", ("00100010",): "20240115", ("0008002A",): "2024"}
    query = Query(Level.SERIES, "1.2", keys=keys, utc_offset=GREENWICH, fuzzy=True, limit=7)
    assert upstream(query, TORONTO) == replace(query, keys={**keys, ("0008002A",): ""}, utc_offset=None)


# --- properties

ZONES = st.sampled_from(
    [
        *(ZoneInfo(f"America/{city}") for city in ("Toronto", "Winnipeg", "Vancouver", "St_Johns", "Regina", "Havana")),
        ZoneInfo("UTC"),
        ZoneInfo("Asia/Kathmandu"),
        ZoneInfo("Pacific/Kiritimati"),
        ZoneInfo("Pacific/Apia"),
        ZoneInfo("Australia/Lord_Howe"),
    ]
)
OFFSETS = st.integers(-48, 56).map(lambda quarters: quarters * 15)
# Days around which clocks change, and others.
DAYS = st.one_of(
    st.dates(date(2024, 3, 8), date(2024, 3, 12)),
    st.dates(date(2024, 11, 1), date(2024, 11, 5)),
    st.dates(date(2011, 12, 28), date(2012, 1, 1)),
    st.dates(date(1990, 1, 1), date(2030, 1, 1)),
)
TIMES = st.times().map(lambda time: f"{time:%H%M%S}")


@st.composite
def date_keys(draw: st.DrawFn) -> str:
    first = draw(DAYS)
    last = first + timedelta(days=draw(st.integers(0, 40)))
    form = draw(st.sampled_from(["{0}", "{0}-{1}", "{0}-", "-{1}"]))
    return form.format(f"{first:%Y%m%d}", f"{last:%Y%m%d}")


@st.composite
def time_keys(draw: st.DrawFn) -> str:
    first, last = sorted((draw(TIMES), draw(TIMES)))
    return draw(st.sampled_from(["", "{0}-{1}", "{0}-", "-{1}", "{0}"])).format(first, last)


@st.composite
def near(draw: st.DrawFn, key: str) -> str:
    """A day at the ends of a key, where zones decide."""
    ends = [end for end in key.split("-") if end]
    end = datetime.strptime(draw(st.sampled_from(ends)), "%Y%m%d").replace(tzinfo=UTC)
    return f"{end + timedelta(days=draw(st.integers(-3, 3))):%Y%m%d}"


@given(
    zone=ZONES, caller=OFFSETS, dates=date_keys(), times=time_keys(), time=st.one_of(st.none(), TIMES), data=st.data()
)
def test_region_is_never_asked_for_less_than_matches(
    zone: ZoneInfo, caller: int, dates: str, times: str, time: str | None, data: Any
) -> None:
    day = data.draw(near(dates))
    query = asking(caller, dates, times)
    if matcher(query, zone)(row(day, time)):
        assert matcher(upstream(query, zone))(row(day, time))


@given(zone=ZONES, caller=OFFSETS, dates=date_keys(), time=TIMES, own=st.one_of(st.none(), OFFSETS), data=st.data())
def test_day_is_what_the_calendar_of_python_says(
    zone: ZoneInfo, caller: int, dates: str, time: str, own: int | None, data: Any
) -> None:
    day = data.draw(near(dates))
    local = datetime.strptime(day + time, "%Y%m%d%H%M%S").replace(
        tzinfo=zone if own is None else timezone(timedelta(minutes=own))
    )
    there = f"{local.astimezone(timezone(timedelta(minutes=caller))):%Y%m%d}"
    first, hyphen, last = dates.partition("-")
    expected = (first or there) <= there <= ((last or there) if hyphen else first)
    text = None if own is None else f"{'-' if own < 0 else '+'}{abs(own) // 60:02d}{abs(own) % 60:02d}"
    assert matcher(asking(caller, dates), zone)(row(day, time, text)) == Verdict(matches=expected)


@given(zone=ZONES, caller=OFFSETS, dates=date_keys(), times=time_keys(), time=TIMES, data=st.data())
def test_verdict_on_a_day_without_time_covers_every_time_of_it(
    zone: ZoneInfo, caller: int, dates: str, times: str, time: str, data: Any
) -> None:
    day = data.draw(near(dates))
    assume(offset(row(day), zone))  # else each end of the day has its own offset
    verdict_on = matcher(asking(caller, dates), zone)
    verdict, exact = verdict_on(row(day)), verdict_on(row(day, time))
    assert verdict.unverified or verdict.matches == exact.matches

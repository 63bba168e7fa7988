"""The query component: everything PS3.18 8.3.4 allows, and a plain word for what it does not."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.query import Level, Query
from gateway.errors import RequestError
from gateway.web.parameters import pairs, search_query


def parse(query: str, level: Level = Level.STUDY, study: str | None = None, series: str | None = None) -> Query:
    return search_query(level, pairs(query.encode()), study=study, series=series)


def refused(query: str, *, strict: bool = False, level: Level = Level.STUDY, study: str | None = None) -> str:
    with pytest.raises(RequestError) as caught:
        search_query(level, pairs(query.encode()), strict=strict, study=study)
    return str(caught.value)


@pytest.mark.parametrize("name", ["PatientID", "00100020"])
def test_attribute_is_named_by_keyword_or_by_tag(name: str) -> None:
    assert parse(f"{name}=MRN1").keys == {("00100020",): "MRN1"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("OtherPatientIDsSequence.00100020", ("00101002", "00100020")),
        ("00101002.00100020", ("00101002", "00100020")),
        ("RequestAttributesSequence.ScheduledProcedureStepID", ("00400275", "00400009")),
    ],
)
def test_dotted_path_names_an_attribute_inside_a_sequence(name: str, path: tuple[str, ...]) -> None:
    assert parse(f"{name}=7", Level.IMAGE).keys == {path: "7"}


def test_path_through_something_that_is_no_sequence_is_refused() -> None:
    assert "PatientID is not a sequence" in refused("PatientID.StudyDate=20240101")


def test_values_and_names_are_percent_decoded_as_utf_8() -> None:
    keys = parse("PatientName=Gagn%C3%A9%5EZo%C3%A9%2A&%30%30100020=a%26b%3Dc").keys
    assert keys == {("00100010",): "Gagné^Zoé*", ("00100020",): "a&b=c"}


def test_plus_is_a_space_in_text_and_a_sign_in_date_times() -> None:
    keys = parse("PatientName=DOE+JOHN&AcquisitionDateTime=20240101120000+0500-").keys
    assert keys == {("00100010",): "DOE JOHN", ("0008002A",): "20240101120000+0500-"}


@pytest.mark.parametrize("value", ["1.2,1.3", "1.2%2C1.3", "1.2\\1.3", "1.2%5C1.3"])
def test_uid_list_is_separated_by_commas_or_backslashes(value: str) -> None:
    assert parse(f"StudyInstanceUID={value}").keys == {("0020000D",): "1.2\\1.3"}


def test_comma_list_of_codes_means_any_of_them() -> None:
    assert parse("ModalitiesInStudy=CT%2CMR").keys == {("00080061",): "CT\\MR"}


def test_comma_in_text_is_a_comma() -> None:
    assert parse("StudyDescription=CT, abdomen").keys == {("00081030",): "CT, abdomen"}


@pytest.mark.parametrize("value", ["", "*", "%20", "%20*"])
def test_empty_value_and_lone_asterisk_match_everything(value: str) -> None:
    assert parse(f"PatientName={value}&StudyDate={value}").keys == {("00100010",): "", ("00080020",): ""}


def test_includefield_is_repeated_or_a_comma_list() -> None:
    query = parse("includefield=00081030%2CStudyID&includefield=OtherPatientIDsSequence.PatientID")
    assert query.include == {("00081030",), ("00200010",), ("00101002", "00100020")}
    assert not query.include_all


def test_includefield_all() -> None:
    assert parse("includefield=all").include_all


def test_limit_offset_and_fuzzymatching() -> None:
    query = parse("limit=25&offset=50&fuzzymatching=true")
    assert (query.limit, query.offset, query.fuzzy) == (25, 50, True)
    assert parse("") == Query(Level.STUDY)


def test_path_gives_the_levels_above() -> None:
    query = parse("Modality=CT", Level.IMAGE, study="1.2", series="1.2.3")
    assert (query.study, query.series, query.keys) == ("1.2", "1.2.3", {("00080060",): "CT"})


def test_uid_that_repeats_the_path_is_no_second_key() -> None:
    assert parse("StudyInstanceUID=1.2,1.5", Level.SERIES, study="1.2").keys == {}
    assert "StudyInstanceUID" in refused("StudyInstanceUID=1.5", level=Level.SERIES, study="1.2")


@pytest.mark.parametrize(
    "query",
    [
        "StudyDate=20240101", "StudyDate=20240229", "StudyDate=20240101-20240301", "StudyDate=-20240301",
        "StudyDate=20240101-", "StudyTime=10", "StudyTime=1015", "StudyTime=101500.123456", "StudyTime=0800-17",
        "StudyTime=-235960", "StudyTime=0800-08", "StudyTime=2300-0300", "AcquisitionDateTime=2024",
        "AcquisitionDateTime=2024-2025",
        "AcquisitionDateTime=20240101120000.5-0500", "AcquisitionDateTime=20240101120000-0500-20240102120000-0500",
        "AcquisitionDateTime=-20240101", "PatientAge=042Y", "SeriesNumber=-3", "SliceThickness=1.5e0", "Rows=512",
        "RequestAttributesSequence=", "PatientName=*a?b*",
    ],
)  # fmt: skip
def test_value_of_its_vr_is_taken(query: str) -> None:
    [(path, value)] = parse(query, Level.IMAGE).keys.items()
    assert value == query.partition("=")[2], path


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("StudyDate=2024-01-01", "a date YYYYMMDD"),
        ("StudyDate=20240230", "a date YYYYMMDD"),
        ("StudyDate=today", "a range such as 20240101-20240331"),
        ("StudyDate=20240301-20240101", "a date"),
        ("StudyDate=-", "a date"),
        ("StudyTime=25", "a time HHMMSS"),
        ("StudyTime=10:15", "a time HHMMSS"),
        ("AcquisitionDateTime=20241301", "a date time"),
        ("StudyInstanceUID=1.2.x", "a UID, or several"),
        ("StudyInstanceUID=1.2*", "a UID, or several"),
        ("StudyInstanceUID=" + "1" * 65, "a UID, or several"),
        ("ModalitiesInStudy=CT,", "a code, or several"),
        ("PatientID=a%5Cb", "one value"),
        ("SeriesNumber=one", "an integer"),
        ("SliceThickness=thin", "a number"),
        ("Rows=-1", "an unsigned integer"),
        ("PatientAge=42", "an age such as 042Y"),
        ("FrameIncrementPointer=x", "a tag"),
        ("RequestAttributesSequence=1", "name an attribute inside the sequence"),
        ("PixelData=1", "bulk data cannot be matched"),
        ("limit=-1", "a number, 0 or more"),
        ("limit=many", "a number, 0 or more"),
        ("limit=1&limit=2", "once"),
        ("offset=1.5", "a number, 0 or more"),
        ("fuzzymatching=yes", "true or false"),
        ("emptyvaluematching=1", "true or false"),
        ("multiplevaluematching=", "true or false"),
        ("PatientName=%ff", "UTF-8"),
        ("PatientName=a%00b", "control"),
        ("PatientName=%22%22", "emptyvaluematching=true"),
    ],
)
def test_wrong_value_is_refused_by_name_with_what_is_expected_and_without_the_value(query: str, expected: str) -> None:
    name, _, value = query.partition("&")[0].partition("=")
    text = refused(query)
    assert text.startswith(f"{name}: ")
    assert expected in text
    assert len(value) < 4 or value not in text


@pytest.mark.parametrize("query", ["PatientID=1&PatientID=2", "PatientID=1&00100020=1", "0020000D=1.2&0020000d=1.2"])
def test_attribute_given_twice_is_refused(query: str) -> None:
    assert "expected once, given twice" in refused(query)


def test_empty_value_matching_is_asked_for() -> None:
    assert parse("PatientName=%22%22&emptyvaluematching=true").keys == {("00100010",): '""'}


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("ModalitiesInStudy=CT%5CPT", "CT\\PT"), ("ModalitiesInStudy=CT,PT", "CT\\PT"), ("PatientID=A%5CB", "A\\B"),
        ("PatientAge=001Y,002Y", "001Y\\002Y"), ("PatientID=A,B", "A,B"), ("PatientID=A*", "A*"),
        ("OtherPatientNames=DOE%5EJ%5CROE%5EJ", "DOE^J\\ROE^J"),
    ],
)  # fmt: skip
def test_multiple_value_matching_takes_several_values_of_the_vrs_that_have_it(value: str, key: str) -> None:
    query = parse(f"multiplevaluematching=true&{value}")
    assert list(query.keys.values()) == [key]
    assert query.every_value
    assert query.warnings == ()


@pytest.mark.parametrize("value", ["PatientID=A*%5CB", "ModalitiesInStudy=CT%5C", "PatientAge=001Y%5C42"])
def test_several_values_are_each_whole_and_without_wildcards(value: str) -> None:
    assert "several are separated by backslashes and hold no wildcards" in refused(
        f"multiplevaluematching=true&{value}"
    )


def test_several_values_of_text_need_multiple_value_matching() -> None:
    assert not parse("ModalitiesInStudy=CT,PT").every_value
    assert "one value" in refused("PatientID=A%5CB")
    assert "one value" in refused("multiplevaluematching=false&PatientID=A%5CB")


@pytest.mark.parametrize("name", ["TimezoneOffsetFromUTC", "00080201"])
@pytest.mark.parametrize(
    ("value", "minutes"),
    [("-0500", -300), ("+0530", 330), ("%2B0530", 330), ("+0000", 0), ("-0330", -210), ("-1200", -720), ("+1400", 840)],
)
def test_offset_from_utc_is_no_key_but_says_how_dates_are_meant(name: str, value: str, minutes: int) -> None:
    query = parse(f"{name}={value}&StudyDate=20240101")
    assert query.utc_offset == minutes
    assert query.keys == {("00080020",): "20240101"}


def test_offset_from_utc_without_a_value_says_nothing() -> None:
    query = parse("TimezoneOffsetFromUTC=")
    assert (query.utc_offset, query.keys, query.warnings) == (None, {}, ())


@pytest.mark.parametrize("value", ["0500", "-5", "EST", "-0060", "-1201", "+1401", "+1500", "-0000", "-05:00", "*"])
def test_wrong_offset_from_utc_is_refused_with_what_is_expected(value: str) -> None:
    assert refused(f"00080201={value}") == "00080201: expected an offset +hhmm or -hhmm, from -1200 to +1400"


def test_offset_from_utc_given_twice_is_refused() -> None:
    assert "given twice" in refused("TimezoneOffsetFromUTC=-0500&00080201=-0500")


@pytest.mark.parametrize(
    ("level", "include"),
    [
        (Level.STUDY, {("00081030",)}),
        (Level.SERIES, {("00081030",), ("00080060",), ("0008103E",)}),
        (Level.IMAGE, {("00081030",), ("00080060",), ("0008103E",), ("00200013",)}),
    ],
)
def test_attributes_of_the_levels_below_are_not_returned_though_asked_for(
    level: Level, include: set[tuple[str, ...]]
) -> None:
    query = parse("includefield=StudyDescription,Modality,SeriesDescription,InstanceNumber", level)
    assert query.include == include
    assert query.warnings == ()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("PatietName", "PatientName"), ("patientid", "PatientID"), ("limt", "limit"), ("IncludeField", "includefield"),
        ("StudyDates", "StudyDate"), ("ModalityInStudy", "ModalitiesInStudy"),
    ],
)  # fmt: skip
def test_unknown_parameter_is_ignored_but_not_silently(name: str, near: str) -> None:
    query = parse(f"{name}=1&StudyDate=20240101")
    assert query.keys == {("00080020",): "20240101"}
    [warning] = query.warnings
    assert name in warning
    assert f"did you mean {near}?" in warning


@pytest.mark.parametrize("name", ["_", "00081234", "00020010", "00100000", "TransferSyntaxUID", "SpecificCharacterSet"])
def test_what_cannot_be_matched_is_ignored_with_a_warning(name: str) -> None:
    query = parse(f"{name}=1")
    assert query.keys == {}
    assert name in query.warnings[0]


@pytest.mark.parametrize("name", ["TransferSyntaxUID", "SpecificCharacterSet", "00080005"])
def test_attribute_that_steers_and_is_not_matched_is_told_from_a_misspelt_one(name: str) -> None:
    assert parse(f"{name}=1").warnings == (f"{name} is no attribute that a search matches or returns. It was ignored.",)


def test_parameter_without_a_name_is_unknown_as_any_other() -> None:
    query = parse("=1&StudyDate=20240101")
    assert query.keys == {("00080020",): "20240101"}
    assert query.warnings == ("one of the names is no parameter and no attribute. It was ignored.",)


def test_unknown_includefield_is_ignored_with_a_warning() -> None:
    query = parse("includefield=StudyDescriptio,00081030")
    assert query.include == {("00081030",)}
    assert "did you mean StudyDescription?" in query.warnings[0]


def test_unknown_parameter_is_refused_when_the_caller_is_strict() -> None:
    assert "PatietName is no parameter and no attribute: did you mean PatientName?" in refused(
        "PatietName=1", strict=True
    )


def test_private_attribute_needs_its_creator() -> None:
    keys = parse("00190010=LAB%20PRIVATE&00191002=x").keys
    assert keys == {("00190010",): "LAB PRIVATE", ("00191002",): "x"}
    assert "expected its Private Creator in 00190010=" in refused("00191002=x")
    assert "00190010=" in refused("includefield=00191002")


def test_other_parameters_of_the_request_are_no_keys() -> None:
    query = parse("accept=application%2Fdicom%2Bjson&charset=utf-8")
    assert query.keys == {}
    assert query.warnings == ()


def test_more_parameters_than_anyone_needs_are_refused() -> None:
    assert "100" in refused("&".join(f"a{i}=1" for i in range(101)))


def test_text_of_a_warning_stays_short_however_long_the_name() -> None:
    [warning] = parse("x" * 4000 + "=1").warnings
    assert len(warning) < 150


@given(st.binary(max_size=200))
def test_any_bytes_make_a_query_or_a_refusal(query: bytes) -> None:
    with suppress(RequestError):
        search_query(Level.STUDY, pairs(query))


OHIF = {
    "limit=101&offset=0&fuzzymatching=true&includefield=00081030%2C00080060%2C00080090%2C00100030": {},
    "limit=101&offset=0&fuzzymatching=true&PatientName=*doe*": {("00100010",): "*doe*"},
    "00100020=*PROBE-A*": {("00100020",): "*PROBE-A*"},
    "AccessionNumber=*ACC*&StudyDescription=*x*": {("00080050",): "*ACC*", ("00081030",): "*x*"},
    "ModalitiesInStudy=CT%2CMR": {("00080061",): "CT\\MR"},
    "StudyDate=20240101-20240301": {("00080020",): "20240101-20240301"},
    "StudyInstanceUID=1.2.3&limit=101": {("0020000D",): "1.2.3"},
    "00100020=MRN1&limit=101": {("00100020",): "MRN1"},
}


@pytest.mark.parametrize(("query", "keys"), OHIF.items())
def test_what_ohif_sends_is_understood(query: str, keys: dict[tuple[str, ...], str]) -> None:
    parsed = parse(query)
    assert parsed.keys == keys
    assert parsed.warnings == ()


# --- keys of the levels below


@pytest.mark.parametrize(
    ("level", "name", "elsewhere"),
    [
        (Level.STUDY, "Modality", "/series?Modality= or ModalitiesInStudy"),
        (Level.STUDY, "00080060", "/series?00080060= or ModalitiesInStudy"),
        (Level.STUDY, "RequestAttributesSequence.ScheduledProcedureStepID", "/series?RequestAttributesSequence."),
        (Level.STUDY, "SOPInstanceUID", "/instances?SOPInstanceUID="),
        (Level.SERIES, "InstanceNumber", "/instances?InstanceNumber="),
    ],
)
def test_key_of_a_level_below_is_refused_and_the_resource_that_matches_it_is_named(
    level: Level, name: str, elsewhere: str
) -> None:
    told = refused(f"{name}=1", level=level)
    assert told.startswith(f"{name}: ")
    assert elsewhere in told


def test_attribute_of_a_level_below_may_be_included_or_left_universal() -> None:
    query = parse("includefield=Modality&Modality=&StudyDescription=x")
    assert query.keys == {("00080060",): "", ("00081030",): "x"}

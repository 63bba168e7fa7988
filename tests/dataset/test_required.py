"""What each level returns is what PS3.18 Tables 10.6.3-3 to 10.6.3-5 say; a region is asked only for what it has."""

import pytest

from gateway.dataset.dictionary import keywords, vr_of
from gateway.dataset.identifier import find_identifier
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import NEVER_REQUESTED, OPTIONAL, REQUIRED, SAID_HERE, UNIQUE_KEYS, UPPER_LEVELS
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE

# As printed, by keyword; conditional attributes ("if known", "if retrievable") included.
TABLES = {
    Level.STUDY: """
        StudyDate StudyTime AccessionNumber InstanceAvailability ModalitiesInStudy ReferringPhysicianName
        TimezoneOffsetFromUTC RetrieveURL PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID
        NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances
    """,
    Level.SERIES: """
        Modality TimezoneOffsetFromUTC SeriesDescription RetrieveURL SeriesInstanceUID SeriesNumber
        NumberOfSeriesRelatedInstances PerformedProcedureStepStartDate PerformedProcedureStepStartTime
        RequestAttributesSequence.ScheduledProcedureStepID RequestAttributesSequence.RequestedProcedureID
    """,
    Level.IMAGE: """
        SOPClassUID SOPInstanceUID InstanceAvailability TimezoneOffsetFromUTC RetrieveURL InstanceNumber Rows Columns
        BitsAllocated NumberOfFrames
    """,
}


def paths(text: str) -> set[TagPath]:
    return {tuple(keywords()[keyword] for keyword in path.split(".")) for path in text.split()}


@pytest.mark.parametrize("level", Level)
def test_region_and_gateway_together_say_what_the_table_has(level: Level) -> None:
    table = paths(TABLES[level])
    assert set(REQUIRED[level]) == {path for path in table if path[0] not in SAID_HERE}
    assert len(REQUIRED[level]) == len(set(REQUIRED[level]))
    assert (UNIQUE_KEYS[level],) in REQUIRED[level]


@pytest.mark.parametrize("level", Level)
def test_optional_attributes_are_others_that_the_dictionary_knows(level: Level) -> None:
    assert not set(OPTIONAL[level]) & set(REQUIRED[level])
    assert len(OPTIONAL[level]) == len(set(OPTIONAL[level]))
    assert all(vr_of(tag) != "UN" for path in OPTIONAL[level] for tag in path)
    assert not {path[0] for path in OPTIONAL[level]} & NEVER_REQUESTED


def asked(query: Query) -> Row:
    return to_json_model(find_identifier(query, EXPLICIT_VR_LE), EXPLICIT_VR_LE)


def test_study_search_asks_for_nothing_that_is_in_no_index() -> None:
    """An archive that reads a file per row for one more attribute answers four times slower."""
    identifier = asked(Query(Level.STUDY, keys={("00100020",): "MRN-1"}))
    assert identifier.keys() - {"00080052"} == {path[0] for path in REQUIRED[Level.STUDY]}


@pytest.mark.parametrize("level", Level)
def test_what_the_gateway_says_is_never_asked_for(level: Level) -> None:
    include = frozenset((tag,) for tag in SAID_HERE)
    identifier = asked(Query(level, "1.2", "1.3", include=include, include_all=True))
    assert not identifier.keys() & SAID_HERE


def test_upper_levels_are_those_above() -> None:
    assert UPPER_LEVELS[Level.STUDY] == frozenset()
    assert "00100010" in UPPER_LEVELS[Level.SERIES]
    assert "00080060" not in UPPER_LEVELS[Level.SERIES]
    assert {"00100010", "00080060", "00400275"} <= UPPER_LEVELS[Level.IMAGE]
    assert not UPPER_LEVELS[Level.IMAGE] & {path[0] for path in REQUIRED[Level.IMAGE]}

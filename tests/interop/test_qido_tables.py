"""PS3.18 10.6 over real archives: the required keys find, and rows have what the tables require (also trap 14)."""

from collections import Counter
from urllib.parse import quote

import pytest

from tests.interop.serving import Gateway, JsonRow
from tests.interop.two_provinces import Provinces

pytestmark = pytest.mark.peer("orthanc")

STUDY = (
    *("00080020", "00080030", "00080050", "00080061", "00080090", "00080201", "00081190", "00100010", "00100020"),
    *("00100030", "00100040", "0020000D", "00200010", "00201206", "00201208"),
)
"""Table 10.6.3-3: type R and U, and of type C what the gateway knows of each study."""
SERIES = ("00080060", "0008103E", "00081190", "0020000D", "0020000E", "00200011", "00201209")
"""Table 10.6.3-4, likewise; the province's series all have a description."""
IMAGE = ("00080016", "00080018", "00081190", "0020000D", "0020000E", "00200013", "00280010", "00280011", "00280100")
"""Table 10.6.3-5, likewise, for instances with pixels."""
OFFSET = "00080201"
"""Timezone Offset From UTC is "known" where a row has a date, which instances alone have none of."""


@pytest.fixture(params=["orthancs", "embedded"])
def gateway(provinces: Provinces, request: pytest.FixtureRequest) -> Gateway:
    chosen: Gateway = getattr(provinces, request.param)
    return chosen


def below(provinces: Provinces, resource: str) -> str:
    split = provinces.truth.study("split-series")
    return resource.format(study=split.study_instance_uid, series=split.series[0].series_instance_uid)


@pytest.mark.parametrize(
    ("resource", "required"),
    [
        ("/studies", STUDY),
        ("/series?Modality=CT", (*STUDY, *SERIES)),
        ("/instances?Modality=MG", (*STUDY, *SERIES, *IMAGE)),
        ("/studies/{study}/series", (*SERIES, OFFSET)),
        ("/studies/{study}/instances", (*SERIES, *IMAGE)),
        ("/studies/{study}/series/{series}/instances", IMAGE),
    ],
)
def test_tables_10_6_3_3_to_5_every_row_has_what_its_resource_requires(
    provinces: Provinces, gateway: Gateway, resource: str, required: tuple[str, ...]
) -> None:
    rows = gateway.get(below(provinces, resource)).rows
    assert rows
    for row in rows:
        assert not [tag for tag in required if tag not in row]
        assert row["0020000D"]["Value"]
        # OHIF's whole list dies of one study that has this attribute without a value.
        assert "00080061" not in required or row["00080061"]["Value"]


KEYS = {
    "/studies": "00080020 00080030 00080050 00080061 00080090 00100010 00100020 0020000D 00200010",
    "/series": "00080060 0020000E 00200011 00400244 00400245 00400275.00400009 00400275.00401001",
    "/studies/{study}/series": "00080060 0020000E 00200011 00400244 00400245 00400275.00400009 00400275.00401001",
    "/studies/{study}/series/{series}/instances": "00080016 00080018 00200013",
}


@pytest.mark.parametrize(("resource", "key"), [(path, key) for path, keys in KEYS.items() for key in keys.split()])
def test_table_10_6_1_5_each_required_key_finds_the_rows_that_have_its_value(
    provinces: Provinces, gateway: Gateway, resource: str, key: str
) -> None:
    """Half of them are optional in C-FIND: where an archive does not know a key, the gateway matches it."""
    path = below(provinces, resource)
    every = gateway.get(path).rows
    value = min(value for row in every for value in values(row, key))
    answer = gateway.get(f"{path}?{key}={quote(value)}")
    expected = [uids(row) for row in every if value in values(row, key)]
    unproved = [uids(row) for row in every if key.startswith("00400275") and "00400275" not in row]
    assert expected
    found = [uids(row) for row in answer.rows]
    assert [x for x in found if x not in unproved] == expected
    assert all("could not be verified" in text for text in answer.headers.get_all("Warning") or [])


def values(row: JsonRow, key: str) -> list[str]:
    """Return the values of an attribute, or of one in the items of a sequence, as a key would have them."""
    tag, _, inner = key.partition(".")
    found = row.get(tag, {}).get("Value", [])
    if inner:
        return [value for item in found if isinstance(item, dict) for value in values(item, inner)]
    return [str(x["Alphabetic"]) if isinstance(x, dict) else str(x) for x in found]


def uids(row: JsonRow) -> tuple[str, ...]:
    return tuple(str(row[tag]["Value"][0]) for tag in ("0020000D", "0020000E", "00080018") if tag in row)


def test_c_2_2_3_study_of_one_of_the_modalities_is_listed_with_all_of_them(gateway: Gateway) -> None:
    rows = gateway.get("/studies?ModalitiesInStudy=SR").rows
    assert rows
    assert all("SR" in values(row, "00080061") for row in rows)
    assert any(len(values(row, "00080061")) > 1 for row in rows)


def test_trap_14_reports_in_another_region_and_all_their_versions_are_listed(
    provinces: Provinces, gateway: Gateway
) -> None:
    for purpose in ("report-elsewhere", "amended-report"):
        study = provinces.truth.study(purpose)
        rows = gateway.get(f"/studies/{study.study_instance_uid}/instances").rows
        listed = Counter(value for row in rows for value in values(row, "00080016"))
        assert listed == Counter(x.sop_class_uid for x in study.instances)
        [found] = gateway.get(f"/studies?StudyInstanceUID={study.study_instance_uid}").rows
        assert set(values(found, "00080061")) == {x.modality for x in study.series}
        assert set(values(found, "00080054")) == study.regions
        assert values(found, "00201208") == [str(len(study.instances))]

"""The same rows in every form, by every way of asking, and through dicomweb-client's search methods."""

import json
import urllib.request
import xml.etree.ElementTree as ET

from dicomweb_client.api import DICOMwebClient

from tests.interop.contract import INSTANCES
from tests.interop.serving import JSON, Gateway
from tests.kit.peers import SECONDS

STUDY_INSTANCE_UID = "0020000D"
XML = 'multipart/related; type="application/dicom+xml"'
STUDIES = {str(instance.StudyInstanceUID) for instance in INSTANCES}


def uids(rows: list[dict[str, dict[str, list[object]]]], tag: str = STUDY_INSTANCE_UID) -> list[object]:
    return [row[tag]["Value"][0] for row in rows]


def test_json_xml_and_lines_hold_the_same_studies(served_gateway: Gateway) -> None:
    rows = served_gateway.get("/studies").rows
    *lines, last = map(json.loads, served_gateway.get("/studies", "application/x-ndjson").body.splitlines())
    models = [ET.fromstring(content) for _, content in served_gateway.get("/studies", XML).parts]
    named = [x.findtext("*[@tag='0020000D']/{*}Value") for x in models]
    assert set(uids(rows)) == STUDIES
    assert sorted(map(str, uids(lines))) == sorted(map(str, uids(rows)))
    assert named == uids(rows)
    assert last["federation"]["complete"]
    assert last["federation"]["rows"] == len(rows)
    assert last["federation"]["regions"][0]["matches"] == len(rows)


def test_form_asks_the_same_as_a_url(served_gateway: Gateway) -> None:
    study = min(STUDIES)
    request = urllib.request.Request(
        f"{served_gateway.url}/studies",
        data=f"StudyInstanceUID={study}".encode(),
        headers={"Accept": JSON, "Content-Type": "application/x-www-form-urlencoded"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        assert json.load(response) == served_gateway.get(f"/studies?StudyInstanceUID={study}").rows


def test_region_alone_answers_below_its_own_root(served_gateway: Gateway) -> None:
    whole = served_gateway.get("/studies")
    name = str(whole.headers["Federation-Status"]).partition(";")[0]
    with urllib.request.urlopen(
        f"http://127.0.0.1:{served_gateway.http_port}/regions/{name}/dicom-web/studies", timeout=SECONDS
    ) as response:
        rows = json.load(response)
    assert uids(rows) == uids(whole.rows)
    assert all(row["00081190"]["Value"][0].startswith(f"/regions/{name}/dicom-web/studies/") for row in rows)


def test_dicomweb_client_searches_at_every_level(served_gateway: Gateway) -> None:
    client = DICOMwebClient(url=served_gateway.url)
    one = INSTANCES[0]
    study, series = str(one.StudyInstanceUID), str(one.SeriesInstanceUID)
    assert set(uids(client.search_for_studies())) == STUDIES
    [found] = client.search_for_studies(search_filters={"StudyInstanceUID": study}, fields=["StudyDescription"])
    assert found[STUDY_INSTANCE_UID]["Value"] == [study]
    assert len(client.search_for_studies(limit=1)) == 1
    first, second = client.search_for_studies(limit=1), client.search_for_studies(limit=1, offset=1)
    assert uids(first) != uids(second)
    assert series in uids(client.search_for_series(study), "0020000E")
    expected = {str(x.SOPInstanceUID) for x in INSTANCES if x.SeriesInstanceUID == series}
    assert set(uids(client.search_for_instances(study, series), "00080018")) == expected

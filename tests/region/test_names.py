"""A name is found with and without accents at archives that compare it in different ways (traps 7 and 22)."""

from collections.abc import Iterator

import pytest
from pydicom import Dataset

from gateway.dataset.matching import matcher
from gateway.dataset.query import Level, Query, TagPath
from regions.archive import Archive
from tests.kit import dicom
from tests.kit.peers import DicomNode, dcmqrscp, orthanc
from tests.region.watched import Watched

REAL_TIME = True

NAME, DESCRIPTION = ("00100010",), ("00081030",)
BELANGER = {"Bélanger^Luc", "BELANGER^Guy", "Belanger^Jo"}
NAMES = [*sorted(BELANGER), "Boulanger^Luc", "Éthier^Anne", "Côté^Marie", "Cote^Jo", "Roy^Zoé"]
KINDS = {"embedded": "ISO_IR 192", "embedded Latin-1": "ISO_IR 100", "Orthanc": "ISO_IR 100", "dcmqrscp": "ISO_IR 192"}


def held(character_set: str) -> Iterator[Dataset]:
    for number, name in enumerate(NAMES, start=1):
        instance = dicom.instance(number, 1, 1, size=16, StudyDescription=f"Échographie {number}")
        instance.SpecificCharacterSet = character_set
        instance.PatientName = name
        yield instance


@pytest.fixture(scope="module", params=KINDS)
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, DicomNode, str]]:
    kind, character_set = request.param, KINDS[request.param]
    folder = tmp_path_factory.mktemp("archive")
    if kind == "Orthanc":
        with orthanc(folder, dicomweb=False) as node:
            node.upload(held(character_set))
            yield kind, node, character_set
    elif kind == "dcmqrscp":
        with dcmqrscp(folder, instances=held(character_set)) as peer:
            yield kind, peer, character_set
    else:
        for number, instance in enumerate(held(character_set)):
            (folder / f"{number}.dcm").write_bytes(dicom.part10(instance))
        with Archive("EMBEDDED", folder) as embedded:
            yield kind, DicomNode("EMBEDDED", "127.0.0.1", embedded.port), character_set


async def people(archive: tuple[str, DicomNode, str], value: str, key: TagPath = NAME) -> list[str]:
    """Return the names found, with the caller's key applied again as the federation does."""
    _, node, character_set = archive
    query = Query(Level.STUDY, keys={key: value})
    watching = Watched(node.port, ae_title=node.ae_title, character_set=character_set)
    try:
        rows = await watching.search(query)
    finally:
        await watching.region.aclose()
    fits = matcher(query)
    return [row["00100010"]["Value"][0]["Alphabetic"] for row in rows if fits(row)]


@pytest.mark.parametrize(
    ("key", "of_that_case"),
    [
        ("belanger*", set()),
        ("BÉLANGER*", {"BELANGER^Guy"}),
        ("Bélanger*", BELANGER - {"BELANGER^Guy"}),
        ("B?langer*", BELANGER - {"BELANGER^Guy"}),
    ],
)
async def test_trap_7_name_finds_every_spelling_of_itself(
    archive: tuple[str, DicomNode, str], key: str, of_that_case: set[str]
) -> None:
    # DCMTK's archive tells case apart, which no key can make up for.
    assert set(await people(archive, key)) == (of_that_case if archive[0] == "dcmqrscp" else BELANGER)


async def test_trap_7_name_that_begins_with_an_accent_is_found_without(archive: tuple[str, DicomNode, str]) -> None:
    assert await people(archive, "ethier*") == ["Éthier^Anne"]


async def test_trap_7_short_name_is_found_as_it_is_typed_first(archive: tuple[str, DicomNode, str]) -> None:
    assert await people(archive, "Cote*") == ["Cote^Jo", "Côté^Marie"]


async def test_trap_7_given_name_with_an_accent_is_found_without(archive: tuple[str, DicomNode, str]) -> None:
    assert await people(archive, "Roy^Zoe") == ["Roy^Zoé"]


async def test_trap_7_text_with_accents_is_asked_in_the_character_set_of_the_region(
    archive: tuple[str, DicomNode, str],
) -> None:
    assert await people(archive, "Échographie 4*", DESCRIPTION) == ["Boulanger^Luc"]

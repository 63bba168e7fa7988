"""Instances come as their region holds them, whatever the region, the way to retrieve and the Transfer Syntax."""

import contextlib
import http.client
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
)

from regions.archive import Archive
from regions.plan import SMALL
from regions.province import generate
from regions.truth import TrueInstance, Truth, default_cache, truth
from tests.dataset.images import dataset_of, pixels_of, readable
from tests.dataset.oracle import samples
from tests.dataset.pictures import assert_shows
from tests.interop.serving import MULTIPART, Answer, Gateway, gateway, profile
from tests.interop.test_viewer import archives
from tests.kit.peers import free_port, orthanc

OCTETS = 'multipart/related; type="application/octet-stream"'
EXPLICIT = f'multipart/related; type="application/dicom"; transfer-syntax={ExplicitVRLittleEndian}'
PNG = "image/png"
NEVER_ON_THE_WEB = {ImplicitVRLittleEndian, ExplicitVRBigEndian}
NOT_SENT_BY_ORTHANC = {HTJ2KLossless, HTJ2K}
"""Debian's Orthanc 1.10 proposes no Presentation Context for them, and fails the sub-operation."""
LOSSY = {f"1.2.840.10008.1.2.4.{tail}" for tail in ("50", "51", "91", "203")}

CUT_OFF = "rtplan_truncated.dcm"
"""Implicit VR, and cut in the middle of an element: it cannot be re-encoded, and its body ends there."""


def data_set(file: bytes) -> bytes:
    """Return what follows the File Meta Information (PS3.10 7.1)."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


@dataclass(frozen=True)
class Held:
    """One instance: its path on the web, and the files that are it, one of which a region sends."""

    path: str
    transfer_syntax_uid: str
    files: tuple[Path, ...]

    @property
    def data(self) -> bytes:
        return data_set(self.files[0].read_bytes())


def elements(data: bytes, uid: str) -> dict[int, Any]:
    """Decode with pydicom; Group Lengths may be left out by an encoder, and pixels are compared by themselves."""
    found = dataset_of(data, uid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {int(x.tag): x for x in found if x.tag.element and x.keyword != "PixelData"}


def assert_as_held(head: Message, content: bytes, held: Held) -> None:
    """The part is labelled with its Transfer Syntax and is the region's, byte for byte where the web allows it."""
    received, read = data_set(content), dcmread(BytesIO(content), specific_tags=[])
    label = str(read.file_meta.TransferSyntaxUID)
    assert head["Content-Type"] == f"application/dicom; transfer-syntax={label}"
    if held.transfer_syntax_uid not in NEVER_ON_THE_WEB:
        assert label == held.transfer_syntax_uid
        assert received in [data_set(file.read_bytes()) for file in held.files], held
        return
    assert label == ExplicitVRLittleEndian
    assert elements(received, label) == elements(held.data, held.transfer_syntax_uid), held
    if "PixelData" in dataset_of(received, label):
        assert np.array_equal(pixels_of(received, label), pixels_of(held.data, held.transfer_syntax_uid)), held


def assert_same_pixels(answer: Answer, held: Held) -> None:
    """The decompressed frames are those that pydicom decodes."""
    assert answer.status == 200, (held, answer.body[:300])
    wanted = pixels_of(held.data, held.transfer_syntax_uid)
    received = np.frombuffer(b"".join(content for _, content in answer.parts), wanted.dtype.newbyteorder("<"))
    assert_near(received.reshape(wanted.shape), wanted, held)


def assert_near(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], held: Held) -> None:
    """Equal, but for how decoders of lossy codestreams round."""
    tolerance = 16 if held.transfer_syntax_uid in LOSSY else 0
    assert ours.shape == theirs.shape, held
    assert np.abs(ours.astype(np.int64) - theirs.astype(np.int64)).max() <= tolerance, held


# --- the province


@cache
def province() -> tuple[Path, Truth]:
    folder = default_cache(1, SMALL.name)
    generate(folder, scale=SMALL)
    return folder, truth(folder)


def held(folder: Path, study: str, series: str, instance: TrueInstance) -> Held:
    path = f"/studies/{study}/series/{series}/instances/{instance.sop_instance_uid}"
    return Held(path, instance.transfer_syntax_uid, tuple(folder / file for file in instance.files.values()))


def study_of_each_kind() -> list[Held]:
    """Return one instance for each Transfer Syntax and SOP Class."""
    folder, true = province()
    found: dict[tuple[str, str], Held] = {}
    for study in true.studies:
        for series in study.series:
            for one in series.instances:
                kind = one.transfer_syntax_uid, one.sop_class_uid
                found.setdefault(kind, held(folder, study.study_instance_uid, series.series_instance_uid, one))
    return list(found.values())


def retrieved_by(way: str, text: str) -> str:
    """Return a profile with another way to retrieve."""
    changed, count = re.subn(r'^retrieve = "[a-z-]+"', f'retrieve = "{way}"', text, flags=re.MULTILINE)
    assert count == 1, text
    return changed


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """Run the four embedded archives behind a gateway for each way to retrieve."""
    home, dimse_port = tmp_path_factory.mktemp("embedded"), free_port()
    shutil.copytree(province()[0], home / "province")
    with archives(home / "province", home / "profiles", f"GATEWAY=127.0.0.1:{dimse_port}"):
        texts = [file.read_text() for file in sorted((home / "profiles").glob("*.toml"))]
        by_move, by_get = ([retrieved_by(way, text) for text in texts] for way in ("c-move", "c-get"))
        with gateway(home, by_move, dimse_port) as moving, gateway(home, by_get) as getting:
            yield {"c-move": moving, "c-get": getting}


@pytest.mark.parametrize("way", ["c-move", "c-get"])
def test_every_instance_of_the_province_comes_as_its_archive_holds_it(embedded: dict[str, Gateway], way: str) -> None:
    folder, true = province()
    seen = set()
    for study in true.studies:
        answer = embedded[way].get(f"/studies/{study.study_instance_uid}", MULTIPART)
        assert answer.status == 200, (study, answer.body[:300])
        received = {head["Content-Location"].rpartition("/")[2]: (head, content) for head, content in answer.parts}
        assert received.keys() == {one.sop_instance_uid for one in study.instances}
        for series in study.series:
            for one in series.instances:
                expected = held(folder, study.study_instance_uid, series.series_instance_uid, one)
                assert_as_held(*received[one.sop_instance_uid], expected)
                seen.add(one.transfer_syntax_uid)
    assert len(seen) == 13
    assert seen >= NEVER_ON_THE_WEB | NOT_SENT_BY_ORTHANC | {DeflatedExplicitVRLittleEndian}


def test_image_of_each_kind_is_decoded_and_rendered_as_pydicom_and_pillow_would(embedded: dict[str, Gateway]) -> None:
    shown = set()
    for one in study_of_each_kind():
        if "PixelData" not in dcmread(one.files[0]):
            continue
        assert_same_pixels(embedded["c-get"].get(f"{one.path}/pixeldata", OCTETS), one)
        picture = embedded["c-get"].get(f"{one.path}/rendered", PNG)
        assert_shows(Image.open(BytesIO(picture.body)), one.data, one.transfer_syntax_uid)
        shown.add(one.transfer_syntax_uid)
    assert len(shown) == 12  # all but the deflated report


# --- Orthanc


@pytest.fixture(scope="module")
def behind_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """Run an Orthanc that holds an instance of each kind behind a gateway for each way to retrieve."""
    home, dimse_port = tmp_path_factory.mktemp("orthanc"), free_port()
    with orthanc(home, modalities={"GATEWAY": dimse_port}, dicomweb=False) as archive:
        archive.upload(one.files[0] for one in study_of_each_kind())
        by_move, by_get = (profile(archive.ae_title, archive.port, way) for way in ("c-move", "c-get"))
        with gateway(home, by_move, dimse_port) as moving, gateway(home, by_get) as getting:
            yield {"c-move": moving, "c-get": getting}


@pytest.mark.peer("orthanc")
@pytest.mark.parametrize("way", ["c-move", "c-get"])
def test_instance_of_each_kind_comes_as_orthanc_holds_it(behind_orthanc: dict[str, Gateway], way: str) -> None:
    kinds = [one for one in study_of_each_kind() if one.transfer_syntax_uid not in NOT_SENT_BY_ORTHANC]
    assert len({one.transfer_syntax_uid for one in kinds}) == 11
    for one in kinds:
        answer = behind_orthanc[way].get(one.path, MULTIPART)
        assert answer.status == 200, (one, answer.body[:300])
        [(head, content)] = answer.parts
        assert_as_held(head, content, one)


# --- what pydicom ships


@dataclass(frozen=True)
class Shipped:
    """A file with its Study and its patient."""

    held: Held
    study: str
    patient: str


def placed(file: Path) -> Shipped | None:
    """Return where a file is on the web; None for one that no archive can hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dcmread(file, force=True, stop_before_pixels=True)
        uids = [found.get(name) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")]
    uid = found.file_meta.get("TransferSyntaxUID")
    if not all(uids) or uid is None or "MediaStorageSOPInstanceUID" not in found.file_meta:
        return None
    study, series, instance, _ = uids
    one = Held(f"/studies/{study}/series/{series}/instances/{instance}", str(uid), (file,))
    return Shipped(one, str(study), f"{found.get('PatientID')} {found.get('PatientName')}")


class Shelf:
    """What one archive holds: each UID once, and each Study of one patient, as most of these files do not."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self._patients: dict[str, str] = {}

    def take(self, one: Shipped) -> bool:
        if one.held.path in self.held or self._patients.setdefault(one.study, one.patient) != one.patient:
            return False
        self.held[one.held.path] = one.held
        return True


def shelves() -> list[Shelf]:
    divided: list[Shelf] = []
    for one in filter(None, (placed(sample.path) for sample in samples())):
        if not any(shelf.take(one) for shelf in divided):
            divided.append(Shelf())
            divided[-1].take(one)
    return divided


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, list[tuple[str, Held]]]]:
    """Run as many archives as it takes to hold all files that pydicom ships, and the gateway in front of them."""
    home, dimse_port = tmp_path_factory.mktemp("shipped"), free_port()
    destinations = {"GATEWAY": ("127.0.0.1", dimse_port)}
    with contextlib.ExitStack() as stack:
        profiles, where = [], []
        for number, shelf in enumerate(shelves()):
            folder = home / f"shelf-{number}"
            folder.mkdir()
            for place, one in enumerate(shelf.held.values()):
                shutil.copy(one.files[0], folder / f"{place:03}.dcm")
                where.append((f"/regions/shelf{number}/dicom-web", one))
            archive = stack.enter_context(Archive(f"SHELF{number}", folder, destinations=destinations))
            # An archive chooses what it converts to for a C-GET; for a C-MOVE it proposes what it has.
            profiles.append(profile(f"SHELF{number}", archive.port, "c-move"))
        yield stack.enter_context(gateway(home, profiles, dimse_port)), where


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_file_that_pydicom_ships_comes_as_it_is(shipped: tuple[Gateway, list[tuple[str, Held]]]) -> None:
    served, where = shipped
    assert len(where) == 160
    for root, one in where:
        if one.files[0].name == CUT_OFF:
            with pytest.raises(http.client.IncompleteRead):
                served.get(one.path, MULTIPART, root=root)
            continue
        answer = served.get(one.path, MULTIPART, root=root)
        assert answer.status == 200, (one, answer.body[:300])
        [(head, content)] = answer.parts
        assert_as_held(head, content, one)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_image_that_pydicom_ships_is_decoded_and_rendered_as_pydicom_and_pillow_would(
    shipped: tuple[Gateway, list[tuple[str, Held]]],
) -> None:
    served, where = shipped
    names = {sample.name for sample in readable()}
    images = [(root, one) for root, one in where if one.files[0].name in names]
    assert len(images) == 97
    for root, one in images:
        uid = one.transfer_syntax_uid
        answer = served.get(one.path, EXPLICIT, root=root)
        assert answer.status == 200, (one, answer.body[:300])
        [(_, content)] = answer.parts
        assert_near(pixels_of(data_set(content), ExplicitVRLittleEndian), pixels_of(one.data, uid), one)
        picture = served.get(f"{one.path}/rendered", PNG, root=root)
        assert picture.status == 200, (one, picture.body[:300])
        assert_shows(Image.open(BytesIO(picture.body)), one.data, uid)

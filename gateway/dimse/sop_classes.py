"""The SOP classes that are asked for and taken (PS3.4 B.5, C.6; PS3.6 Annex A)."""

from typing import Final

from gateway.dataset.registry import UIDS

VERIFICATION: Final = "1.2.840.10008.1.1"
PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The Push Model, and its well-known SOP Instance (PS3.4 J.3.5)."""

_NOT_STORAGE: Final = ("Storage Commitment", "Media Storage Directory")
_COMPOSITE: Final = "1.2.840.10008.5.1.4.1.1"
"""The arc of nearly all Storage SOP Classes (PS3.4 B.5)."""

_NEWER: Final = frozenset(f"{_COMPOSITE}.{arc}" for arc in ("9.100.1", "9.100.2", "66.7", "66.8"))
"""Classes of PS3.4 B.5 that the registry does not name yet."""

_COMMON: Final = """
    1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.2 4.3 4.4 5 6 6.1 6.2 7 7.1 7.2 7.3 7.4 8 9 9.1.1 9.1.2
    9.1.3 9.2.1 9.3.1 9.4.1 9.4.2 9.5.1 9.6.1 10 11 11.1 11.2 11.3 11.4 11.5 12.1 12.1.1 12.2 12.2.1 12.3 13.1.1
    13.1.2 13.1.3 14.1 14.2 20 66 66.1 66.2 66.3 66.4 66.5 67 68.1 68.2 77.1 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3
    77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.3 77.1.5.4 77.1.6 77.2 78.1 78.2 78.3 78.4 78.5 78.6 78.7 78.8 79.1
    80.1 81.1 88.11 88.22 88.33 88.34 88.40 88.50 88.59 88.65 88.67 88.69 88.70 104.1 104.2 128 128.1 129 130 131
    481.1 481.2 481.3 481.4 481.5 481.6 481.7 481.8 481.9
"""


def _storage() -> frozenset[str]:
    # Retired classes included: archives hold what was stored twenty years ago.
    named = {
        uid
        for uid, (name, kind, *_) in UIDS.items()
        if kind == "SOP Class" and "Storage" in name and not name.startswith(_NOT_STORAGE)
    }
    return _NEWER | named


STORAGE: Final = _storage()
"""Every Storage SOP class that DICOM has or had."""

COMMON_STORAGE: Final = frozenset(f"{_COMPOSITE}.{arc}" for arc in _COMMON.split()) | {
    "1.2.840.10008.5.1.1.27",  # Stored Print
    "1.2.840.10008.5.1.1.29",  # Hardcopy Grayscale Image
    "1.2.840.10008.5.1.1.30",  # Hardcopy Color Image
    "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
}
"""The 120 of them that are in use, few enough for the Presentation Contexts of one association."""


def name_of(uid: str) -> str:
    """Return the name of a UID in PS3.6 Table A-1; the UID itself where it has none."""
    return str(UIDS.get(uid, (uid,))[0])

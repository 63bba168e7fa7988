"""The SOP classes that are asked for and taken (PS3.4 B.5, C.6; PS3.6 Annex A)."""

from typing import Final

from pydicom._uid_dict import UID_dictionary
from pynetdicom import AllStoragePresentationContexts, StoragePresentationContexts

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


def _storage() -> frozenset[str]:
    # Retired classes included: archives hold what was stored twenty years ago.
    named = {
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and not name.startswith(_NOT_STORAGE)
    }
    return frozenset(named | {str(context.abstract_syntax) for context in AllStoragePresentationContexts})


STORAGE: Final = _storage()
"""Every Storage SOP class that DICOM has or had."""

COMMON_STORAGE: Final = frozenset(str(context.abstract_syntax) for context in StoragePresentationContexts)
"""The 120 of them that are in use, few enough for the Presentation Contexts of one association."""


def name_of(uid: str) -> str:
    """Return the name of a UID in PS3.6 Table A-1; the UID itself where it has none."""
    return str(UID_dictionary.get(uid, (uid,))[0])

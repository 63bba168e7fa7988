"""The SOP Classes are those of PS3.4 and PS3.6, by the word of pydicom and pynetdicom."""

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts, StoragePresentationContexts

from gateway.dimse.sop_classes import COMMON_STORAGE, STORAGE, name_of


def test_the_storage_classes_in_use_are_the_120_of_a_full_proposal() -> None:
    assert {str(x.abstract_syntax) for x in StoragePresentationContexts} == COMMON_STORAGE
    assert len(COMMON_STORAGE) == 120


def test_every_storage_class_that_anybody_knows_is_one() -> None:
    known = {str(x.abstract_syntax) for x in AllStoragePresentationContexts}
    named = {uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and "Storage" in name}
    others = {uid for uid in named if UID(uid).name.startswith(("Storage Commitment", "Media Storage Directory"))}
    assert others
    assert known | named - others == STORAGE >= COMMON_STORAGE


def test_a_uid_has_its_name_and_one_without_is_itself() -> None:
    assert name_of("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert name_of("1.2.3") == "1.2.3"

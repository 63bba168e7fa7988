"""What an instance must be to be taken in, decided while it is written to the disk."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gateway.config.settings import StoreSettings
from gateway.dataset.dictionary import keyword_of, keywords
from gateway.dataset.identification import Identification
from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.uid import is_uid
from gateway.dimse.sop_classes import STORAGE
from gateway.errors import ConfigError, DatasetError, Inadmissible, LimitExceeded, QueueFull
from gateway.federation.issuers import Issuers
from gateway.federation.routing import Source, Traits
from gateway.spool.ledger import Kept
from gateway.spool.queue import Queue

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = "00080016", "00080018", "0020000D", "0020000E"
MODALITY, INSTITUTION, PATIENT_ID, ISSUER = "00080060", "00080080", "00100020", "00100021"

NOT_SUPPORTED: Final = 0x0122
DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
LACKS_IDENTIFIER: Final = 0xC120
"""Failure Reasons (PS3.18 Table I.2-1); the last one is ours, of the range that the table leaves open."""


def required_keys(settings: StoreSettings) -> tuple[str, ...]:
    """Return the tags of the attributes that the configuration demands.

    Raises:
        ConfigError: one is no keyword of PS3.6.
    """
    known = keywords()
    for keyword in settings.required:
        if keyword not in known:
            raise ConfigError(f'"store.required" cannot hold {keyword!r}: write keywords of PS3.6, such as "PatientID"')
    return tuple(known[keyword] for keyword in settings.required)


@dataclass(frozen=True, slots=True)
class Announced:
    """What stands around a Data Set, to be found in it again; what is empty is not said.

    Attributes:
        study: Study Instance UID that it must have.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study: str = ""


class Admission:
    """Takes single instances in, or says why not."""

    def __init__(self, queue: Queue, required: tuple[str, ...], max_bytes: int) -> None:
        self._queue = queue
        self._required = required
        self._max_bytes = max_bytes
        self._keys = {SOP_CLASS, SOP_INSTANCE, STUDY, SERIES, MODALITY, INSTITUTION, PATIENT_ID, ISSUER, *required}

    async def admit(
        self, announced: Announced, fragments: AsyncIterator[memoryview], source: Source, found: dict[str, str]
    ) -> tuple[Kept, Traits]:
        """Write one instance to the disk, and check it; nothing stays of one that is not taken.

        Args:
            announced: what stands around the Data Set.
            fragments: the Data Set.
            source: who brings it.
            found: is filled with what the Data Set says, also when it is refused.

        Raises:
            Inadmissible: it is not taken in.
            QueueFull: there is no room for it.
        """
        check_sop_class(announced.sop_class_uid)
        if not is_uid(announced.transfer_syntax_uid):
            raise Inadmissible("its Transfer Syntax is no UID", status=CANNOT_UNDERSTAND)
        identification = Identification(announced.transfer_syntax_uid, self._keys)
        arrival = self._queue.arrive()
        try:
            async for fragment in fragments:
                with _understanding():
                    identification.feed(fragment)
                await arrival.write(fragment)
                self._check_size(arrival.size)
            with _understanding():
                found.update(identification.finish())
            self._check(announced, found)
            digest = await arrival.finish()
        except BaseException:
            arrival.discard()
            raise
        self._queue.account(arrival.size)
        uids = (found[SOP_CLASS], found[SOP_INSTANCE], found[SERIES], found[STUDY])
        kept = Kept(arrival.file, digest, arrival.size, *uids, announced.transfer_syntax_uid, source.origin)
        return kept, _traits(found, source)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise Inadmissible(f"it has more than {self._max_bytes} bytes", status=QueueFull.dimse_status)

    def _check(self, announced: Announced, found: Mapping[str, str]) -> None:
        for key in (SOP_CLASS, SOP_INSTANCE, STUDY, SERIES):
            if not is_uid(found.get(key, "")):
                raise Inadmissible(f"its {keyword_of(key)} is missing or no UID", status=CANNOT_UNDERSTAND)
        check_sop_class(found[SOP_CLASS])
        said = {SOP_CLASS: announced.sop_class_uid, SOP_INSTANCE: announced.sop_instance_uid, STUDY: announced.study}
        for key, uid in said.items():
            if uid and found[key] != uid:
                said_by = "the study it was sent to" if key == STUDY else "its File Meta Information or its C-STORE-RQ"
                raise Inadmissible(f"its {keyword_of(key)} is not that of {said_by}", status=DOES_NOT_MATCH)
        for key in self._required:
            if not found.get(key):
                raise Inadmissible(f"its {keyword_of(key)} is missing or empty", status=LACKS_IDENTIFIER)


class Owners:
    """Tells whose what comes in is, as its regions will tell it (trap 5).

    Args:
        namespaces: in which each region has Patient IDs, by its id.
    """

    def __init__(self, issuers: Issuers, namespaces: Mapping[str, str]) -> None:
        self._issuers = issuers
        self._namespaces = namespaces

    def of(self, found: Mapping[str, str], regions: Iterable[str], issuer: str = "") -> frozenset[PatientIdentifier]:
        """Return the patient of an instance: in the namespace that it states, else its sender's, else its regions'.

        Args:
            found: what the instance says.
            regions: where it goes.
            issuer: of the Patient IDs of its sender, where that is known.
        """
        value, stated = found.get(PATIENT_ID, ""), found.get(ISSUER) or issuer
        issuers = {self._issuers.name(stated)} if stated else {self._namespaces[region] for region in regions}
        return frozenset(PatientIdentifier(one, value) for one in issuers if value)


@contextmanager
def _understanding() -> Iterator[None]:
    """Turn what a Reader finds into a refusal of the instance; what ends the whole request is not raised inside."""
    try:
        yield
    except (DatasetError, LimitExceeded) as error:
        raise Inadmissible(f"its Data Set cannot be read: {error}", status=CANNOT_UNDERSTAND) from None


def check_sop_class(uid: str) -> None:
    """Refuse what is no Storage SOP Class, where one is named at all."""
    if uid and uid not in STORAGE:
        raise Inadmissible(f"SOP Class {uid if is_uid(uid) else '?'} is not one that is stored", status=NOT_SUPPORTED)


def _traits(found: Mapping[str, str], source: Source) -> Traits:
    institutions = [source.institution, found.get(INSTITUTION, "")]
    return Traits(
        {
            "calling_ae_title": [source.calling_ae_title],
            "organisation": [source.organisation],
            "institution": [name for name in institutions if name],
            "issuer": [found.get(ISSUER, "")],
            "modality": [found.get(MODALITY, "")],
            "sop_class": [found[SOP_CLASS]],
        }
    )

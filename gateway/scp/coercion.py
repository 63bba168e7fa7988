"""Foreign exam management: what a peer pulls carries its own identifiers, and says which ones it had (IHE IRWF).

An instance of the peer's own namespace is left as it is. One of a patient for whom no local number is known is not
sent: under its foreign number it could be filed in the record of somebody else who has that number here.
"""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Row
from gateway.dataset.rewriting import Front, Rewriter, modification
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from gateway.dataset.writer import from_json_model
from gateway.deadline import Deadline
from gateway.errors import NotCoercible
from gateway.federation.identity import ISSUER, ISSUER_QUALIFIERS, PATIENT_ID, long_string, text
from gateway.federation.patients import Patients
from gateway.federation.retrieval import Instance
from gateway.scp.profile import PeerProfile

ACCESSION, ACCESSION_ISSUER = "00080050", "00080051"
LONGEST_ACCESSION: Final = 16
SECONDS: Final = 10.0
"""For the identity source."""

_MODIFIED_AT, _MODIFYING_SYSTEM, _SOURCE, _REASON = "04000562", "04000563", "04000564", "04000565"


def now() -> datetime:
    """Return the time of a change."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Coercion:
    """Gives instances the identifiers of one peer.

    Attributes:
        namespaces: issuer of the Patient IDs of each region, by its id.
        ae_title: ours, the modifying system.
    """

    peer: PeerProfile
    patients: Patients
    namespaces: Mapping[str, str]
    ae_title: str
    clock: Callable[[], datetime] = now

    async def of(self, instance: Instance, transfer_syntax_uid: str) -> Rewriter | None:
        """Return what makes an instance the peer's own; None where it is already.

        Raises:
            NotCoercible: the patient has no number there.
            IdentityUnavailable: the identity source does not answer.
            GatewayError: the instance breaks off, or cannot be read.
        """
        found = await _front(instance, transfer_syntax_uid)
        like = IMPLICIT_VR_LE if transfer_syntax_uid == IMPLICIT_VR_LE else EXPLICIT_VR_LE
        row = to_json_model(b"".join(found[key] for key in sorted(found)), like, character_set=instance.character_set)
        namespace = self.namespaces.get(instance.region, "")
        local = self.peer.issuer_of_patient_id
        deadline = Deadline.after(SECONDS)
        issuer, number = await self.patients.number(row, namespace, local, deadline)
        if self.patients.same_issuer(issuer, local):
            return None
        if not (number and number.isascii()):
            raise NotCoercible(
                f"{self.peer.id} knows no Patient ID for this patient: register the patient there, or pull it for a "
                "peer that takes foreign numbers"
            )
        attributes = self._attributes(row, number)
        changes = {key: from_json_model({key: value}, like) if value else b"" for key, value in attributes.items()}
        before = {key: found[key] for key in attributes if key in found}
        return Rewriter(transfer_syntax_uid, changes, modification(before, self._about(instance), like))

    def _attributes(self, row: Row, number: str) -> dict[str, dict[str, object]]:
        """Return what replaces what; an empty attribute is removed."""
        changes: dict[str, dict[str, object]] = {
            PATIENT_ID: long_string(number),
            ISSUER: long_string(self.peer.issuer_of_patient_id),
            ISSUER_QUALIFIERS: {},
        }
        accession = text(row, ACCESSION)
        if accession and self.peer.accession_prefix:
            prefixed = self.peer.accession_prefix + accession
            # Cut off, it would be another study's; it stands among the original attributes whole.
            changes[ACCESSION] = (
                {"vr": "SH", "Value": [prefixed]} if len(prefixed) <= LONGEST_ACCESSION else {"vr": "SH"}
            )
            changes[ACCESSION_ISSUER] = {}
        return changes

    def _about(self, instance: Instance) -> Row:
        return {
            _MODIFIED_AT: {"vr": "DT", "Value": [self.clock().strftime("%Y%m%d%H%M%S.%f%z")]},
            _MODIFYING_SYSTEM: long_string(self.ae_title),
            _SOURCE: long_string(instance.region),
            _REASON: {"vr": "CS", "Value": ["COERCE"]},
        }


async def _front(instance: Instance, transfer_syntax_uid: str) -> Mapping[str, bytes]:
    """Read the front of an instance, as far as its identifiers are."""
    keys = (ACCESSION, ACCESSION_ISSUER, PATIENT_ID, ISSUER, ISSUER_QUALIFIERS)
    front = Front(instance.transfer_syntax_uid, transfer_syntax_uid, keys)
    async with aclosing(instance.bursts()) as bursts:  # type: ignore[type-var]
        async for burst in bursts:
            if any(front.feed(fragment) for fragment in burst):
                break
    return front.found

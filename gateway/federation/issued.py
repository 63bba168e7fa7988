"""Who issued the Patient IDs of a search, remembered: to tell it, archives read a file for each row."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Final

from gateway.dataset.query import Row
from gateway.federation.asking import Answer
from gateway.federation.identity import ISSUER, ISSUER_QUALIFIERS, text
from gateway.federation.kept import Kept
from gateway.federation.ownership import OWNER_SECONDS, TELLING, Place, place_of
from gateway.federation.patients import Patients

MOST_QUESTIONS, MOST_ROWS = 100, 500
_NOTHING: Final[Mapping[Place, Row]] = {}


class Issued:
    """Remembers for a while what regions told with the rows of a question, to ask it the next time without that.

    Only what is beside the Patient ID of a study comes from memory: one with another Patient ID, or one that was not
    there, makes the question one that has to be asked in full.
    """

    def __init__(self, patients: Patients) -> None:
        self._patients = patients
        self._told = Kept[Hashable, Mapping[Place, Row]](OWNER_SECONDS, MOST_QUESTIONS)

    def knows(self, question: Hashable) -> bool:
        """Whether a question was asked in full of late."""
        return self._told.get(question) is not None

    def keep(self, question: Hashable, answers: Sequence[Answer]) -> None:
        """Remember what the rows of a question tell, unless it is too much, or not the same for one place."""
        if sum(len(answer.rows) for answer in answers) > MOST_ROWS:
            return
        told: dict[Place, Row] = {}
        for answer in answers:
            for row in answer.rows:
                telling = {tag: row[tag] for tag in TELLING if tag in row}
                if told.setdefault(place_of(answer.profile.id, row), telling) != telling:
                    return
        self._told.put(question, told)

    def give(self, question: Hashable, answers: Sequence[Answer]) -> bool:
        """Tell rows that were asked for without it who issued their Patient IDs; False where it is not known."""
        told = self._told.get(question) or _NOTHING
        known = [(answer, row, told.get(place_of(answer.profile.id, row))) for answer in answers for row in answer.rows]
        for answer, row, telling in known:
            if telling is None:
                return False
            if text(row, ISSUER) or ISSUER_QUALIFIERS in row:
                self._patients.state(row, answer.profile)  # it came unasked
            else:
                row.update(telling)
        return True

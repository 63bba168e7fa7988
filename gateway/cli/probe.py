"""What `gateway region profile` asks an archive: little, and nothing that costs it much."""

import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.cli.charset import LATIN_1, PLAIN, UTF_8, is_utf_8, letters, stated_terms
from gateway.cli.learned import MOVE, Learned
from gateway.cli.visit import PATIENT_NAME, STUDY, STUDY_DATE, Arrivals, Found, Visit, first
from gateway.dataset.charset import character_set
from gateway.dataset.query import Row, Selection
from gateway.dataset.transfer_syntax import transfer_syntax
from gateway.dimse.echo import echo
from gateway.dimse.sop_classes import (
    PATIENT_ROOT_FIND,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
)
from gateway.errors import Busy, DimseFailure
from gateway.region.contexts import get_contexts
from gateway.wire.status import OUT_OF_RESOURCES

SAMPLE: Final = 50
MOST_ROWS: Final = 2000
"""Rows up to which a result cap is looked for; then the C-FIND is cancelled."""

NAMES: Final = {
    VERIFICATION: "Verification",
    STUDY_ROOT_FIND: "Study Root FIND",
    STUDY_ROOT_MOVE: MOVE,
    PATIENT_ROOT_FIND: "Patient Root FIND",
    STUDY_ROOT_GET: "Study Root GET",
}

IMPOSSIBLE: Final = {
    "StudyDate": (STUDY_DATE, "18000101"),
    "StudyTime": ("00080030", "235959.999999"),
    "AccessionNumber": ("00080050", "ZZ-NOT-THERE"),
    "PatientName": (PATIENT_NAME, "ZZQXJ^NOTTHERE"),
    "PatientID": ("00100020", "ZZ-NOT-THERE"),
    "PatientBirthDate": ("00100030", "18000101"),
    "StudyID": ("00200010", "ZZ-NOT-THERE"),
    "StudyInstanceUID": (STUDY, "2.25.1"),
    "ModalitiesInStudy": ("00080061", "ZZ"),
    "StudyDescription": ("00081030", "ZZ-NOT-THERE"),
    "ReferringPhysicianName": ("00080090", "ZZQXJ^NOTTHERE"),
}
"""Keys, and a value that no study has: an archive that returns rows for it has not looked."""

ISSUER, OFFSET = "00100021", "00080201"


class Probe:
    """Asks one archive, question by question.

    Args:
        visit: the archive.
        arrivals: what comes to our Move Destinations; None where we cannot listen.
    """

    def __init__(self, visit: Visit, arrivals: Arrivals | None) -> None:
        self._visit = visit
        self._arrivals = arrivals
        self._rows: list[Row] = []
        self._instance: tuple[Selection, str] | None = None
        self.learned = Learned()

    async def run(self, told: Callable[[str], None]) -> Learned:
        """Learn what can be learned; ``told`` hears what is asked.

        Raises:
            RegionError: there is no association, or no C-FIND at all.
        """
        self._visit.secure()
        await self._associate()
        told("searching")
        await self._sample()
        questions = {
            "keys": self._keys,
            "relational queries": self._relational,
            "names": self._names,
            "result cap": self._cap,
            "C-GET": self._get,
            "C-MOVE": self._move,
            "associations": self._associations,
        }
        await self.learned.ask(questions, told)
        return self.learned

    async def _associate(self) -> None:
        with self._timed("association"):
            association = await self._visit.associate()
        async with association:
            self.learned.sop_classes = [NAMES[x.abstract_syntax] for x in association.contexts.values()]
            granted = any(
                x.abstract_syntax == STUDY_ROOT_FIND and x.extended[:1] == b"\1" for x in association.contexts.values()
            )
            self.learned.relational = "granted" if granted else "not granted"
            with self._timed("C-ECHO"):
                await echo(association, self._visit.deadline)

    async def _sample(self) -> None:
        """Look at some rows: of today, else of the last month, else of any day."""
        today = datetime.now(ZoneInfo(self._visit.profile.time_zone))
        keys = dict.fromkeys((STUDY, PATIENT_NAME, "00081030", "00080090", ISSUER, OFFSET), "")
        found = Found([], more=False)
        for date in (f"{today:%Y%m%d}", f"{today - timedelta(days=30):%Y%m%d}-{today:%Y%m%d}", ""):
            with self._timed("C-FIND of recent studies"):
                found = await self._find({**keys, STUDY_DATE: date}, most=SAMPLE)
            if found.rows:
                break
        self._rows = found.rows
        if not self._rows:
            self.learned.remarks.append("no study is shown to us: little could be learned")
            return
        learned = self.learned
        learned.issuer = next((x for row in self._rows if (x := first(row, ISSUER))), None)
        learned.offset = next((x for row in self._rows if (x := first(row, OFFSET))), None)
        learned.character_set, learned.stated = _character_set(self._rows)

    async def _keys(self) -> None:
        if not self._rows:
            return
        for name, (key, value) in IMPOSSIBLE.items():
            try:
                found = await self._find({STUDY: "", key: value})
            except DimseFailure:
                self.learned.refused.append(name)
            else:
                (self.learned.ignored if found.rows else self.learned.honoured).append(name)

    async def _relational(self) -> None:
        """Ask for series of no study in particular, where that is granted."""
        if self.learned.relational != "granted":
            return
        try:
            found = await self._visit.find("SERIES", {"0020000E": "", "00080060": ""})
        except DimseFailure:
            self.learned.relational = "refused"
        else:
            self.learned.relational = "granted" if found.rows or not self._rows else "refused"

    async def _names(self) -> None:
        """Ask for the name of a study that was seen, in other letters, together with the study's UID."""
        terms = self.learned.character_set or LATIN_1
        for row in self._rows:
            name = _name(row, terms).partition("^")[0]
            plain = _without_accents(name)
            if self.learned.ignores_case is None and name.isascii() and len(name) > 3 and name != name.lower():
                self.learned.ignores_case = await self._is_found(row, name.lower())
            if self.learned.ignores_accents is None and not name.isascii() and plain.isascii() and len(plain) > 3:
                self.learned.ignores_accents = await self._is_found(row, plain)

    async def _is_found(self, row: Row, name: str) -> bool | None:
        """Whether a study is found by a name; None where names are not looked at beside its UID."""
        key = {STUDY: first(row, STUDY)}
        if (await self._find({**key, PATIENT_NAME: "ZZQXJ^NOTTHERE"})).rows:
            return None
        return bool((await self._find({**key, PATIENT_NAME: f"{name}*"})).rows)

    async def _cap(self) -> None:
        """Ask for everything, up to a bound, and for the two halves of what came: more in them shows a cap."""
        try:
            found = await self._find({STUDY: "", STUDY_DATE: ""}, most=MOST_ROWS)
        except DimseFailure as error:
            if error.status != OUT_OF_RESOURCES:
                raise
            self.learned.remarks.append("a search for everything ends with out of resources (A700)")
            return
        count = self.learned.rows_seen = len(found.rows)
        dates = sorted(date for row in found.rows if (date := first(row, STUDY_DATE)))
        if found.more or len(dates) < 2:
            return
        middle = datetime.strptime(dates[len(dates) // 2], "%Y%m%d")  # noqa: DTZ007 - a day, not a moment
        halves = (f"-{middle - timedelta(days=1):%Y%m%d}", f"{middle:%Y%m%d}-")
        total = 0
        for half in halves:
            total += len((await self._find({STUDY: "", STUDY_DATE: half}, most=MOST_ROWS)).rows)
        if total > count:
            self.learned.result_cap = count

    async def _get(self) -> None:
        self._instance = await self._visit.instance(self._rows)
        if self._instance is None:
            return
        selection, sop_class = self._instance
        self.learned.c_get = False
        async with await self._visit.associate(get_contexts([sop_class])) as association:
            contexts = [x for x in association.contexts.values() if x.abstract_syntax == sop_class]
            self.learned.transfer_syntaxes = [transfer_syntax(x.transfer_syntax).name for x in contexts]
            if any(x.abstract_syntax == STUDY_ROOT_GET for x in association.contexts.values()):
                self.learned.sop_classes.append(NAMES[STUDY_ROOT_GET])
        with self._timed("C-GET of an instance"):
            arrived, _ = await self._visit.get(selection, [sop_class])
        self.learned.c_get = bool(arrived)

    async def _move(self) -> None:
        destinations = self._visit.profile.move_destinations
        if self._instance is None or self._arrivals is None or not destinations:
            self.learned.remarks.append("C-MOVE: not tried, it needs a Move Destination of ours, its port and a study")
            return
        self.learned.c_move = False
        with self._timed("C-MOVE of an instance"):
            await self._visit.move(self._instance[0], destinations[0])
        for store in self._arrivals.stores:
            self.learned.c_move = True
            named = (store.move_originator_ae_title, store.move_originator_message_id)
            known = [word for word, value in zip(("AE title", "Message ID"), named, strict=True) if value]
            self.learned.originator = " and ".join(known) or "nothing"

    async def _associations(self) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(self._visit.profile.max_associations):
                try:
                    await stack.enter_async_context(await self._visit.associate())
                except Busy:
                    return
                self.learned.associations += 1

    async def _find(self, keys: dict[str, str], *, most: int = 1) -> Found:
        return await self._visit.find("STUDY", keys, most=most, text_in=self.learned.character_set or "")

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.learned.milliseconds[what] = round(1000 * (time.monotonic() - began))


def _character_set(rows: list[Row]) -> tuple[str | None, bool]:
    """Return the character set of text, and whether it is stated; None where all is ASCII and nothing is stated."""
    terms = [stated for row in rows if (stated := stated_terms(row)) not in PLAIN]
    if terms:
        return terms[0], True
    texts = [text for row in rows for text in letters(row)]
    if not texts:
        return None, False
    return (UTF_8 if all(map(is_utf_8, texts)) else LATIN_1), False


def _name(row: Row, terms: str) -> str:
    """Return the patient's name; text that does not say what it is was read as Latin-1."""
    name = first(row, PATIENT_NAME)
    if name.isascii() or stated_terms(row) not in PLAIN:
        return name
    return character_set(terms).decode(name.encode("latin-1", "replace"))


def _without_accents(name: str) -> str:
    return "".join(x for x in unicodedata.normalize("NFKD", name) if not unicodedata.combining(x))

"""What `gateway doctor` does with one region: step by step, until one fails."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.cli.charset import objection, stated_terms
from gateway.cli.diagnosis import Diagnosis, Host, is_of_tls, of_association, of_move, of_tcp, of_tls
from gateway.cli.steps import Failed, Skipped, Step, Steps, looked_up, until, walk
from gateway.cli.visit import (
    PATIENT_NAME,
    REFERRER,
    STUDY,
    STUDY_DATE,
    STUDY_DESCRIPTION,
    Arrivals,
    Visit,
    is_loopback,
    local_address,
)
from gateway.config.settings import Settings
from gateway.dataset.query import Row, Selection
from gateway.dimse.association import Association
from gateway.dimse.echo import echo
from gateway.errors import Busy, ConfigError, DimseFailure, GatewayError, Refused, Rejected, Unreachable
from gateway.region.contexts import FIND, GET
from gateway.region.profile import Profile
from gateway.wire.status import describe

SAMPLE: Final = 50
"""Rows that are looked at; the C-FIND is cancelled after them."""

MOST_ASSOCIATIONS: Final = 8


@dataclass(slots=True)
class _Seen:
    """What earlier steps left for later ones."""

    rows: list[Row] = field(default_factory=list)
    instance: tuple[Selection, str] | None = None
    local: str = ""
    contexts: int = 0
    certificate: Mapping[str, Any] | None = None
    error: GatewayError | None = None


class Examination:
    """The examination of one region.

    Args:
        profile: of the region.
        settings: of the gateway.
        arrivals: what comes to our Move Destinations; None where we cannot listen, for the reason given.
        seconds: for each step.
    """

    def __init__(
        self, profile: Profile, settings: Settings, arrivals: Arrivals | None, deaf: str, seconds: float
    ) -> None:
        self._profile = profile
        self._settings = settings
        self._arrivals = arrivals
        self._deaf = deaf
        self._visit = Visit(profile, settings.dimse.ae_title, seconds)
        self._seconds = seconds
        self._seen = _Seen()

    async def run(self, told: Callable[[Step], None]) -> list[Step]:
        """Take the steps, telling each as it ends, and return them; the last is the one that failed, if any."""
        return await walk(self._steps(), lambda error: of_association(error, self._host), told)

    def _steps(self) -> Steps:
        return (
            ("dns", self._dns),
            ("tcp", self._tcp),
            ("tls", self._tls),
            ("associate", self._associate),
            ("echo", self._echo),
            ("associations", self._associations),
            ("study-root", self._study_root),
            ("find", self._find),
            ("character-set", self._character_set),
            ("get", self._get),
            ("move", self._move),
        )

    @property
    def _host(self) -> Host:
        dimse = self._settings.dimse
        return Host(self._profile, dimse.ae_title, self._seen.local or dimse.host, dimse.port)

    # --- the way there

    async def _dns(self) -> str:
        return await looked_up(self._profile.host, self._profile.port, self._seconds, "host")

    async def _tcp(self) -> str:
        """Open an association, once for this step and the next two: some archives hold a place for each connection."""
        self._seen.local = local_address(self._profile.host, self._profile.port)
        try:
            self._visit.secure()
            async with await self._visit.associate() as association:
                self._seen.contexts = len(association.contexts)
                self._seen.certificate = association.connection.certificate
        except GatewayError as error:
            self._seen.error = error
            if isinstance(error, Refused | Unreachable) and not is_of_tls(error):
                raise Failed(of_tcp(error, self._host, self._seconds)) from error
        return f"from {self._seen.local}"

    async def _tls(self) -> str:
        if not self._profile.tls:
            raise Skipped("not used")
        error, certificate = self._seen.error, self._seen.certificate
        if isinstance(error, ConfigError):
            raise error
        if error is not None and is_of_tls(error):
            raise Failed(of_tls(error, self._host)) from error
        if certificate is None:
            return ""
        return until(certificate)

    # --- associations

    async def _associate(self) -> str:
        if self._seen.error is not None:
            raise self._seen.error.with_traceback(None)
        return f"{self._seen.contexts} Presentation Contexts accepted"

    async def _echo(self) -> str:
        async with await self._visit.associate() as association:
            await echo(association, self._visit.deadline)
        return ""

    async def _associations(self) -> str:
        """Open as many at once as the profile says there may be."""
        wanted = min(self._profile.max_associations, MOST_ASSOCIATIONS)
        async with AsyncExitStack() as stack:
            for number in range(wanted):
                try:
                    await stack.enter_async_context(await self._visit.associate())
                except Busy as error:
                    raise Failed(self._too_many(number)) from error
        return f"{wanted} at once"

    def _too_many(self, granted: int) -> Diagnosis:
        wanted = self._profile.max_associations
        return Diagnosis(
            f"it grants {granted} associations at once, and the profile says {wanted}: "
            f"write max_associations = {granted} there, or ask for more",
            f"{self._host.we} may open {granted} associations at once with {self._host.they}; "
            f"the gateway is set up for {wanted}. Please allow {wanted} for our AE title.",
        )

    # --- searches

    async def _study_root(self) -> str:
        async with await self._visit.associate() as association:
            try:
                context = association.context(FIND)
            except Rejected as error:
                raise Failed(self._no_study_root(association)) from error
        return "with relational queries" if context.extended[:1] == b"\1" else "without relational queries"

    def _no_study_root(self, association: Association) -> Diagnosis:
        offered = {context.abstract_syntax for context in association.contexts.values()}
        others = "; it accepts others: the gateway may have to search it patient by patient" if len(offered) > 1 else ""
        return Diagnosis(
            f"it does not accept Study Root Query/Retrieve - FIND ({FIND}){others}",
            f"{self._host.they} does not accept the Presentation Context Study Root Query/Retrieve Information Model "
            f"- FIND ({FIND}) from {self._host.we}. Please enable Study Root C-FIND (and C-MOVE) for our AE title.",
        )

    async def _find(self) -> str:
        """Ask for the studies of today, then of the last month, then for any: never for more than a few rows."""
        today = datetime.now(ZoneInfo(self._profile.time_zone))
        dates = (f"{today:%Y%m%d}", f"{today - timedelta(days=30):%Y%m%d}-{today:%Y%m%d}", "")
        keys = dict.fromkeys((STUDY, STUDY_DATE, PATIENT_NAME, STUDY_DESCRIPTION, REFERRER), "")
        for date in dates:
            try:
                found = await self._visit.find("STUDY", {**keys, STUDY_DATE: date}, most=SAMPLE)
            except DimseFailure as error:
                raise Failed(self._cannot_find(error)) from error
            if found.rows:
                self._seen.rows = found.rows
                return f"{len(found.rows)} studies seen{', cancelled there' if found.more else ''}"
        return "no study matches any date: the archive is empty, or hides its studies from our AE title"

    def _cannot_find(self, error: DimseFailure) -> Diagnosis:
        comment = f' and the comment "{error.comment}"' if error.comment else ""
        return Diagnosis(
            f"C-FIND ends with {describe(error.status)}{comment}",
            f"{self._host.they} ends our C-FIND (Study Root, STUDY level, by Study Date) with status "
            f"{error.status:04X}H{comment}. Please allow {self._host.we} to query studies.",
        )

    async def _character_set(self) -> str:
        if not self._seen.rows:
            raise Skipped("no rows to look at")
        verdict = objection(self._seen.rows, self._profile.character_set)
        if verdict:
            raise Failed(Diagnosis(verdict, ""))
        stated = sorted({stated_terms(row) or "none" for row in self._seen.rows})
        return f"stated: {', '.join(stated)}; profile: {self._profile.character_set}"

    # --- retrieves

    async def _get(self) -> str:
        if self._profile.retrieve == "c-move":
            raise Skipped("the profile says C-MOVE")
        self._seen.instance = await self._visit.instance(self._seen.rows)
        if self._seen.instance is None:
            raise Skipped("no instance to ask for")
        selection, sop_class = self._seen.instance
        try:
            arrived, result = await self._visit.get(selection, [sop_class])
        except (Rejected, DimseFailure) as error:
            return self._without_get(error)
        if not arrived:
            return self._without_get(DimseFailure("it ended C-GET without sending anything", status=result.status))
        return "one instance came"

    def _without_get(self, error: GatewayError) -> str:
        """Tell that there is no C-GET: a failure only where nothing else is configured."""
        if self._profile.retrieve == "auto" and self._profile.move_destinations:
            raise Skipped(f"not to be had ({error}); C-MOVE will do")
        raise Failed(
            Diagnosis(
                f"C-GET is not to be had: {error}; name move_destinations in the profile to use C-MOVE instead",
                f"{self._host.they} does not serve C-GET (Study Root, {GET}) to {self._host.we}. Please enable it, "
                f"or enter {self._host.we} at port {self._host.our_port} as a Move Destination.",
            )
        )

    async def _move(self) -> str:
        profile, visit = self._profile, self._visit
        if profile.retrieve == "c-get" or not profile.move_destinations:
            raise Skipped("not configured")
        if self._arrivals is None:
            raise Skipped(self._deaf)
        listens = self._settings.dimse.host
        if is_loopback(listens) and not is_loopback(self._seen.local):
            raise Failed(Diagnosis(f'we listen on {listens} only, where no region reaches us: set "dimse.host"'))
        self._seen.instance = self._seen.instance or await visit.instance(self._seen.rows)
        if self._seen.instance is None:
            raise Skipped("no instance to ask for")
        for destination in profile.move_destinations:
            await self._move_to(destination, self._seen.instance[0], self._arrivals)
        return f"one instance came to {', '.join(profile.move_destinations)}"

    async def _move_to(self, destination: str, selection: Selection, arrivals: Arrivals) -> None:
        callers = len(arrivals.callers)
        try:
            result = await self._visit.move(selection, destination)
        except (DimseFailure, Rejected) as error:
            raise Failed(of_move(error, destination, self._host, arrivals.callers[callers:])) from error
        uids = {store.sop_instance_uid for store in arrivals.stores if store.called_ae_title == destination}
        if not uids & set(selection.instances):
            failure = DimseFailure("nothing came", status=result.status, comment=result.comment)
            raise Failed(of_move(failure, destination, self._host, arrivals.callers[callers:]))

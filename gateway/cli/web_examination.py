"""What `gateway doctor` does with a region that speaks DICOMweb: step by step, until one fails."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.cli.diagnosis import Diagnosis, of_certificate
from gateway.cli.steps import Failed, Skipped, Step, Steps, looked_up, until, walk
from gateway.cli.visit import INSTANCE, SERIES, STUDY, first, local_address
from gateway.config.paths import path_of
from gateway.config.settings import Settings
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.deadline import Deadline
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.tls import client_context
from gateway.errors import ConfigError, GatewayError, Refused, Stalled, Unreachable
from gateway.events import unobserved
from gateway.region.dicomweb import DicomwebRegion
from gateway.region.dicomweb_client import Client
from gateway.region.dicomweb_search import JSON
from gateway.region.inbox import Inbox
from gateway.region.profile import Profile
from gateway.wire.status import SUCCESS

SAMPLE: Final = 50
"""Studies whose rows are looked at, and instances that are tried."""

UNKNOWN, FORBIDDEN = 401, 403


class WebExamination:
    """The examination of one region.

    Args:
        profile: of the region.
        settings: of the gateway.
        seconds: for each step.
    """

    def __init__(self, profile: Profile, settings: Settings, seconds: float) -> None:
        address = urlsplit(profile.dicomweb)
        self._profile = profile
        self._settings = settings
        self._seconds = seconds
        self._is_secure = address.scheme == "https"
        self._host = address.hostname or ""
        self._port = address.port or (443 if self._is_secure else 80)
        self._status = 0
        self._rows: list[Row] = []
        self._client: Client | None = None
        self._region: DicomwebRegion | None = None

    async def run(self, told: Callable[[Step], None]) -> list[Step]:
        """Take the steps, telling each as it ends, and return them; the last is the one that failed, if any."""
        steps: Steps = (
            ("dns", self._dns),
            ("tcp", self._tcp),
            ("tls", self._tls),
            ("http", self._http),
            ("token", self._token),
            ("find", self._find),
            ("retrieve", self._retrieve),
        )
        try:
            return await walk(steps, self._explained, told)
        finally:
            for opened in (self._client, self._region):
                if opened is not None:
                    await opened.aclose()

    @property
    def _they(self) -> str:
        return f"The DICOMweb services at {self._profile.dicomweb}"

    @property
    def _us(self) -> str:
        return f"our gateway at {local_address(self._host, self._port) or 'our host'}"

    @property
    def _deadline(self) -> Deadline:
        return Deadline.after(self._seconds)

    # --- the way there

    async def _dns(self) -> str:
        return await looked_up(self._host, self._port, self._seconds, "dicomweb")

    async def _tcp(self) -> str:
        try:
            await self._connection(None)
        except OSError as error:  # TimeoutError is one
            raise Failed(self._unreached(error)) from error
        return f"from {local_address(self._host, self._port)}"

    async def _connection(self, tls: ssl.SSLContext | None) -> Mapping[str, Any] | None:
        """Connect, and leave; return the certificate that was shown."""
        async with asyncio.timeout(self._seconds):
            server = self._host if tls else None
            _, writer = await asyncio.open_connection(self._host, self._port, ssl=tls, server_hostname=server)
        certificate: Mapping[str, Any] | None = writer.get_extra_info("peercert")
        writer.transport.abort()
        return certificate

    def _unreached(self, error: OSError) -> Diagnosis:
        where = f"{self._host}, port {self._port}"
        if isinstance(error, ConnectionRefusedError):
            return Diagnosis(
                'nothing listens there: check "dicomweb" in the profile, and whether its web server is up',
                f"{where} refuses TCP connections from {self._us}. Please tell us the address of your DICOMweb "
                "services, or start them.",
            )
        if isinstance(error, TimeoutError):
            return Diagnosis(
                f"no answer within {self._seconds:g} s: something on the way drops it, such as a firewall",
                f"Connections from {self._us} to {where} (TCP) get no answer at all. Please open the firewall for us.",
            )
        return Diagnosis(f"it cannot be reached ({error.strerror}): check the network between here and there")

    async def _tls(self) -> str:
        if not self._is_secure:
            raise Skipped("not used")
        one = self._profile
        context = client_context(*map(path_of, (one.ca, one.certificate, one.key)))
        try:
            certificate = await self._connection(context)
        except ssl.SSLCertVerificationError as error:
            what, ask = of_certificate(error)
            raise Failed(
                Diagnosis(
                    f"its certificate cannot be trusted: {what}",
                    f"The TLS certificate of {self._host}, port {self._port}, is not accepted by {self._us}: {what}. "
                    f"Please {ask}.",
                )
            ) from error
        except OSError as error:
            raise Failed(self._without_tls(error)) from error
        return until(certificate) if certificate else ""

    def _without_tls(self, error: OSError) -> Diagnosis:
        reason = getattr(error, "reason", None) or error.strerror or "no answer"
        return Diagnosis(
            f"TLS is not agreed on ({reason}): it may speak plain HTTP at that port, or want our certificate",
            f"The TLS handshake of {self._us} with {self._host}, port {self._port}, fails ({reason}). Please check "
            "that HTTPS is on at that port, with TLS 1.2 or later, and which certificate you expect of us.",
        )

    # --- the services

    async def _http(self) -> str:
        """Ask for one study; what is answered is for the next steps to judge."""
        try:
            self._client = Client(self._profile)
            self._region = DicomwebRegion(self._profile, self._settings, Inbox(unobserved), unobserved)
        except ConfigError as error:
            if not self._profile.token_file:
                raise
            raise Skipped(f"not asked: {error}") from error
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.request("GET", "/studies", accept=JSON, query="limit=1") as response,
            ):
                self._status = response.status
        except TimeoutError:
            raise Stalled("no answer to a request for one study") from None
        return f"answers with {self._status}"

    async def _token(self) -> str:
        """Tell a caller who is not known from one who is not allowed (RFC 9110 15.5.2, 15.5.4)."""
        if self._client is None:
            Client(self._profile)  # says what is the matter with the file
        if self._status in {UNKNOWN, FORBIDDEN}:
            raise Failed(self._refused())
        if not self._profile.token_file:
            raise Skipped("none is asked for")
        return "accepted"

    def _refused(self) -> Diagnosis:
        shown = "our bearer token" if self._profile.token_file else "our request, which has no token,"
        if self._profile.certificate:
            shown += " with our client certificate"
        if self._status == FORBIDDEN:
            return Diagnosis(
                "it knows who we are, and does not allow us to search (403): its administrator has to",
                f"{self._they} answer {shown} with 403 to a search for studies by {self._us}. Please allow us "
                "QIDO-RS, WADO-RS and, where we store, STOW-RS.",
            )
        mend = (
            'it may have expired, or be meant for another service: put a new one into "token_file"'
            if self._profile.token_file
            else 'it wants one: write "token_file" in the profile'
        )
        return Diagnosis(
            f"it does not accept who we say we are (401): {mend}",
            f"{self._they} answer {shown} with 401. Please tell us which issuer, audience and scopes a token needs.",
        )

    def _explained(self, error: GatewayError) -> Diagnosis:
        """Return what a failure of a request means; its text says what we can do."""
        if isinstance(error, Refused | Unreachable | Stalled):
            mail = f"{self._they} do not answer {self._us} ({error.slug}). Please check that they are up."
        else:
            mail = f"{self._they} do not serve {self._us} ({error.slug}): {error}. Please check them."
        return Diagnosis(str(error), mail)

    async def _find(self) -> str:
        region = self._opened()
        query = Query(Level.STUDY, limit=SAMPLE)
        async with aclosing(region.search(query, self._deadline)) as rows:
            async for row in rows:
                self._rows.append(row)
                if len(self._rows) >= SAMPLE:
                    break
        return (
            f"{len(self._rows)} studies seen" if self._rows else "no study: it is empty, or hides its studies from us"
        )

    async def _retrieve(self) -> str:
        """Have one instance, of the first study that has any."""
        region = self._opened()
        selection = await self._instance(region)
        if selection is None:
            raise Skipped("no instance to ask for")
        size = 0

        async def receive(store: IncomingStore, _: str | None) -> int:
            nonlocal size
            async for piece in store:
                size += len(piece)
            return SUCCESS

        result = await region.retrieve(selection, receive, self._deadline, held_up=lambda: False)
        if not result.completed:
            raise Failed(
                Diagnosis(
                    "it answers a retrieve without the instance that it has told of",
                    f"{self._they} list an instance in QIDO-RS and do not send it to {self._us} by WADO-RS. Please "
                    "check that we may retrieve, and that the instance is online.",
                )
            )
        return f"one instance of {size} bytes came"

    async def _instance(self, region: DicomwebRegion) -> Selection | None:
        for study in (first(row, STUDY) for row in self._rows[:SAMPLE]):
            query = Query(Level.IMAGE, study=study, limit=1)
            async with aclosing(region.search(query, self._deadline)) as rows:
                async for row in rows:
                    return Selection(study, first(row, SERIES), (first(row, INSTANCE),))
        return None

    def _opened(self) -> DicomwebRegion:
        if self._region is None:
            raise Skipped("not asked")
        return self._region

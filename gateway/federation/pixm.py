"""An identity source over HTTP: a Patient Identifier Cross-reference Manager (IHE PIXm, ITI-83)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from gateway.dataset.patient import PatientIdentifier
from gateway.deadline import Deadline
from gateway.errors import ConfigError, IdentityUnavailable
from gateway.federation.crosswalk import is_patient_id
from gateway.federation.issuers import Issuers

OPERATION: Final = "Patient/$ihe-pix"
MEDIA_TYPE: Final = "application/fhir+json"
MOST_BYTES: Final = 1 << 20
"""Of an answer: a patient with a thousand identifiers fits."""
MOST_REQUESTS: Final = 8
"""At the same time: the registry serves others, too."""


class PixManager:
    """Asks a Patient Identifier Cross-reference Manager."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, issuers: Issuers, *, token_file: Path | None, seconds: float
    ) -> None:
        self._session = session
        self._url = f"{url.rstrip('/')}/{OPERATION}"
        self._issuers = issuers
        self._token_file = token_file
        self._seconds = seconds
        self._slots = asyncio.Semaphore(MOST_REQUESTS)
        self._targets = [issuer.system for issuer in issuers if issuer.system]

    async def identifiers(self, known: PatientIdentifier, deadline: Deadline) -> frozenset[PatientIdentifier]:
        """Return all identifiers of the patient whose issuers we know; none where the manager knows no such patient.

        Raises:
            IdentityUnavailable: there is no answer in time, or none that ITI-83 allows.
        """
        system = self._issuers.issuer(known.issuer).system
        if not system:
            return frozenset()
        source = f"{system}|{known.value}"
        status, answer = await self._ask(source, self._targets, deadline)
        if status == HTTPStatus.FORBIDDEN and self._targets and _has_issue(answer, "code-invalid"):
            # It lacks one of our issuers: from now on it is asked for all that it has.
            self._targets = []
            status, answer = await self._ask(source, [], deadline)
        if status == HTTPStatus.OK and answer.get("resourceType") == "Parameters":
            return frozenset({known, *self._read(answer)})
        if status == HTTPStatus.NOT_FOUND and _has_issue(answer, "not-found"):
            return frozenset()
        if status == HTTPStatus.BAD_REQUEST and _has_issue(answer, "code-invalid"):
            return frozenset()  # the manager does not have this issuer, so it does not have the patient by it
        raise IdentityUnavailable(_told(status))

    async def issuers_of(self, value: str, deadline: Deadline) -> frozenset[str]:
        """Return which of our issuers have issued a number, by asking for each."""
        candidates = [PatientIdentifier(issuer.name, value) for issuer in self._issuers if issuer.system]
        try:
            async with asyncio.TaskGroup() as group:
                asked = [(one.issuer, group.create_task(self.identifiers(one, deadline))) for one in candidates]
        except ExceptionGroup as failures:
            # Raised in an "except*", it would come in a group again.
            if failures.split(IdentityUnavailable)[1] is not None:
                raise
            raise IdentityUnavailable(str(failures.exceptions[0])) from None
        return frozenset(issuer for issuer, task in asked if task.result())

    async def _ask(self, source: str, targets: list[str], deadline: Deadline) -> tuple[int, Mapping[str, Any]]:
        parameters = [("sourceIdentifier", source), *(("targetSystem", target) for target in targets)]
        headers = {"Accept": MEDIA_TYPE, **self._authorization()}
        try:
            async with (
                deadline.within(self._seconds).timeout(),
                self._slots,
                self._session.get(self._url, params=parameters, headers=headers, allow_redirects=False) as response,
            ):
                return response.status, await _document(response)
        except TimeoutError:
            raise IdentityUnavailable(f"the identity source did not answer within {self._seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # The error's own text may hold the URL, and with it the number.
            raise IdentityUnavailable(f"the identity source cannot be reached ({type(error).__name__})") from None

    def _authorization(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {read_token(self._token_file)}"}
        except ConfigError as error:
            raise IdentityUnavailable(str(error)) from error

    def _read(self, parameters: Mapping[str, Any]) -> list[PatientIdentifier]:
        """Return the target identifiers of our issuers; what is not one is passed over."""
        found = []
        for parameter in parameters.get("parameter") or ():
            identifier = parameter.get("valueIdentifier") if isinstance(parameter, dict) else None
            if not isinstance(identifier, dict) or parameter.get("name") != "targetIdentifier":
                continue
            system, value = (str(identifier.get(key) or "").strip() for key in ("system", "value"))
            issuer = self._issuers.issuer(system)
            if issuer.system and is_patient_id(value):
                found.append(PatientIdentifier(issuer.name, value))
        return found


@asynccontextmanager
async def pix_manager(
    url: str, issuers: Issuers, *, token_file: Path | None, seconds: float
) -> AsyncIterator[PixManager]:
    """Hold connections to a manager as long as the context lasts.

    Raises:
        ConfigError: the token file cannot be used.
    """
    if token_file is not None:
        read_token(token_file)
    connector = aiohttp.TCPConnector(limit=MOST_REQUESTS)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield PixManager(session, url, issuers, token_file=token_file, seconds=seconds)


def read_token(path: Path) -> str:
    """Return the bearer token (RFC 6750) in a file; it is read anew for each request, as tokens are short-lived.

    Raises:
        ConfigError: there is none.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check identity.pixm_token_file") from error
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise ConfigError(f"{path}: holds no bearer token: write the token alone there, in one line")
    return token


async def _document(response: aiohttp.ClientResponse) -> Mapping[str, Any]:
    """Read a FHIR resource; nothing where the content is none."""
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > MOST_BYTES:
            raise IdentityUnavailable(f"the identity source answered more than {MOST_BYTES} bytes")
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _has_issue(outcome: Mapping[str, Any], code: str) -> bool:
    """Whether an OperationOutcome names this cause: without one, a wrong address would look like an unknown patient."""
    issues = outcome.get("issue") if outcome.get("resourceType") == "OperationOutcome" else None
    return any(isinstance(issue, dict) and issue.get("code") == code for issue in issues or ())


def _told(status: int) -> str:
    """Say what is wrong to who can mend it."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"the identity source refuses us ({status}): check identity.pixm_token_file"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return (
            f"the identity source redirects ({status}), which is not followed: put its own address in identity.pixm_url"
        )
    if status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
        return f"what answers at identity.pixm_url ({status}) is no PIXm manager: name its FHIR base, without Patient"
    return f"the identity source failed ({status})"

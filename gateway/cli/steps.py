"""The steps of an examination: each is taken, timed and told, until one fails."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from gateway.cli.diagnosis import Diagnosis
from gateway.errors import ConfigError, GatewayError

CERTIFICATE_DAYS: Final = 21

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One step and how it went.

    Attributes:
        name: which.
        state: ok, failed or skipped.
        text: what there is to say of it.
        mail: for the region's administrator, where it failed for a reason of theirs.
        seconds: what it took.
    """

    name: str
    state: str
    text: str = ""
    mail: str = ""
    seconds: float = 0.0


class Skipped(Exception):
    """A step that cannot be taken, and need not be."""


class Failed(Exception):
    """A step that failed."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.text)
        self.diagnosis = diagnosis


Steps: TypeAlias = Sequence[tuple[str, Callable[[], Awaitable[str]]]]
"""The name of each, and what takes it and returns what there is to say."""


async def walk(steps: Steps, explain: Callable[[GatewayError], Diagnosis], told: Callable[[Step], None]) -> list[Step]:
    """Take steps, telling each as it ends, and return them; the last is the one that failed, if any."""
    taken: list[Step] = []
    for name, take in steps:
        taken.append(await _take(name, take, explain))
        told(taken[-1])
        if taken[-1].state == FAILED:
            break
    return taken


async def _take(name: str, take: Callable[[], Awaitable[str]], explain: Callable[[GatewayError], Diagnosis]) -> Step:
    began = time.monotonic()
    state, text, mail = OK, "", ""
    try:
        text = await take()
    except Skipped as reason:
        state, text = SKIPPED, str(reason)
    except Failed as failure:
        state, text, mail = FAILED, failure.diagnosis.text, failure.diagnosis.mail
    except ConfigError as error:
        state, text = FAILED, str(error)
    except GatewayError as error:
        diagnosis = explain(error)
        state, text, mail = FAILED, diagnosis.text, diagnosis.mail
    return Step(name, state, text, mail, round(time.monotonic() - began, 3))


async def looked_up(host: str, port: int, seconds: float, setting: str) -> str:
    """Look a host up, and return its addresses; the setting is what names it."""
    try:
        async with asyncio.timeout(seconds):
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
    except (OSError, TimeoutError, ValueError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or "not a name"
        raise Failed(
            Diagnosis(
                f'{host} cannot be looked up ({why}): check "{setting}" in the profile, and this host\'s resolver'
            )
        ) from error
    return ", ".join(dict.fromkeys(str(address[0]) for *_, address in found))


def until(certificate: Mapping[str, Any]) -> str:
    """Tell how long a certificate is good for."""
    ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    days = int((ends - time.time()) // 86400)
    soon = f" - ONLY {days} DAYS LEFT: ask for a new one" if days < CERTIFICATE_DAYS else ""
    return f"certificate until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d}{soon}"

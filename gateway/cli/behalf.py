"""On whose behalf commands ask the regions themselves: past tokens and consent directives, so not without a reason."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from gateway.access.permit import Permit, Recorder
from gateway.access.principal import Principal, Transaction
from gateway.audit.running import check_kept
from gateway.cli.recording import local_user, recorder
from gateway.config.settings import Settings
from gateway.errors import ConfigError

AsOperator = Annotated[
    str,
    typer.Option(
        metavar="REASON",
        help="With --regions: ask them past tokens and consent directives, for a reason that is recorded.",
    ),
]

PURPOSE = "HSYSADMIN"
"""Health system administration (HL7 v3-ActReason)."""


@asynccontextmanager
async def permitted(chosen: Settings, reason: str, transaction: Transaction) -> AsyncIterator[Permit]:
    """Give the local user leave to ask the regions, of which the audit log hears.

    Raises:
        ConfigError: there may be real patients, and no reason was given, or nothing would be recorded.
    """
    if chosen.access.mode != "open":
        if not reason.strip():
            raise ConfigError(
                "the regions are asked past tokens and consent directives: ask the gateway (--url), or say why you "
                'may, with --as-operator REASON; [access] mode = "open" is for regions without real patients'
            )
        check_kept(chosen.audit)
    async with recorder(chosen, "operator") as recording:
        heard = None if recording is None else _because(recording, reason)
        yield Permit(local_user(PURPOSE), transaction, recorder=heard)


def _because(recording: Recorder, reason: str) -> Recorder:
    async def record(principal: Principal, /, event: str, outcome: str = "success", **told: Any) -> None:
        await recording(principal, event, outcome, **{**told, "reason": told.get("reason") or reason})

    return record

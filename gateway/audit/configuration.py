"""Recording that the configuration changed, and which parts of it; what it says stays out of the log."""

import asyncio
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

from gateway.audit.record import Auditor, Event, Record

NAME: Final = "configuration.json"


async def note_configuration(folder: Path, auditor: Auditor, parts: Mapping[str, str]) -> None:
    """Record which parts differ from what the last life of this gateway was started with.

    Args:
        folder: of the log.
        auditor: keeps the record.
        parts: the text of each part, by name: a section of the settings, a region's or a peer's profile.

    Raises:
        AuditUnavailable: it cannot be recorded.
    """
    now = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in parts.items()}
    before = await asyncio.to_thread(_read, folder / NAME)
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    if not changed:
        return
    told = f"changed: {', '.join(changed)}" if before else "first start"
    await auditor.record(Record(Event.CONFIGURATION, reason=told))
    await asyncio.to_thread(_write, folder / NAME, now)


def _read(path: Path) -> dict[str, str]:
    try:
        known = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(path: Path, digests: Mapping[str, str]) -> None:
    new = path.with_suffix(".new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(orjson.dumps(dict(digests)))
    new.replace(path)

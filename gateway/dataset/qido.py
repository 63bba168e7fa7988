"""A query as the resource and parameters of a QIDO-RS request (PS3.18 8.3.4, 10.6.1)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from gateway.dataset.dictionary import vr_of
from gateway.dataset.identifier import Dialect, level_of, matching_keys, returned
from gateway.dataset.query import Level, Query, TagPath
from gateway.dataset.required import NEVER_REQUESTED, UNIQUE_KEYS

MOST_UIDS: Final = 60
"""In one URL: with them it stays below the 8 KiB that servers take."""

_STUDY, _SERIES = (UNIQUE_KEYS[Level.STUDY],), (UNIQUE_KEYS[Level.SERIES],)


def resource(query: Query) -> str:
    """Return the path of a search, below the service's base."""
    study = f"/studies/{query.study}" if query.study else ""
    if query.level is Level.STUDY:
        return "/studies"
    if query.level is Level.SERIES:
        return f"{study}/series"
    return f"{study}/series/{query.series}/instances" if query.study and query.series else f"{study}/instances"


def asked(query: Query, *, relational: bool) -> frozenset[TagPath]:
    """Return the attributes that rows are to have."""
    paths = {*returned(query, relational=relational), *query.keys}
    if not relational:
        paths = {path for path in paths if level_of(path[0], query.level) is query.level}
    return frozenset(path for path in paths if path[0] not in NEVER_REQUESTED)


def parameters(query: Query, dialect: Dialect) -> str:
    """Return the query component, but for paging; it never matches less than is meant, as ``find_identifier``."""
    named = {_STUDY: query.study, _SERIES: query.series}
    pairs: list[tuple[str, str]] = []
    keys = dict(matching_keys(query, dialect))
    if query.series and not query.study:
        keys.setdefault(_SERIES, query.series)
    for path, value in keys.items():
        is_here = dialect.relational or level_of(path[0], query.level) is query.level
        # What matches inside a sequence not every server does; it is matched again with what comes back.
        if value.strip("*") and len(path) == 1 and is_here and not (named.get(path) and query.study):
            pairs.append((path[0], value.replace("\\", ",") if vr_of(path[0]) == "UI" else value))
    fields = sorted({path[0] for path in asked(query, relational=dialect.relational)})
    pairs.append(("includefield", ",".join(fields)))
    return "&".join(f"{name}={quote(value, safe='*,.-')}" for name, value in pairs)


def parted(query: Query) -> Iterator[Query]:
    """Yield queries that together ask the same, none with a list of UIDs too long for a URL."""
    longest = max(
        (path for path in query.keys if vr_of(path[-1]) == "UI"), key=lambda x: len(query.keys[x]), default=()
    )
    uids = query.keys[longest].split("\\") if longest else []
    if len(uids) <= MOST_UIDS:
        yield query
        return
    for at in range(0, len(uids), MOST_UIDS):
        yield replace(query, keys={**query.keys, longest: "\\".join(uids[at : at + MOST_UIDS])})

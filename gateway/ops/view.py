"""A snapshot in the words and shapes of the status page."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.ops.advice import advice
from gateway.ops.lights import DAY, Light
from gateway.ops.record import quantiles
from gateway.ops.status import FlightStatus, RegionStatus, Snapshot
from gateway.ops.words import Words

SPARK_WIDTH: Final = 132
SPARK_HEIGHT: Final = 28
MOST_BOXES: Final = 24
"""Associations that are drawn one by one."""


@dataclass(frozen=True, slots=True)
class Spark:
    """A line of durations.

    Attributes:
        line: points of the line, as SVG has them.
        area: points of what is below it.
    """

    line: str
    area: str
    text: str
    width: int = SPARK_WIDTH
    height: int = SPARK_HEIGHT


def view(now: Snapshot, words: Words, ae_title: str) -> dict[str, Any]:
    """Return all that the page's template shows."""
    colours = [region.light for region in now.regions]
    return {
        "headline": _headline(now, colours, words),
        "overall": _overall(now, colours).value,
        "regions": [_card(region, now, words, ae_title) for region in now.regions],
        "flights": [_flight(flight, words) for flight in now.flights],
        "spool": _spool(now, words),
        "queue": _queue(now, words),
        "checks": [(name, problem) for name, problem in now.checks.items() if problem],
        "certificates": [(face, _end(end, now.at, words)) for face, end in now.certificates.items()],
        "updated": words("updated", time=_clock(now.at)),
        "moment": _iso(now.at),
        "uptime": words("uptime", time=words.duration(now.uptime)),
        "version": now.version,
    }


def _overall(now: Snapshot, colours: Sequence[Light]) -> Light:
    if not now.ready or (colours and all(colour is Light.RED for colour in colours)):
        return Light.RED
    if Light.RED in colours or Light.AMBER in colours:
        return Light.AMBER
    return Light.GREEN if Light.GREEN in colours else Light.GREY


def _headline(now: Snapshot, colours: Sequence[Light], words: Words) -> str:
    if not now.ready:
        return words("not_ready")
    good = sum(colour in {Light.GREEN, Light.AMBER} for colour in colours)
    amber = colours.count(Light.AMBER)
    if Light.GREY in colours and not good and Light.RED not in colours:
        return words("none_asked")
    text = words("all_well") if good == len(colours) else words("some_well", good=good, all=len(colours))
    return f"{text}, {words('to_mend', count=amber)}" if amber else text


def _card(region: RegionStatus, now: Snapshot, words: Words, ae_title: str) -> dict[str, Any]:
    record, profile = region.record, region.profile
    echo = record.echo
    echoed = words("not_yet")
    if echo is not None:
        how = words.duration(echo.seconds) if echo.outcome == "complete" else words("failed")
        echoed = f"{words.ago(now.at - echo.at)}, {how}"
    return {
        "id": profile.id,
        "name": profile.name,
        "title": profile.title,
        "light": region.light.value,
        "state": words(f"light {region.light}"),
        "reasons": [words(f"reason {reason}") for reason in region.reasons],
        "echo": echoed,
        "first_match": _first_match(region, words),
        "spark": _spark(record.first_matches, words),
        "associations": _associations(region, words),
        "boxes": _boxes(region),
        "breaker": _breaker(region, words),
        "certificate": _certificate(region, now.at, words),
        "destination": _destination(region, now.at, words),
        "error": _error(region, now.at, words, ae_title),
    }


def _first_match(region: RegionStatus, words: Words) -> str:
    found = quantiles(region.record.first_matches)
    if found is None:
        return words("no_search")
    return words("half", p50=words.duration(found[0]), p95=words.duration(found[1]))


def _spark(values: Sequence[float], words: Words) -> Spark | None:
    if len(values) < 2:
        return None
    most = max(values)
    step = SPARK_WIDTH / (len(values) - 1)
    points = [
        f"{index * step:.1f},{SPARK_HEIGHT - 2 - (value / most) * (SPARK_HEIGHT - 4):.1f}"
        for index, value in enumerate(values)
    ]
    text = words("spark", count=len(values), least=words.duration(min(values)), most=words.duration(most))
    return Spark(" ".join(points), " ".join([f"0,{SPARK_HEIGHT}", *points, f"{SPARK_WIDTH},{SPARK_HEIGHT}"]), text)


def _associations(region: RegionStatus, words: Words) -> str:
    usage = region.usage
    if usage is None:
        return words("no_associations")
    text = words("of_cap", in_use=usage.in_use, cap=usage.cap)
    return f"{text}, {words('queued', waiting=usage.waiting)}" if usage.waiting else text


def _boxes(region: RegionStatus) -> list[str]:
    """Return what each association does, for as many as can be drawn."""
    usage = region.usage
    if usage is None or usage.cap > MOST_BOXES:
        return []
    free = max(0, usage.cap - usage.in_use - usage.idle)
    return ["busy"] * usage.in_use + ["idle"] * usage.idle + ["free"] * free


def _breaker(region: RegionStatus, words: Words) -> str:
    if region.circuit == "open":
        if region.probe_seconds > 0:
            return words("open", seconds=words.duration(max(1, round(region.probe_seconds))))
        return words("open_due")
    return words(region.circuit)


def _certificate(region: RegionStatus, now: float, words: Words) -> str:
    if region.certificate_end is not None:
        return _end(region.certificate_end, now, words)
    return words("tls_unseen") if getattr(region.profile, "tls", False) else words("no_tls")


def _end(end: float, now: float, words: Words) -> str:
    date = time.strftime("%Y-%m-%d", time.gmtime(end))
    return (
        words("ends", date=date, days=words.number(int((end - now) // DAY))) if end > now else words("ended", date=date)
    )


def _destination(region: RegionStatus, now: float, words: Words) -> str:
    titles, known = ", ".join(region.profile.move_destinations), region.record.destination
    if not titles:
        return words("no_destination")
    if known is None:
        return words("untried", titles=titles)
    return words("known" if known.known else "unknown", titles=titles, ago=words.ago(now - known.at))


def _error(region: RegionStatus, now: float, words: Words, ae_title: str) -> dict[str, Any] | None:
    record, failure = region.record, region.record.failure
    if failure is None:
        return None
    said = advice(failure.outcome, failure.code, region.profile, ae_title, french=words.french)
    over = record.answered if not record.absent and record.answered is not failure else None
    return {
        "what": said.what,
        "remedy": said.remedy,
        "when": f"{words(f'service {failure.service}')}, {words.ago(now - failure.at)}",
        "moment": _iso(failure.at),
        "over": over is not None,
    }


def _flight(flight: FlightStatus, words: Words) -> dict[str, Any]:
    expected = flight.expected
    return {
        "since": words.duration(flight.seconds),
        "regions": ", ".join(flight.regions) if flight.state != "planning" else words("planning"),
        "readers": words("background") if flight.state == "background" else words.number(flight.readers),
        "instances": words.number(flight.instances) + (f" / {words.number(expected)}" if expected else ""),
        "value": flight.instances,
        "max": expected or 0,
        "received": words.size(flight.size),
    }


def _spool(now: Snapshot, words: Words) -> dict[str, Any]:
    text = words("used", size=words.size(now.spool_bytes), most=words.size(now.spool_max_bytes))
    return {
        "text": f"{text}: {words('spool_full')}" if now.spool_full else text,
        "value": now.spool_bytes,
        "max": now.spool_max_bytes,
    }


def _queue(now: Snapshot, words: Words) -> dict[str, Any]:
    if not now.queue_durable:
        return {"text": words("no_queue"), "value": 0, "max": 0}
    counts = words(
        "queue_waiting",
        waiting=words.number(sum(now.waiting.values())),
        quarantined=words.number(sum(now.quarantined.values())),
    )
    used = words("used", size=words.size(now.queue_bytes), most=words.size(now.queue_max_bytes))
    return {"text": f"{counts}; {used}", "value": now.queue_bytes, "max": now.queue_max_bytes}


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at))


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))

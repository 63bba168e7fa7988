"""A patient's access report: who saw, searched or received their records, for people and for programs."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import Final

import orjson

from gateway.audit.chain import Entry
from gateway.audit.words import (
    ABOUT,
    CHANNELS,
    COLUMNS,
    COUNT,
    EVENTS,
    IDENTIFIERS,
    NOBODY,
    OUTCOMES,
    PURPOSES,
    TITLE,
    UNKNOWN,
    Language,
    said,
)
from gateway.dataset.patient import PatientIdentifier

_FORMULA: Final = re.compile(r"(^|[;,\t\r\n])(?=[\s\"']*[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a spreadsheet would begin a cell with a formula, whichever of these it takes for the end of the one before."""
_STYLE: Final = (
    "body{font:1rem/1.5 sans-serif;margin:2rem;color:#111;background:#fff}table{border-collapse:collapse}"
    "caption{text-align:left;font-weight:bold}th,td{border:1px solid #767676;padding:.3rem .5rem;text-align:left;"
    "vertical-align:top}thead th{background:#eee}@media print{body{margin:0}}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One event of the report, as text for people."""

    at: str
    who: str
    organisation: str
    what: str
    outcome: str
    purpose: str
    examinations: str
    instances: str
    destination: str
    how: str
    address: str
    remark: str
    record: str


@dataclass(frozen=True, slots=True)
class Report:
    """Who saw a patient's record.

    Attributes:
        patients: the identifiers that were looked for: all of one patient.
        entries: the newest first.
    """

    patients: Sequence[PatientIdentifier]
    entries: Sequence[Entry]

    def lines(self, language: Language = "en") -> list[Line]:
        """Put each entry in words."""
        return [_line(entry, language) for entry in self.entries]

    def json(self) -> bytes:
        """Return it for programs."""
        document = {
            "patients": [{"issuer": x.issuer, "value": x.value} for x in self.patients],
            "events": [
                {
                    "at": x.at,
                    "writer": x.writer,
                    "seq": x.link.seq,
                    "digest": x.link.digest,
                    "record": x.record._asdict(),
                }
                for x in self.entries
            ],
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"

    def csv(self, language: Language = "en") -> bytes:
        """Return it as a table (RFC 4180) with a byte order mark, without which spreadsheets take accents apart."""
        buffer = io.StringIO()
        table = csv.writer(buffer)
        table.writerow(said(column, language) for column in COLUMNS)
        for line in self.lines(language):
            table.writerow(_harmless(cell) for cell in _cells(line))
        return buffer.getvalue().encode("utf-8-sig")

    def html(self, language: Language = "en") -> bytes:
        """Return it as one page that needs nothing else, and reads well aloud, enlarged and printed."""
        title = escape(said(TITLE, language))
        whose = ", ".join(f"{x.value} ({x.issuer or said(UNKNOWN, language)})" for x in self.patients)
        heads = "".join(f'<th scope="col">{escape(said(column, language))}</th>' for column in COLUMNS)
        rows = "".join(_row(line) for line in self.lines(language))
        table = (
            f"<table><caption>{escape(said(COUNT, language))}: {len(self.entries)}</caption>"
            f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        )
        page = (
            f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
            f"<h1>{title}</h1><p>{escape(said(ABOUT, language))}</p>"
            f"<p>{escape(said(IDENTIFIERS, language))}: {escape(whose)}</p>"
            f"{table if rows else f'<p>{escape(said(NOBODY, language))}</p>'}</main></body></html>\n"
        )
        return page.encode()


def _line(entry: Entry, language: Language) -> Line:
    record = entry.record
    who = record.person or record.subject
    if record.person and record.subject:
        who = f"{record.subject} ({record.person})"
    roles = f", {', '.join(record.roles)}" if record.roles else ""
    organisation = record.organisation_name or record.organisation
    if record.organisation_name and record.organisation:
        organisation = f"{record.organisation_name} ({record.organisation})"
    return Line(
        at=f"{entry.at[:10]} {entry.at[11:19]}",
        who=f"{who}{roles}" if who else said(UNKNOWN, language),
        organisation=organisation or said(UNKNOWN, language),
        what=said(EVENTS[record.event], language),
        outcome=said(OUTCOMES[record.outcome], language),
        purpose=said(PURPOSES.get(record.purpose, (record.purpose,) * 2), language) if record.purpose else "",
        examinations="; ".join(record.studies),
        instances=str(record.instances or ""),
        destination=record.destination,
        how=said(CHANNELS.get(record.channel, (record.channel,) * 2), language),
        address=record.address,
        remark=record.reason,
        record=f"{entry.writer} {entry.link.seq}",
    )


def _cells(line: Line) -> list[str]:
    return [getattr(line, field.name) for field in fields(line)]


def _harmless(cell: str) -> str:
    """Keep a spreadsheet from taking text for a formula."""
    return _FORMULA.sub(r"\1'", cell)


def _row(line: Line) -> str:
    at, *rest = _cells(line)
    moment = f'<time datetime="{escape(at.replace(" ", "T"))}Z">{escape(at)}</time>'
    return f'<tr><th scope="row">{moment}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'

"""Structured reports and other documents as text that a person reads (PS3.3 C.17.3, PS3.18 8.7.4)."""

from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Final, NamedTuple

from gateway.dataset.attributes import items_of, text_of
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Row
from gateway.dataset.sink import Buffer
from gateway.errors import RequestError

HTML: Final = "text/html"
PLAIN: Final = "text/plain"
"""Media types of a rendered report, the default first (PS3.18 Table 8.7.4-1)."""

_CONTENT: Final = "0040A730"
_NAME: Final = "0040A043"
_VALUE_TYPE: Final = "0040A040"
_TEXTS: Final = {
    "TEXT": "0040A160",
    "DATETIME": "0040A120",
    "DATE": "0040A121",
    "TIME": "0040A122",
    "PNAME": "0040A123",
    "UIDREF": "0040A124",
}
_HEADINGS: Final = (
    ("Patient", "00100010"),
    ("Patient ID", "00100020"),
    ("Birth date", "00100030"),
    ("Sex", "00100040"),
    ("Study", "00081030"),
    ("Study date", "00080020"),
    ("Accession number", "00080050"),
    ("Completion", "0040A491"),
    ("Verification", "0040A493"),
)
_STYLE: Final = "body{font-family:sans-serif;max-width:60em;margin:2em auto}ul{list-style:none}dt,b{font-weight:bold}"


class Line(NamedTuple):
    """One content item: how deep it stands, what it is called and what it says."""

    depth: int
    name: str
    text: str


def is_report(row: Row) -> bool:
    """Whether a Data Set has a content tree (PS3.3 C.17.3)."""
    return bool(items_of(row.get(_CONTENT, {})))


def render_report(data: Buffer, transfer_syntax_uid: str, media_type: str, character_set: str = "ISO_IR 6") -> bytes:
    """Return a structured report as a page or as plain text, both in UTF-8 (PS3.18 8.7.4).

    Raises:
        RequestError: it is asked for in another media type.
        DatasetError: the bytes are no Data Set.
        LimitExceeded: at a limit.
    """
    row = to_json_model(data, transfer_syntax_uid, character_set=character_set)
    if media_type == HTML:
        return _page(row).encode()
    if media_type == PLAIN:
        return _plain(row).encode()
    raise RequestError(f"a report is not rendered as {media_type}")


def lines(row: Row) -> Iterator[Line]:
    """Yield the content items in the order of the tree, the root first."""
    yield Line(0, _code(row, _NAME) or "Report", "")
    yield from _children(row, 1)


def _children(row: Row, depth: int) -> Iterator[Line]:
    # No deeper than a Reader lets Sequences nest.
    for item in items_of(row.get(_CONTENT, {})):
        yield Line(depth, _code(item, _NAME), _value(item))
        yield from _children(item, depth + 1)


def _first(row: Row, key: str) -> Row:
    return next(iter(items_of(row.get(key, {}))), {})


def _text(row: Row, key: str) -> str:
    text = text_of(row.get(key, {}))
    return " ".join(text.replace("^", " ").split()) if row.get(key, {}).get("vr") == "PN" else text


def _code(row: Row, key: str) -> str:
    """Return Code Meaning, or the code itself where its writer gave no meaning (PS3.3 8.8)."""
    code = _first(row, key)
    return _text(code, "00080104") or next(
        (text for part in ("00080100", "00080119", "00080120") if (text := _text(code, part))), ""
    )


def _value(item: Row) -> str:
    if "0040DB73" in item:
        return f"see item {'.'.join(str(number) for number in item['0040DB73'].get('Value', ()))}"
    kind = _text(item, _VALUE_TYPE)
    if kind in _TEXTS:
        return _text(item, _TEXTS[kind])
    return _KINDS.get(kind, _reference)(item)


def _measurement(item: Row) -> str:
    measured = _first(item, "0040A300")
    if not measured:
        return _code(item, "0040A301")
    unit = _code(measured, "004008EA")
    return f"{_text(measured, '0040A30A')} {'' if unit in {'1', 'no units'} else unit}".strip()


def _coordinates(item: Row) -> str:
    return f"{_text(item, '00700023')} {_numbers(item, '00700022')}".strip()


def _numbers(item: Row, key: str) -> str:
    return ", ".join(f"{number:g}" for number in item.get(key, {}).get("Value", ()) if isinstance(number, int | float))


def _reference(item: Row) -> str:
    referenced = _first(item, "00081199")
    uid = _text(referenced, "00081155")
    frames = _numbers(referenced, "00081160")
    return f"{uid} frame {frames}" if uid and frames else uid


_KINDS: Final[Mapping[str, Callable[[Row], str]]] = {
    "CODE": lambda item: _code(item, "0040A168"),
    "NUM": _measurement,
    "SCOORD": _coordinates,
    "SCOORD3D": _coordinates,
    "TCOORD": lambda item: _text(item, "0040A130"),
}


def _headings(row: Row) -> list[tuple[str, str]]:
    return [(label, text) for label, key in _HEADINGS if (text := _text(row, key))]


def _plain(row: Row) -> str:
    out = [f"{label}: {text}" for label, text in _headings(row)]
    out.append("")
    for depth, name, text in lines(row):
        # A line break inside a value stays inside its item.
        indented = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\n" + "  " * (depth + 1))
        out.append("  " * depth + (f"{name}: {indented}" if name and text else name or indented or "-"))
    return "\n".join(out) + "\n"


def _page(row: Row) -> str:
    title = escape(next(lines(row)).name)
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in _headings(row))
    return (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body><h1>{title}</h1><dl>{facts}</dl>{_tree(row)}</body></html>"
    )


def _tree(row: Row) -> str:
    items = items_of(row.get(_CONTENT, {}))
    if not items:
        return ""
    return f"<ul>{''.join(f'<li>{_item(item)}{_tree(item)}</li>' for item in items)}</ul>"


def _item(item: Row) -> str:
    name, text = escape(_code(item, _NAME)), escape(_value(item)).replace("\n", "<br>")
    return f"<b>{name}</b>{': ' if text else ''}{text}" if name else text

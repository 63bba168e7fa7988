"""The DICOM JSON Model <-> Native DICOM Model, as XML (PS3.19 Annex A.1, PS3.18 8.7.3.2).

XML 1.0 has no way to write most control characters, escaped or not. They are no part of any VR's repertoire
but ESC, which decoding has used up; where one is left over it becomes U+FFFD, so that the value and the row
stay and it can be seen that something was there.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from gateway.dataset.dictionary import keyword_of
from gateway.dataset.native_xml_reader import NAME_COMPONENTS, NAMESPACE
from gateway.dataset.query import Attribute, Row
from gateway.dataset.values import NAME_GROUPS
from gateway.dataset.writer import decimal_text

_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
_TAIL: Final = "</NativeDicomModel>\n"
_FORBIDDEN: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_IN_TEXT: Final = re.compile(f"[&<>\r{_FORBIDDEN}]")
_IN_ATTRIBUTES: Final = re.compile(f'[&<>"\t\n\r{_FORBIDDEN}]')
# A parser makes one newline of CR LF in text, and spaces of all white space in attributes, unless it is escaped.
_ESCAPED: Final = MappingProxyType(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)

_ODD: Final = frozenset("13579BDF")


def to_native_xml(row: Row) -> bytes:
    """Return a row as one XML document in UTF-8, without white space between elements."""
    return f"{_HEAD}{_data_set(row)}{_TAIL}".encode()


def _data_set(row: Row) -> str:
    parts = []
    for key in sorted(row):
        attribute = row[key]
        vr = attribute["vr"]
        creator = _creator(row, key) if key[3] in _ODD else ""
        opening = _private_opening(key, vr, creator) if creator else _opening(key, vr)
        parts.append(f"{opening}/>" if len(attribute) == 1 else f"{opening}>{_content(vr, attribute)}</DicomAttribute>")
    return "".join(parts)


@lru_cache(maxsize=8192)
def _opening(key: str, vr: str) -> str:
    keyword = keyword_of(key)
    known = f' keyword="{keyword}"' if keyword != key else ""
    return f'<DicomAttribute tag="{key}" vr="{vr}"{known}'


def _private_opening(key: str, vr: str, creator: str) -> str:
    """Return the opening of a private element: its creator stands for the block (PS3.19 Table A.1.5-2, tag)."""
    return f'<DicomAttribute tag="{key[:4]}00{key[6:]}" vr="{vr}" privateCreator="{_attribute(creator)}"'


def _creator(row: Row, key: str) -> str:
    """Return who has reserved the block that a private element is in; empty where nobody has (PS3.5 7.8.1)."""
    reservation = row.get(f"{key[:4]}00{key[4:6]}") if key[4:6] != "00" else None
    values = reservation.get("Value") if reservation else None
    return str(values[0]) if values and values[0] is not None else ""


def _content(vr: str, attribute: Attribute) -> str:
    if "BulkDataURI" in attribute:
        return f'<BulkData uri="{_attribute(attribute["BulkDataURI"])}"/>'
    if "InlineBinary" in attribute:
        return f"<InlineBinary>{attribute['InlineBinary']}</InlineBinary>"
    element, content = _CONTENTS.get(vr, ("Value", _value))
    parts = [
        f'<{element} number="{number}"/>'
        if value is None or value == {}
        else f'<{element} number="{number}">{content(value)}</{element}>'
        for number, value in enumerate(attribute.get("Value", ()), 1)
    ]
    return "".join(parts)


def _value(value: Any) -> str:
    return _text(value) if isinstance(value, str) else str(value)


def _decimal_string(value: Any) -> str:
    return decimal_text(value) if isinstance(value, float) else _value(value)


def _person_name(value: Any) -> str:
    groups: Mapping[str, str] = value if isinstance(value, dict) else {NAME_GROUPS[0]: str(value)}
    return "".join([_name_group(group, groups[group]) for group in NAME_GROUPS if groups.get(group)])


def _name_group(group: str, text: str) -> str:
    components = zip(NAME_COMPONENTS, text.split("^", len(NAME_COMPONENTS) - 1), strict=False)
    parts = [f"<{name}>{_text(component)}</{name}>" for name, component in components if component]
    return f"<{group}>{''.join(parts)}</{group}>" if parts else ""


_CONTENTS: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = MappingProxyType(
    {"SQ": ("Item", _data_set), "PN": ("PersonName", _person_name), "DS": ("Value", _decimal_string)}
)


def _text(text: str) -> str:
    return _IN_TEXT.sub(_escape, text) if _IN_TEXT.search(text) else text


def _attribute(text: str) -> str:
    return _IN_ATTRIBUTES.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return _ESCAPED.get(found[0], "\ufffd")

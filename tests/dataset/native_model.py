"""The Native DICOM Model read with the parser of Python's library: what an XML document says, whoever wrote it."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
Tag: TypeAlias = tuple[str, str | None]
Model: TypeAlias = dict[Tag, "Element"]


@dataclass(frozen=True)
class Element:
    """One DicomAttribute: its VR, its keyword, and each child as (name, number, content)."""

    vr: str = ""
    keyword: str | None = None
    content: list[tuple[str, str | None, Any]] = field(default_factory=list)


def parse(document: bytes) -> Model:
    root = ET.fromstring(document)
    assert _name(root) == "NativeDicomModel"
    assert root.get("{http://www.w3.org/XML/1998/namespace}space") == "preserve"
    return _model(root)


def _name(element: ET.Element) -> str:
    return element.tag.removeprefix("{" + NAMESPACE + "}")


def _model(parent: ET.Element) -> Model:
    model: Model = {}
    for child in parent:
        assert _name(child) == "DicomAttribute"
        tag = child.attrib["tag"], child.get("privateCreator")
        assert tag not in model
        vr = child.attrib["vr"]
        model[tag] = Element(vr, child.get("keyword"), [_content(vr, content) for content in child])
    return model


def _content(vr: str, element: ET.Element) -> tuple[str, str | None, Any]:
    name, number = _name(element), element.get("number")
    if name == "Item":
        return name, number, _model(element)
    if name == "PersonName":
        return name, number, {_name(group): {_name(part): part.text for part in group} for group in element}
    if name == "BulkData":
        return name, number, element.get("uri")
    text = element.text
    return name, number, _number(vr, text.strip(" \0")) if text and vr in {"DS", "IS", "FL", "FD"} else text


def _number(vr: str, text: str) -> float | str:
    """Read numbers as what they mean: FL has seven digits, FD fifteen, however many are written."""
    try:
        return float(f"{float(text):.{7 if vr == 'FL' else 15}g}")
    except ValueError:
        return text


def differences(ours: Model, theirs: Model) -> Iterator[tuple[Tag, Element | None, Element | None]]:
    """Yield (tag, our element, their element) for everything that is not the same, deepest level only."""
    for tag in sorted(ours.keys() | theirs.keys(), key=str):
        mine, other = ours.get(tag), theirs.get(tag)
        if mine == other:
            continue
        items = [
            [c for _, _, c in element.content if isinstance(c, dict)] if element else [] for element in (mine, other)
        ]
        if mine and other and mine.vr == other.vr == "SQ" and len(items[0]) == len(items[1]) > 0:
            for one, two in zip(*items, strict=True):
                yield from differences(one, two)
        else:
            yield tag, mine, other

"""Structured reports as a person reads them."""

import re
from html.parser import HTMLParser

import pytest

from gateway.dataset.json_model import to_json_model
from gateway.dataset.report import HTML, PLAIN, is_report, render_report
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE
from gateway.errors import RequestError
from tests.dataset.elements import explicit, sequence
from tests.dataset.elements import item as an_item
from tests.dataset.images import province
from tests.dataset.oracle import Sample, samples

REPORTS = [
    sample
    for sample in samples()
    if sample.name not in {"MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset"}
    and is_report(to_json_model(sample.data, sample.transfer_syntax_uid))
]


def code(key: str, meaning: str) -> bytes:
    return sequence(key, an_item(explicit("00080104", "LO", meaning.encode())))


def content(*items: bytes) -> bytes:
    return sequence("0040A730", *items)


def text_item(name: str, text: str, *more: bytes) -> bytes:
    named = code("0040A043", name) if name else b""
    return an_item(explicit("0040A040", "CS", b"TEXT"), named, explicit("0040A160", "UT", text.encode()), *more)


def number_item(name: str, value: str, unit: str) -> bytes:
    measured = sequence("0040A300", an_item(code("004008EA", unit), explicit("0040A30A", "DS", value.encode())))
    return an_item(explicit("0040A040", "CS", b"NUM "), code("0040A043", name), measured)


def report(*items: bytes) -> bytes:
    return b"".join(
        (
            explicit("00080005", "CS", b"ISO_IR 192"),
            explicit("00100010", "PN", b"Tremblay^Anne "),
            code("0040A043", "Chest CT"),
            content(*items),
        )
    )


def plain(*items: bytes) -> list[str]:
    return render_report(report(*items), EXPLICIT_VR_LE, PLAIN).decode().splitlines()


class Tags(HTMLParser):
    """Notes elements, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"charset"}
        self.seen.add(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(data: bytes, uid: str = EXPLICIT_VR_LE) -> Tags:
    tags = Tags()
    tags.feed(render_report(data, uid, HTML).decode())
    assert not tags.open
    return tags


def test_items_come_in_the_order_and_depth_of_the_tree() -> None:
    lines = plain(
        text_item("Findings", "clear", content(text_item("Detail", "left"), text_item("Detail", "right"))),
        number_item("Diameter", "3.5", "mm"),
        text_item("", "no name"),
    )
    tree = lines[lines.index("Chest CT") :]
    assert tree == [
        *("Chest CT", "  Findings: clear", "    Detail: left", "    Detail: right"),
        *("  Diameter: 3.5 mm", "  no name"),
    ]
    assert lines[0] == "Patient: Tremblay Anne"


def test_line_breaks_stay_inside_their_item() -> None:
    lines = plain(text_item("Findings", "one\r\ntwo\nthree"))
    assert lines[-3:] == ["  Findings: one", "    two", "    three"]


def test_page_says_what_the_text_says_and_is_well_formed() -> None:
    words = " ".join(page(report(text_item("Befund", "Größe 3 cm"), number_item("Ø", "3", "cm"))).text)
    for word in ("Chest CT", "Tremblay Anne", "Befund", "Größe 3 cm", "3 cm"):
        assert word in words


@pytest.mark.parametrize("place", ["name", "text"])
def test_nothing_in_a_report_becomes_markup(place: str) -> None:
    evil = "<script>alert('x')</script><img src=x onerror=y>\"&amp;"
    tags = page(report(text_item(evil, "a") if place == "name" else text_item("a", evil)))
    assert tags.seen <= {"html", "head", "meta", "title", "style", "body", "h1", "dl", "dt", "dd", "ul", "li", "b"}
    assert evil in "".join(tags.text)


@pytest.mark.parametrize("sample", REPORTS, ids=lambda s: s.name)
def test_report_of_a_file_is_readable(sample: Sample) -> None:
    text = render_report(sample.data, sample.transfer_syntax_uid, PLAIN).decode()
    assert len([line for line in text.splitlines() if re.search(r"\w", line)]) > 3
    assert page(sample.data, sample.transfer_syntax_uid).seen >= {"h1", "ul", "li"}


def test_reports_of_the_province_are_readable_in_their_own_script() -> None:
    count = 0
    for made in province():
        row = to_json_model(made.data, made.transfer_syntax_uid)
        if is_report(row):
            count += 1
            assert "\ufffd" not in render_report(made.data, made.transfer_syntax_uid, PLAIN).decode()
            assert page(made.data, made.transfer_syntax_uid).seen >= {"h1", "ul", "li"}
    assert count >= 4


def test_image_is_no_report_and_a_report_is_no_image() -> None:
    assert not is_report({})
    with pytest.raises(RequestError):
        render_report(report(), EXPLICIT_VR_LE, "image/jpeg")

"""However a multipart body is cut, its parts are the same; what is malformed is named (H04)."""

import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.multipart_reader import MultipartReader, PartBegins, PartEnds
from gateway.errors import LimitExceeded, RequestError, UnsupportedMediaType

Parts = list[tuple[dict[str, str], bytes]]

# Of the bytes that delimiters are made of, so that most bodies hold something that nearly is one.
tricky = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", b"b", b"--b", b"\r\n--b", b"\r\n--bX", b" ", b"x"]), max_size=12
)
contents = tricky.map(b"".join).filter(lambda content: b"\r\n--b" not in b"\r\n" + content + b"\r\n--c")


def body(contents: list[bytes], head: bytes = b"Content-Type: application/dicom\r\n", boundary: bytes = b"b") -> bytes:
    parts = b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n" + content + b"\r\n" for content in contents)
    return parts + b"--" + boundary + b"--\r\n"


def read(pieces: list[bytes], boundary: str = "b", **limits: int) -> Parts:
    reader = MultipartReader(boundary, **limits)
    parts: Parts = []
    open_part: list[bytes] | None = None
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, PartBegins):
                assert open_part is None
                parts.append((dict(event.fields), b""))
                open_part = []
            elif isinstance(event, PartEnds):
                assert open_part is not None
                parts[-1] = (parts[-1][0], b"".join(open_part))
                open_part = None
            else:
                assert open_part is not None
                open_part.append(bytes(event))
    reader.finish()
    return parts


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted({i % (len(data) + 1) for i in at}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(contents, min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_cutting_gives_the_same_parts(parts: list[bytes], at: list[int]) -> None:
    assert [content for _, content in read(cut(body(parts), at))] == parts


@given(st.lists(contents, min_size=1, max_size=3))
def test_single_bytes_give_the_same_parts(parts: list[bytes]) -> None:
    data = body(parts)
    assert [content for _, content in read([data[i : i + 1] for i in range(len(data))])] == parts


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=8))
def test_anything_at_all_is_read_or_refused_whatever_the_cutting(data: bytes, at: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> Parts | str:
        try:
            return read(pieces)
        except (RequestError, LimitExceeded) as error:
            return str(error)

    assert outcome([data]) == outcome(cut(data, at))


@given(st.integers(0, 60))
def test_what_only_looks_like_a_delimiter_is_content(at: int) -> None:
    content = b"before\r\n--bX after\r\n--b\tx\r\n--b- -"
    data = body([content, b"second"])
    assert [x for _, x in read(cut(data, [at]))] == [content, b"second"]


@pytest.mark.parametrize("at", range(40))
def test_part_without_content_or_without_header_is_one(at: int) -> None:
    data = b"--b\r\nContent-Type: x/y\r\n\r\n\r\n--b\r\n\r\nz\r\n--b\r\nA: 1\r\n\r\n--b--"
    assert read(cut(data, [at])) == [({"content-type": "x/y"}, b""), ({}, b"z"), ({"a": "1"}, b"")]


def test_preamble_padding_and_epilogue_are_passed_over() -> None:
    data = b"This is a message.\r\n--b \t\r\nContent-Type: x/y\r\n\r\ncontent\r\n--b--\r\nepilogue\r\n--b\r\n"
    assert read([data]) == [({"content-type": "x/y"}, b"content")]


def test_fields_are_read_whatever_their_case_and_spacing() -> None:
    [(fields, _)] = read(
        [body([b""], b"CONTENT-type:application/dicom; transfer-syntax=1.2\r\nContent-ID: <\xc3\xa9>\r\n")]
    )
    assert fields["content-type"] == "application/dicom; transfer-syntax=1.2"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "closing boundary"),
        (b"--b\r\n\r\ncontent", "closing boundary"),
        (b"--b\r\n\r\ncontent\r\n--b", "closing boundary"),
        (b"--b\n\ncontent\n--b--", "not followed by the end of the line"),
        (b"--bcontent\r\n--b--", "not followed by the end of the line"),
        (b"--b--\r\n", "no part"),
        (b"x" * 9000, "does not begin with its boundary"),
        (b"--b\r\nno colon\r\n\r\n\r\n--b--", "Name: value"),
        (b"--b\r\nA: 1\r\na: 2\r\n\r\n\r\n--b--", "Name: value"),
        (b"--b\r\nA: 1\n B: 2\r\n\r\n\r\n--b--", "Name: value"),
        (b"--b\r\n" + b"".join(b"A%d: 1\r\n" % n for n in range(17)) + b"\r\n\r\n--b--", "more than 16 lines"),
    ],
)
def test_what_is_malformed_is_named(data: bytes, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        read([data])


@pytest.mark.parametrize("boundary", ["", "b" * 71, "b ", "ä", "b\r\n", 'b"'])
def test_what_is_no_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(RequestError, match="boundary"):
        MultipartReader(boundary)


def test_boundary_of_70_characters_is_one() -> None:
    assert read([body([b"x"], boundary=b"b" * 70)], "b" * 70) == [({"content-type": "application/dicom"}, b"x")]


@pytest.mark.parametrize(
    "field",
    ["Content-Encoding: gzip", "Content-Transfer-Encoding: base64", "Content-Type: multipart/mixed; boundary=c"],
)
def test_part_that_is_encoded_or_nested_is_refused(field: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        read([body([b"x"], field.encode() + b"\r\n")])


@pytest.mark.parametrize(("length", "fits"), [(8192, True), (8193, False)])
def test_header_of_8_kib_is_taken_and_no_longer_one(length: int, fits: bool) -> None:
    head = b"A: " + b"x" * (length - 5)  # with the line's end in front of it
    data = b"--b\r\n" + head + b"\r\n\r\ncontent\r\n--b--"
    for pieces in ([data], cut(data, [8198]), cut(data, list(range(0, 9000, 7)))):
        if fits:
            assert read(pieces)[0][1] == b"content"
        else:
            with pytest.raises(RequestError, match="longer than 8192"):
                read(pieces)


def test_ten_thousand_parts_are_counted_and_one_more_is_refused() -> None:
    assert len(read([body([b"x"] * 10_000)])) == 10_000
    with pytest.raises(LimitExceeded, match="10000 parts"):
        read([body([b"x"] * 10_001)])


def test_header_that_never_ends_costs_neither_time_nor_memory() -> None:
    reader = MultipartReader("b")
    tracemalloc.start()
    try:
        began = time.process_time()
        with pytest.raises(RequestError):  # noqa: PT012  (which piece is refused does not matter)
            reader.feed(b"--b\r\nA: ")
            for _ in range(1024):
                reader.feed(b"x" * 1024)
        assert time.process_time() - began < 1
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_large_content_is_passed_on_without_being_kept() -> None:
    reader = MultipartReader("b")
    reader.feed(b"--b\r\n\r\nx")
    piece = bytes(range(256)) * 256
    for _ in range(8):
        passed = [event for event in reader.feed(piece) if isinstance(event, memoryview)]
        assert sum(map(len, passed)) == len(piece)
        assert all(view.obj is piece for view in passed)

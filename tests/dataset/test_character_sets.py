"""Text in every Specific Character Set comes out as it was written (PS3.3 C.12.1.1.2, PS3.5 6.1, Annexes H to K)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import convert_encodings
from pydicom.valuerep import PersonName

from gateway.dataset.charset import character_set, is_known
from gateway.dataset.json_model import to_json_model
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE
from tests.dataset.elements import explicit, item, sequence


def text(terms: bytes | None, value: bytes, *, vr: str = "LO", default: str = "ISO_IR 6") -> list[object]:
    declared = explicit("00080005", "CS", terms) if terms is not None else b""
    row = to_json_model(declared + explicit("00100010", vr, value), EXPLICIT_VR_LE, character_set=default)
    values: list[object] = row["00100010"].get("Value", [])
    return values


def name(terms: bytes, value: bytes) -> dict[str, str]:
    (found,) = text(terms, value, vr="PN")
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("terms", "word", "codec"),
    [
        (b"ISO_IR 100", "Gagné", "latin_1"),
        (b"ISO_IR 101", "Łódź", "iso8859_2"),
        (b"ISO_IR 109", "Ĉapelo", "iso8859_3"),
        (b"ISO_IR 110", "Ķēniņš", "iso8859_4"),
        (b"ISO_IR 126", "Διονυσιος", "iso8859_7"),
        (b"ISO_IR 127", "قباني", "iso8859_6"),
        (b"ISO_IR 138", "שרון", "iso8859_8"),
        (b"ISO_IR 144", "Люкceмбypг", "iso8859_5"),
        (b"ISO_IR 148", "Çavuşoğlu", "iso8859_9"),
        (b"ISO_IR 166", "สมชาย", "tis_620"),
        (b"ISO_IR 203", "Œuvre €", "iso8859_15"),
        (b"ISO_IR 13", "ﾔﾏﾀﾞ", "shift_jis"),
        (b"ISO_IR 192", "Гагнé 王", "utf_8"),
        (b"GB18030", "王小东", "gb18030"),
        (b"GBK", "王小东", "gbk"),
    ],
)
def test_single_character_set(terms: bytes, word: str, codec: str) -> None:
    assert text(terms, word.encode(codec)) == [word]


def test_japanese_name_in_three_groups() -> None:
    # PS3.5 H.3, example 1: ideographs and kana of JIS X 0208 behind escape sequences.
    value = (
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    )  # fmt: skip
    assert name(b"\\ISO 2022 IR 87", value) == {
        "Alphabetic": "Yamada^Tarou",
        "Ideographic": "山田^太郎",
        "Phonetic": "やまだ^たろう",
    }


def test_japanese_name_in_half_width_katakana() -> None:
    # PS3.5 H.3, example 2: value 1 is JIS X 0201, whose katakana needs no escape sequence.
    value = (
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
    )  # fmt: skip
    assert name(b"ISO 2022 IR 13\\ISO 2022 IR 87", value) == {
        "Alphabetic": "ﾔﾏﾀﾞ^ﾀﾛｳ",
        "Ideographic": "山田^太郎",
        "Phonetic": "やまだ^たろう",
    }


def test_korean_name_falls_back_to_ascii_at_every_delimiter() -> None:
    # PS3.5 I.2: KS X 1001 is designated anew in every component.
    value = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
    assert name(b"\\ISO 2022 IR 149", value) == {
        "Alphabetic": "Hong^Gildong",
        "Ideographic": "洪^吉洞",
        "Phonetic": "홍^길동",
    }


def test_chinese_name_with_code_extension() -> None:
    # PS3.5 K.2: GB 2312 in G1.
    value = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
    assert name(b"\\ISO 2022 IR 58", value) == {"Alphabetic": "Zhang^XiaoDong", "Ideographic": "张^小东"}


def test_latin_and_greek_in_one_value() -> None:
    value = b"Dion\xe9 \x1b-F\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2 \x1b-A\xe9"
    assert text(b"ISO 2022 IR 100\\ISO 2022 IR 126", value) == ["Dioné Διονυσιος é"]


def test_code_extension_ends_at_a_line_break_and_at_a_value() -> None:
    terms = b"ISO 2022 IR 100\\ISO 2022 IR 126"
    assert text(terms, b"\x1b-F\xc4\r\n\xc4", vr="LT") == ["Δ\r\nÄ"]
    assert text(terms, b"\x1b-F\xc4\\\xc4") == ["Δ", "Ä"]
    assert text(terms, b"\x1b-F\xc4\\\xc4", vr="LT") == ["Δ\\Δ"]


@pytest.mark.parametrize(
    ("terms", "value", "words"),
    [
        (b"GB18030", "誠\\乗".encode("gb18030"), ["誠", "乗"]),
        (b"GBK", "誠\\A".encode("gbk"), ["誠", "A"]),
        (b"\\ISO 2022 IR 87", b"\x1b$B%\\\x1b(B\\\x1b$B%\\\x1b(B", ["ボ", "ボ"]),
    ],
)
def test_backslash_inside_a_multi_byte_character_separates_nothing(
    terms: bytes, value: bytes, words: list[str]
) -> None:
    assert text(terms, value) == words


def test_supplementary_kanji() -> None:
    assert text(b"\\ISO 2022 IR 87\\ISO 2022 IR 159", b"\x1b$(D" + "丂".encode("iso2022_jp_2")[4:6] + b"\x1b(B") == [
        "丂"
    ]


def test_katakana_designated_to_g0() -> None:
    assert text(b"ISO 2022 IR 13\\ISO 2022 IR 87", b"\x1b(I4]\x1b(J ok") == ["ｴﾝ ok"]


@pytest.mark.parametrize(
    "terms", [None, b"", b"ISO_IR 6", b"ISO 2022 IR 6", b"KLINGON", b"\xff\xfe", b"\\", b"x" * 5000]
)
def test_default_set_reads_what_declares_none_or_nonsense(terms: bytes | None) -> None:
    assert text(terms, b"H\xfcfte", default="ISO_IR 100") == ["Hüfte"]
    assert text(terms, "Люк".encode("iso8859_5"), default="ISO_IR 144") == ["Люк"]
    assert text(terms, b"H\xfcfte") == ["Hüfte"]


@pytest.mark.parametrize("terms", [b"ISO IR 100", b"ISO-IR 100", b"iso_ir_100", b"ISO_IR  100", b"ISO_IR100"])
def test_misspelt_term_is_understood(terms: bytes) -> None:
    assert text(terms, b"\xe9", default="ISO_IR 144") == ["é"]


@pytest.mark.parametrize("terms", [b"UTF-8", b"UTF8", b"ISO IR 192", b"ISO_IR 192\\ISO 2022 IR 100"])
def test_utf8_is_understood_however_it_is_declared(terms: bytes) -> None:
    assert text(terms, "Noël".encode()) == ["Noël"]


def test_undecodable_bytes_are_replaced() -> None:
    assert text(b"ISO_IR 192", b"No\xebl") == ["No\ufffdl"]
    assert text(b"ISO_IR 127", b"\xff") == ["\ufffd"]
    assert text(b"\\ISO 2022 IR 87", b"\x1b$B;") == ["\ufffd"]
    assert text(b"\\ISO 2022 IR 149", b"\x1b$)C\xc8") == ["\ufffd"]


def test_item_may_have_its_own_character_set_and_the_next_one_has_its_parents() -> None:
    cyrillic = item(explicit("00080005", "CS", b"ISO_IR 144"), explicit("00080104", "LO", b"\xbb"))
    latin = item(explicit("00080104", "LO", b"\xbb"))
    data = (
        explicit("00080005", "CS", b"ISO_IR 100")
        + sequence("00081140", cyrillic, latin, undefined=True)
        + explicit("00100020", "LO", b"\xbb")
    )
    row = to_json_model(data, EXPLICIT_VR_LE)
    assert [one["00080104"]["Value"] for one in row["00081140"]["Value"]] == [["Л"], ["»"]]
    assert row["00100020"]["Value"] == ["»"]


def test_text_of_a_code_string_is_read_in_the_set_of_the_data_set() -> None:
    assert text(b"ISO_IR 192", "TÊTE".encode(), vr="CS") == ["TÊTE"]


# --- encoding


EXTENDED = {
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 87\\ISO 2022 IR 159": "丂山^丂",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "\\ISO 2022 IR 58": "Zhang^XiaoDong=张^小东",
    "ISO 2022 IR 100\\ISO 2022 IR 126": "Dioné^Διονυσιος",
    "ISO_IR 100": "Gagné^Noël",
    "ISO_IR 192": "Gagné^王",
    "GB18030": "Wang^XiaoDong=王^小东",
}


@pytest.mark.parametrize(("terms", "word"), EXTENDED.items())
def test_what_is_encoded_is_decoded_again(terms: str, word: str) -> None:
    charset = character_set(terms)
    encoded = charset.encode(word)
    assert charset.decode(encoded, b"\\^=") == word


# pydicom leaves the escape sequence of ISO 2022 IR 58 in the text.
@pytest.mark.parametrize(("terms", "word"), [pair for pair in EXTENDED.items() if "58" not in pair[0]])
def test_pydicom_reads_what_is_encoded(terms: str, word: str) -> None:
    encodings = convert_encodings(terms.split("\\"))
    assert str(PersonName(character_set(terms).encode(word), encodings).decode(encodings)) == word


@pytest.mark.parametrize(
    ("terms", "expected"), [("ISO_IR 100", b"?ukasz"), ("ISO_IR 6", b"?ukasz"), ("\\ISO 2022 IR 87", b"?ukasz")]
)
def test_letter_that_the_set_lacks_is_a_wildcard(terms: str, expected: bytes) -> None:
    assert character_set(terms).encode("Łukasz") == expected


@given(
    st.sampled_from(sorted(EXTENDED)),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30),
)
def test_any_text_is_encoded_to_something_that_is_decoded(terms: str, word: str) -> None:
    charset = character_set(terms)
    decoded = charset.decode(charset.encode(word), b"\\^=")
    assert len(decoded) <= len(word) * 2
    if terms == "ISO_IR 192":
        assert decoded == word


@given(st.sampled_from([*sorted(EXTENDED), "ISO_IR 144", "x"]), st.binary(max_size=60))
def test_any_bytes_are_decoded(terms: str, value: bytes) -> None:
    assert isinstance(character_set(terms, "ISO_IR 100").decode(value), str)


def test_terms_of_the_standard_are_known_and_others_are_not() -> None:
    assert all(map(is_known, ["ISO_IR 100", "ISO 2022 IR 87", "GB18030", "ISO_IR 192", "ISO_IR 6"]))
    assert not any(map(is_known, ["LATIN", "ISO_IR 99", ""]))

"""The pages can be read by everybody: contrast (WCAG 2.2 1.4.3, 1.4.11), structure, both languages whole."""

import itertools
import re
from html.parser import HTMLParser
from importlib import resources

import pytest

from gateway.ops import words
from tests.ops.serving import archive, nobody, watched

CSS = resources.files("gateway.ops").joinpath("assets", "status.css").read_text()
TEXT = [
    ("ink", "bg"),
    ("ink", "panel"),
    ("soft", "bg"),
    ("soft", "panel"),
    ("link", "bg"),
    *((word, colour) for word in ("ink", "soft") for colour in ("green-bg", "amber-bg", "red-bg", "grey-bg")),
    *((colour, f"{colour}-bg") for colour in ("green", "amber", "red", "grey")),
]
PAGES = {
    "docs.css": (("ink", "soft", "link", "get", "post", "good", "bad", "other"), ("ground", "raised", "code")),
    "pages.css": (("ink", "link", "up", "trying", "down"), ("paper", "soft")),
}
"""Of the documentation and of the home page: the colours of text, and of what is behind it."""
SHAPES = [(shape, "panel") for shape in ("green", "amber", "red", "grey", "bar", "soft")]


def colours(theme: str, css: str = CSS) -> dict[str, str]:
    """Return the colours of the light or the dark page, by name."""
    blocks = re.findall(r":root ?\{([^}]*)\}", css)
    found: dict[str, str] = dict(re.findall(r"--([a-z-]+): ?(#[0-9a-f]+)", blocks[theme == "dark"]))
    return found


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_shapes_stand_out(theme: str) -> None:
    named = colours(theme)
    for front, back in TEXT:
        assert contrast(named[front], named[back]) >= 4.5, (front, back)
    for front, back in SHAPES:
        assert contrast(named[front], named[back]) >= 3.0, (front, back)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sheet", PAGES)
def test_text_of_the_documentation_and_the_home_page_stands_out(sheet: str, theme: str) -> None:
    css = resources.files("gateway.web").joinpath(sheet).read_text()
    named, (fronts, backs) = colours(theme, css), PAGES[sheet]
    for front, back in itertools.product(fronts, backs):
        assert contrast(named[front], named[back]) >= 4.5, (front, back)
    # A colour that is not named is the same in the dark.
    loose = re.sub(r":root ?\{[^}]*\}", "", css)
    assert set(re.findall(r"[^-]color: ?(#[0-9a-f]+)", loose)) <= {"#fff"}


class Outline(HTMLParser):
    """What somebody who cannot see the page finds in it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.named: list[str] = []
        self.language = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.named += values.get("aria-labelledby", "").split()
        self.language = values["lang"] if tag == "html" else self.language
        if tag == "progress" or values.get("role") == "img":
            assert values.get("aria-label")
        if tag == "svg":
            assert values.get("aria-hidden") == "true" or values.get("role") == "img"


@pytest.mark.parametrize("language", words.LANGUAGES)
async def test_the_page_has_a_structure_that_can_be_heard(language: str) -> None:
    async with watched(archive(), absent=[nobody()]) as here:
        await here.search()
        await here.search("?limit=2")
        _, headers, body = await here.get(f"{here.web}/status?lang={language}")
    outline = Outline()
    outline.feed(body.decode())
    assert outline.language == headers["Content-Language"] == language
    assert outline.tags.count("h1") == outline.tags.count("main") == 1
    assert outline.tags.count("article") == outline.tags.count("h3") == 2
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.named) <= set(outline.ids)
    assert "noscript" in outline.tags


def test_both_languages_say_everything_and_take_the_same_values() -> None:
    for key, (english, french) in words._PAIRS.items():
        assert english, key
        assert french, key
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", french)), key


@pytest.mark.parametrize(
    ("asked", "accepted", "chosen"),
    [
        ("", "", "en"),
        ("", "fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        ("", "de,en;q=0.5,fr;q=0.7", "fr"),
        ("", "fr;q=0,en", "en"),
        ("", "fr;q=x", "en"),
        ("en", "fr", "en"),
        ("xx", "fr", "fr"),
    ],
)
def test_the_language_is_the_one_that_is_asked_for_or_preferred(asked: str, accepted: str, chosen: str) -> None:
    assert words.language(asked, accepted) == chosen

"""The guides of the gateway (gateway/docs), from Markdown to HTML."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

FOLDER: Final = "docs"
"""Below the package, and below the web's root."""

_PICTURE_LINK = re.compile(r"(images/[a-z0-9-]+\.webp)")
_GUIDE_LINK = re.compile(r"(?:\./)?([a-z0-9-]+)\.md(#.*)?")
_NOT_IN_ANCHOR = re.compile(r"[^\w\- ]")
_SENTENCE = re.compile(r"(.+?)[.:](?:\s|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Guide:
    """One page.

    Attributes:
        name: the last part of its URL.
        title: its first heading.
        about: its first sentence, or what of it comes before a colon.
        html: its body.
        contents: anchor and text of each heading of the second level.
    """

    name: str
    title: str
    about: str
    html: str
    contents: tuple[tuple[str, str], ...]


def guides(folder: Traversable | None = None) -> Mapping[str, Guide]:
    """Read the guides that the package has, in the order of their titles."""
    there = folder or resources.files("gateway") / FOLDER
    files = [file for file in there.iterdir() if file.name.endswith(".md")]
    found = [guide(file.name.removesuffix(".md"), file.read_text(encoding="utf-8")) for file in files]
    return {one.name: one for one in sorted(found, key=lambda one: one.title.casefold())}


def pictures(folder: Traversable | None = None) -> Mapping[str, bytes]:
    """Read the pictures of the guides, by name."""
    there = (folder or resources.files("gateway") / FOLDER) / "images"
    return {file.name: file.read_bytes() for file in there.iterdir() if file.name.endswith(".webp")}


def guide(name: str, text: str) -> Guide:
    """Render one page; what is HTML in it is shown as text."""
    markdown = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    tokens = markdown.parse(text)
    headings = _anchored(tokens)
    title = next((words for level, _, words in headings if level == "h1"), name)
    paragraphs = (_plain(after) for before, after in _pairs(tokens) if before.type == "paragraph_open")
    about = next((words for words in paragraphs if not words.startswith("<!--")), "")
    first = _SENTENCE.match(about)
    html = markdown.renderer.render(tokens, markdown.options, {})
    contents = tuple((anchor, words) for level, anchor, words in headings if level == "h2")
    return Guide(name, title, f"{first[1]}." if first else about, html, contents)


def _pairs(tokens: Sequence[Token]) -> list[tuple[Token, Token]]:
    return list(pairwise(tokens))


def _anchored(tokens: Sequence[Token]) -> list[tuple[str, str, str]]:
    """Give each heading an anchor as code hosts do; return level, anchor and text of each."""
    found, taken = [], set[str]()
    for before, after in _pairs(tokens):
        if before.type == "heading_open":
            words = _plain(after)
            anchor = base = _NOT_IN_ANCHOR.sub("", words.lower()).replace(" ", "-")
            number = 0
            while anchor in taken:
                number += 1
                anchor = f"{base}-{number}"
            taken.add(anchor)
            before.attrSet("id", anchor)
            found.append((before.tag, anchor, words))
    return found


def _plain(token: Token) -> str:
    """Return the words of a heading or a paragraph, without what marks them."""
    parts = [
        x.content if x.type in {"text", "code_inline"} else " " * (x.type == "softbreak") for x in token.children or ()
    ]
    return "".join(parts)


class _Renderer(RendererHTML):
    """Links between guides lead to their pages; of a session in a shell the commands stand out; tables can scroll."""

    def link_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
        token = tokens[index]
        if found := _GUIDE_LINK.fullmatch(str(token.attrGet("href"))):
            token.attrSet("href", f"/docs/{found[1]}{found[2] or ''}")
        return self.renderToken(tokens, index, options, env)

    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
        token = tokens[index]
        if found := _PICTURE_LINK.fullmatch(str(token.attrGet("src"))):
            token.attrSet("src", f"/docs/{found[1]}")
        return super().image(tokens, index, options, env)

    def fence(self, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any) -> str:
        return f"<pre><code>{shell(tokens[index].content)}</code></pre>\n"

    def table_open(self, *_: Any) -> str:
        return '<div class="wide" tabindex="0" role="group"><table>\n'

    def table_close(self, *_: Any) -> str:
        return "</table></div>\n"


def shell(text: str) -> str:
    """Mark the commands of a session in a shell, which begin with a prompt."""
    lines = (
        f'<span class="prompt">$ </span><b>{escape(line[2:])}</b>' if line.startswith("$ ") else escape(line)
        for line in text.rstrip("\n").split("\n")
    )
    return "\n".join(lines)

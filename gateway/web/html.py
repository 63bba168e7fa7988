"""Our own pages: plain HTML in English or French that needs no script, and what keeps them private."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from gateway.web.own import OWN

Language: TypeAlias = Literal["en", "fr"]

LANGUAGES: Final[Mapping[str, Language]] = MappingProxyType({"en": "en", "fr": "fr"})
POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
NAME: Final[Mapping[Language, str]] = {"en": "Provincial imaging gateway", "fr": "Passerelle provinciale d’imagerie"}
SKIP: Final[Mapping[Language, str]] = {"en": "Skip to content", "fr": "Aller au contenu"}

_MEMBER = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[\w-]*)?\s*(?:;\s*q\s*=\s*([\d.]+)\s*)?", re.ASCII)


def language(request: Request) -> Language:
    """Choose by ``lang`` in the URL, else by Accept-Language (RFC 9110 12.5.4), else English."""
    if chosen := LANGUAGES.get(request.query_params.get("lang", "")):
        return chosen
    best: tuple[float, Language] = (0.0, "en")
    for member in request.headers.get("accept-language", "").split(","):
        found = _MEMBER.fullmatch(member)
        if found is None or (known := LANGUAGES.get(found[1].lower())) is None:
            continue
        try:
            weight = float(found[2] or 1)
        except ValueError:
            continue
        if weight > best[0]:
            best = weight, known
    return best[1]


def page(
    lang: Language,
    title: str,
    body: Iterable[str],
    *,
    status: int = 200,
    beside: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    """Make a page.

    Args:
        lang: the language it is in.
        title: its heading, not yet escaped.
        body: what follows the heading, as HTML.
        status: of the response.
        beside: what stands at the end of the header line, as HTML.
        headers: further fields of the response.
    """
    html = f"""<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="{OWN}/icon.svg">
<link rel="stylesheet" href="{OWN}/pages.css">
</head>
<body>
<a class="skip" href="#content">{SKIP[lang]}</a>
<header><p>{NAME[lang]}</p>{beside}</header>
<main id="content">
<h1>{escape(title)}</h1>
{"".join(body)}
</main>
</body>
</html>
"""
    fields = {
        "Content-Security-Policy": POLICY,
        "Content-Language": lang,
        "Cache-Control": "no-store",
        "Vary": "Accept-Language",
        **headers,
    }
    return Response(html, status, fields, "text/html; charset=utf-8")


def paragraph(text: str, kind: str = "") -> str:
    """Make a paragraph of a text."""
    return f"<p{_class(kind)}>{escape(text)}</p>\n"


def link(href: str, text: str, kind: str = "") -> str:
    """Make a link."""
    return f'<a{_class(kind)} href="{escape(href)}">{escape(text)}</a>'


def _class(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""


def table(caption: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Make a table whose rows are named by their first cell; the cells are HTML already."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(_row(list(row)) for row in rows)
    named = f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
    return f"<table>\n{named}<tbody>\n{body}</tbody>\n</table>\n"


def _row(cells: list[str]) -> str:
    others = "".join(f"<td>{cell}</td>" for cell in cells[1:])
    return f'<tr><th scope="row">{cells[0]}</th>{others}</tr>\n'

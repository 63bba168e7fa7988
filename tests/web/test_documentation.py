"""What is read in a browser: it works without scripts, from our own origin, and explains every error."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.web.documentation import Documentation
from gateway.web.guides import guide, guides
from gateway.web.remedies import REMEDIES, known_errors
from tests.web.fakes import FakeSearch, exchange, gateway

VOID = {"meta", "link", "wbr", "br", "hr", "img"}


class Markup(HTMLParser):
    """Checks that elements are closed in order; collects what is needed from elsewhere, links and anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wanted: set[str] = set()
        self.links: set[str] = set()
        self.anchors: list[str] = []
        self.scripts = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.scripts |= tag == "script" or any(name.startswith("on") for name in given)
        self.wanted |= {url for name in ("src", "href") if (url := given.get(name)) and tag in {"link", "img"}}
        if tag == "a" and (href := given.get("href")):
            self.links.add(href)
        if anchor := given.get("id"):
            self.anchors.append(anchor)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


async def page(path: str, **fields: str) -> tuple[str, Markup]:
    async with gateway(regions={"neodin": FakeSearch()}) as web:
        answer = await web.client.get(f"http://127.0.0.1:{web.port}{path}", headers=fields)
    assert answer.status_code == 200, path
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    return answer.text, Markup(answer.text)


@pytest.mark.parametrize("path", ["/docs", "/docs/api", "/docs/errors", "/docs/errors/rejected", "/docs/search"])
async def test_pages_are_well_formed_and_need_nothing_but_our_own_style(path: str) -> None:
    _, markup = await page(path)
    assert markup.open == []
    assert not markup.scripts
    assert all(re.match(r"/docs/style\.css\?|data:,$", url) for url in markup.wanted)
    assert len(markup.anchors) == len(set(markup.anchors))


async def test_links_within_the_documentation_lead_somewhere() -> None:
    async with gateway() as web:
        seen: dict[str, Markup] = {}
        wanted = {"/docs"}
        while wanted:
            path = wanted.pop()
            answer = await web.client.get(f"http://127.0.0.1:{web.port}{path}")
            assert answer.status_code == 200, path
            seen[path] = Markup(answer.text) if "html" in answer.headers["content-type"] else Markup("")
            found = {link.partition("#")[0] for link in seen[path].links | seen[path].wanted if link.startswith("/")}
            wanted |= {link for link in found if link.startswith(("/docs", "/openapi"))} - seen.keys()
    for path, markup in seen.items():
        for link in markup.links:
            target, hash_, anchor = link.partition("#")
            if hash_ and (target or path) in seen:
                assert anchor in seen[target or path].anchors, f"{path} -> {link}"


async def test_index_lists_every_guide_by_its_heading() -> None:
    text, markup = await page("/docs")
    folder = Path(__file__).parents[2] / "gateway" / "docs"
    files = sorted(folder.glob("*.md"))
    assert files
    for file in files:
        heading = next(line for line in file.read_text().splitlines() if line.startswith("# ")).removeprefix("# ")
        assert f"/docs/{file.stem}" in markup.links
        assert re.sub("[`*]", "", heading) in text
    assert "<!--" not in text  # what a file says to those who would edit it is not what it is about


@pytest.mark.parametrize("slug", sorted(known_errors()))
async def test_every_error_has_a_page_that_says_who_mends_it_and_how(slug: str) -> None:
    remedy = REMEDIES[slug]
    assert remedy.who
    assert remedy.steps
    text, _ = await page(f"/docs/errors/{slug}")
    assert remedy.who[0].value[1:] in text.replace("&#x27;", "'")
    assert "<ol><li>" in text


def test_no_remedy_is_for_an_error_that_is_none() -> None:
    # These are of modules that the web does not load by itself.
    elsewhere = {"province-failed", "viewer-missing", "issuer-unavailable", "not-coercible", "audit-feed-failed"}
    assert REMEDIES.keys() - known_errors().keys() <= elsewhere


async def test_the_type_of_a_problem_is_the_page_of_its_error() -> None:
    async with gateway() as web:
        problem = (await web.client.get("/studies?limit=x")).json()
        answer = await web.client.get(f"http://127.0.0.1:{web.port}{problem['type']}")
    assert answer.status_code == 200
    assert "Bad request" in answer.text


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_the_server_itself_refuses_has_a_page_too(request_: bytes) -> None:
    async with gateway() as web:
        answer = await exchange(web.port, request_)
    found = re.search(rb'"type":"/docs/errors/([a-z-]+)"', answer)
    assert found
    assert found[1].decode() in known_errors()


@pytest.mark.parametrize("path", ["/docs/nothing", "/docs/errors/nothing", "/docs/..%2Fdefaults", "/docs/search.md"])
async def test_an_unknown_page_is_404_as_a_problem(path: str) -> None:
    async with gateway() as web:
        answer = await web.client.get(f"http://127.0.0.1:{web.port}{path}")
    assert answer.status_code in {400, 404}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_command_lines_go_to_where_the_caller_is_and_hold_nothing_else_of_its_host() -> None:
    text, _ = await page("/docs/api", Host="images.example.ca:8443")
    assert "http://images.example.ca:8443/dicom-web/studies?PatientID=0041596842" in text
    async with gateway() as web:
        answer = await exchange(web.port, b"GET /docs/api HTTP/1.1\r\nHost: <script>\r\nConnection: close\r\n\r\n")
    assert b"<script>" not in answer
    assert b"http://localhost/dicom-web" in answer


async def test_command_lines_go_to_the_public_url_where_there_is_one() -> None:
    async with gateway(public_url="https://imaging.example.ca") as web:
        answer = await web.client.get(f"http://127.0.0.1:{web.port}/docs")
    assert "https://imaging.example.ca/dicom-web/studies" in answer.text


async def test_pages_answer_head_and_refuse_other_methods() -> None:
    async with gateway() as web:
        head = await web.client.head(f"http://127.0.0.1:{web.port}/docs")
        post = await web.client.post(f"http://127.0.0.1:{web.port}/docs")
    assert (head.status_code, head.content) == (200, b"")
    assert (post.status_code, post.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


# --- Markdown


def test_markdown_in_a_guide_becomes_html_and_html_in_it_is_text() -> None:
    made = guide("x", "# A *b*\n\nFirst `one`. Second.\n\n## C & d\n\n<script>x</script>\n\n| a |\n|---|\n| 1 |\n")
    assert (made.title, made.about) == ("A b", "First one.")
    assert '<h2 id="c--d">C &amp; d</h2>' in made.html
    assert "<script>" not in made.html
    assert "<table>" in made.html
    assert made.contents == (("c--d", "C & d"),)


def test_links_between_guides_lead_to_their_pages() -> None:
    made = guide("x", "[a](search.md#rows) [b](./retrieve.md) [c](https://example.ca/x.md) [d](#here)")
    hrefs = re.findall('href="([^"]*)"', made.html)
    assert hrefs == ["/docs/search#rows", "/docs/retrieve", "https://example.ca/x.md", "#here"]


def test_commands_stand_out_from_what_they_print() -> None:
    made = guide("x", "```\n$ curl <x>\nanswer\n```\n")
    assert '<span class="prompt">$ </span><b>curl &lt;x&gt;</b>\nanswer' in made.html


def test_headings_of_the_same_words_have_anchors_of_their_own() -> None:
    made = guide("x", "## a\n\n## a\n\n## a\n")
    assert [anchor for anchor, _ in made.contents] == ["a", "a-1", "a-2"]


def test_guides_are_in_the_package() -> None:
    assert {"search", "retrieve", "operations-scale"} <= guides().keys()
    assert Documentation([], "/dicom-web", None).document["paths"] == {}

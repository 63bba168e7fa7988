"""The home page: for people, without scripts, in two languages."""

from pathlib import Path

import pytest

from tests.web.fronts import fronted


@pytest.mark.parametrize(
    ("path", "accepted", "lang", "word"),
    [
        ("/home", "", "en", "Not answering"),
        ("/home", "fr-CA,fr;q=0.9,en;q=0.8", "fr", "Ne répond pas"),
        ("/home", "de, en;q=0.5, fr;q=0.4", "en", "Not answering"),
        ("/home", "en;q=x, fr;q=0.1", "fr", "Ne répond pas"),
        ("/home?lang=fr", "en", "fr", "Ne répond pas"),
        ("/home?lang=xx", "fr", "fr", "Ne répond pas"),
    ],
)
async def test_home_speaks_the_readers_language(path: str, accepted: str, lang: str, word: str) -> None:
    async with fronted() as web:
        answer = await web.get(path, Accept_Language=accepted)
    assert answer.status_code == 200
    assert f'<html lang="{lang}">' in answer.text
    assert answer.headers["content-language"] == lang
    assert word in answer.text
    assert f'hreflang="{"fr" if lang == "en" else "en"}"' in answer.text


async def test_home_names_every_region_with_its_state_and_escapes_what_is_configured() -> None:
    async with fronted() as web:
        text = (await web.get("/home")).text
    assert "NEODIN" in text
    assert "HDIRS" in text
    assert "Northern &lt;Network&gt;" in text
    assert "<Network>" not in text


async def test_home_runs_no_script_and_loads_nothing_from_elsewhere() -> None:
    async with fronted() as web:
        answer = await web.get("/home")
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "://" not in answer.text


async def test_root_is_the_home_page_where_there_is_no_viewer() -> None:
    async with fronted() as web:
        root = await web.get("/", Accept="text/html")
        assert "No viewer is installed here" in root.text
        assert (await web.get("/viewer", Accept="text/html")).status_code == 404


async def test_home_links_to_the_viewer_only_where_there_is_one(tmp_path: Path) -> None:
    async with fronted(tmp_path) as web:
        assert '<a class="first" href="/">' in (await web.get("/home")).text
    async with fronted() as web:
        assert 'href="/"' not in (await web.get("/home")).text


async def test_home_links_to_the_documentation_that_is_always_there() -> None:
    async with fronted() as web:
        assert '<a href="/docs">' in (await web.get("/home")).text
        assert (await web.get("/docs")).status_code == 200

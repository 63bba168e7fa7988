"""The home page: what this is, how the regions are, and where to go from here."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from gateway.web.html import LANGUAGES, Language, language, link, page, paragraph, table

LightState: TypeAlias = Literal["up", "trying", "down", "unknown"]


@dataclass(frozen=True, slots=True)
class Light:
    """How one region is, for people.

    Attributes:
        name: the region's name, as it stands in headers and on pages.
        title: its full name; may be empty.
        state: "up" as far as we know, "trying" while it is in difficulty, "down", or "unknown" before it was asked.
    """

    name: str
    title: str
    state: LightState


Lights: TypeAlias = Callable[[], Awaitable[Sequence[Light]]]


@dataclass(frozen=True, slots=True)
class _Words:
    """The texts of the page in one language."""

    title: str
    what: str
    where: str
    viewer: str
    no_viewer: str
    docs: str
    status: str
    regions: str
    caption: str
    headings: tuple[str, str, str]
    states: Mapping[LightState, str]
    other: str


WORDS: Final[Mapping[Language, _Words]] = {
    "en": _Words(
        title="One archive for the whole province",
        what="This gateway finds and shows the diagnostic images and reports of all regions as if they were in "
        "one archive. Every answer says which regions are in it.",
        where="Where to go",
        viewer="Open the viewer",
        no_viewer="No viewer is installed here: the programming interface is below /dicom-web.",
        docs="Documentation of the interface",
        status="Status in detail",
        regions="Regions",
        caption="How the regions are now",
        headings=("Region", "Name", "State"),
        states={"up": "In service", "trying": "In difficulty", "down": "Not answering", "unknown": "Not asked yet"},
        other="Français",
    ),
    "fr": _Words(
        title="Une seule archive pour toute la province",
        what="Cette passerelle trouve et affiche les images diagnostiques et les rapports de toutes les régions "
        "comme s’ils étaient dans une seule archive. Chaque réponse dit quelles régions y figurent.",
        where="Où aller",
        viewer="Ouvrir la visionneuse",
        no_viewer="Aucune visionneuse n’est installée ici : l’interface de programmation est sous /dicom-web.",
        docs="Documentation de l’interface",
        status="État détaillé",
        regions="Régions",
        caption="État actuel des régions",
        headings=("Région", "Nom", "État"),
        states={
            "up": "En service",
            "trying": "En difficulté",
            "down": "Ne répond pas",
            "unknown": "Pas encore interrogée",
        },
        other="English",
    ),
}


@dataclass(frozen=True, slots=True)
class Home:
    """Answers with the home page.

    Attributes:
        lights: tells how the regions are.
        viewer: whether there is one at ``/``.
        status: whether there is a status page.
    """

    lights: Lights
    viewer: bool
    status: bool

    async def show(self, request: Request) -> Response:
        """Show the home page in the caller's language."""
        lang = language(request)
        words = WORDS[lang]
        [other] = LANGUAGES.keys() - {lang}
        switch = f'<a href="/home?lang={other}" hreflang="{other}" lang="{other}">{words.other}</a>'
        return page(lang, words.title, self._body(words, await self.lights()), beside=f"<nav>{switch}</nav>")

    def _body(self, words: _Words, lights: Sequence[Light]) -> list[str]:
        body = [paragraph(words.what), f"<h2>{escape(words.where)}</h2>\n"]
        if not self.viewer:
            body.append(paragraph(words.no_viewer))
        places = [link("/", words.viewer, "first")] if self.viewer else []
        places.append(link("/docs", words.docs))
        if self.status:
            places.append(link("/status", words.status))
        body.append(f'<ul class="actions">{"".join(f"<li>{place}</li>" for place in places)}</ul>\n')
        rows = [(escape(x.name), escape(x.title), _light(x.state, words)) for x in lights]
        return [*body, f"<h2>{escape(words.regions)}</h2>\n", table(words.caption, words.headings, rows)]


def _light(state: LightState, words: _Words) -> str:
    return f'<span class="light {state}">{escape(words.states[state])}</span>'

"""The pages between a launch and the viewer: which study is meant, nothing was found, the request is wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response

from gateway.dataset.query import Row
from gateway.federation.identity import ISSUER, PATIENT_ID, text
from gateway.web.html import Language, link, page, paragraph, table
from gateway.web.invocation import MOST_STUDIES

ABSENT: Final = "*"
"""Stands for every region."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Between what the caller has to choose.

    Attributes:
        patients: the studies found, by patient.
        several: they are of several patients, or their accession number is of several issuers.
        silent: regions that gave no complete answer.
        lacking: how many studies that were asked for by UID were not found.
    """

    patients: Sequence[Sequence[Row]]
    several: bool
    silent: tuple[str, ...]
    lacking: int


@dataclass(frozen=True, slots=True)
class _Words:
    """The texts of the pages in one language."""

    which: str
    several: str
    unsure: str
    lacking: str
    silent: str
    all_silent: str
    patient: str
    born: str
    headings: tuple[str, ...]
    open: str
    newest: str
    nothing: str
    searched: str
    refused: str
    home: str
    nameless: str


WORDS: Final[Mapping[Language, _Words]] = {
    "en": _Words(
        which="Which study is meant?",
        several="More than one patient or issuer has this number. Choose by name, date of birth and place.",
        unsure="Check that this is the right patient before you open a study.",
        lacking="Studies that were asked for and not found: {}.",
        silent="No complete answer from {}. Studies there may be missing here.",
        all_silent="No region answered. Try again in a moment.",
        patient="Patient {name}, number {number}",
        born=", born {}",
        headings=("Study", "Date", "Modalities", "Accession number", "Region", "Open"),
        open="Open {}",
        newest="Open the {} newest together",
        nothing="No study was found",
        searched="All regions were searched. Check the number and its issuer.",
        refused="The request cannot be understood",
        home="To the home page",
        nameless="without a description",
    ),
    "fr": _Words(
        which="De quel examen s’agit-il ?",
        several="Plusieurs patients ou émetteurs ont ce numéro. Choisissez selon le nom, la naissance et le lieu.",
        unsure="Vérifiez qu’il s’agit du bon patient avant d’ouvrir un examen.",
        lacking="Examens demandés et non trouvés : {}.",
        silent="Pas de réponse complète de {}. Il peut manquer ici des examens de là-bas.",
        all_silent="Aucune région n’a répondu. Réessayez dans un instant.",
        patient="Patient {name}, numéro {number}",
        born=", né(e) le {}",
        headings=("Examen", "Date", "Modalités", "Numéro d’accession", "Région", "Ouvrir"),
        open="Ouvrir {}",
        newest="Ouvrir ensemble les {} plus récents",
        nothing="Aucun examen trouvé",
        searched="Toutes les régions ont été interrogées. Vérifiez le numéro et son émetteur.",
        refused="La demande ne peut être comprise",
        home="Vers la page d’accueil",
        nameless="sans description",
    ),
}


def viewer_url(uids: Iterable[str]) -> str:
    """Return where the viewer shows studies; UIDs are all that our URLs tell."""
    return f"/viewer?StudyInstanceUIDs={quote(','.join(uids), safe=',')}"


def choice_page(lang: Language, choice: Choice) -> Response:
    """Let a person choose: never guess whose images are meant."""
    words = WORDS[lang]
    body = [paragraph(words.several if choice.several else words.unsure)]
    if choice.lacking:
        body.append(paragraph(words.lacking.format(choice.lacking), "note"))
    body += _silence(words, choice.silent)
    for studies in choice.patients:
        body.append(table(_patient(words, studies[0]), words.headings, (_study(words, row) for row in studies)))
        newest = [text(row, "0020000D") for row in studies[:MOST_STUDIES]]
        if len(newest) > 1 and not choice.several:
            together = link(viewer_url(newest), words.newest.format(len(newest)))
            body.append(f'<ul class="actions"><li>{together}</li></ul>\n')
    return page(lang, words.which, body)


def nothing_found_page(lang: Language, silent: tuple[str, ...]) -> Response:
    """Say that nothing was found, and whether that is for certain."""
    words = WORDS[lang]
    body = [*_silence(words, silent)] if silent else [paragraph(words.searched)]
    body.append(_home(words))
    if silent:
        return page(lang, words.nothing, body, status=HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "30"})
    return page(lang, words.nothing, body, status=HTTPStatus.NOT_FOUND)


def refused_page(lang: Language, reason: str) -> Response:
    """Say what is wrong with a request, in the words of its error."""
    words = WORDS[lang]
    told = f'<p lang="en">{escape(reason)}</p>\n'
    return page(lang, words.refused, [told, _home(words)], status=HTTPStatus.BAD_REQUEST)


def _home(words: _Words) -> str:
    return f'<ul class="actions"><li>{link("/home", words.home)}</li></ul>\n'


def _silence(words: _Words, silent: tuple[str, ...]) -> list[str]:
    if not silent:
        return []
    told = words.all_silent if silent == (ABSENT,) else words.silent.format(", ".join(map(str.upper, silent)))
    return [paragraph(told, "note")]


def _patient(words: _Words, row: Row) -> str:
    number = " ".join(filter(None, (text(row, PATIENT_ID), text(row, ISSUER))))
    told = words.patient.format(name=_name(row), number=number or "–")
    birth = _date(text(row, "00100030"))
    return told + (words.born.format(birth) if birth else "")


def _study(words: _Words, row: Row) -> tuple[str, ...]:
    described = text(row, "00081030") or words.nameless
    where = ", ".join(map(str, _values(row, "00080054")))
    label = words.open.format(f"{described}, {_date(text(row, '00080020'))}")
    opened = f'<a href="{escape(viewer_url([text(row, "0020000D")]))}">{escape(label)}</a>'
    done = f"<time>{escape(_date(text(row, '00080020')))}</time>"
    facts = ", ".join(map(str, _values(row, "00080061"))), text(row, "00080050"), where
    return (escape(described), done, *map(escape, facts), opened)


def _values(row: Row, tag: str) -> list[Any]:
    return [value for value in row.get(tag, {}).get("Value") or () if value]


def _name(row: Row) -> str:
    """Return a person's name as people write it: family name, comma, given names (PS3.5 6.2.1)."""
    for value in _values(row, "00100010"):
        group = next((value[key] for key in ("Alphabetic", "Ideographic", "Phonetic") if value.get(key)), "")
        family, *given = group.split("^")
        return ", ".join(filter(None, (family, " ".join(filter(None, given[:2])))))
    return "–"


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text

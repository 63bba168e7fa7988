"""Who lives in the province: invented people, their health card numbers, and their numbers in each region."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

REGIONS: Final = ("NEODIN", "SWODIN", "GTAWEST", "HDIRS")

HEALTH_CARD_ISSUER: Final = "TEST-HCN"
HEALTH_CARD_OID: Final = "2.25.247030526821260662801140301363713713700"
"""The issuer of every health card number here is our own: none of them can belong to anyone."""

LATIN_1: Final = ("ISO_IR 100",)
UTF_8: Final = ("ISO_IR 192",)

_FRENCH_FAMILIES: Final = (
    "Côté", "Bélanger", "Gagné-Lévesque", "Thériault", "Desrochers", "Lécuyer", "Beauséjour", "Éthier", "Saint-Amour",
    "Châtelain", "Guérette", "Brûlé", "Lefrançois", "Tremblay", "Noël", "Séguin", "Ménard", "Hébert", "Gélinas",
    "Létourneau", "Bédard", "L'Écuyer", "D'Aoust", "Prévost", "Crépeau", "Lanoüe",
)  # fmt: skip
_FRENCH_WOMEN: Final = (
    "Thérèse", "Marie-Ève", "Geneviève", "Hélène", "Josée", "Andrée", "Noémie", "Françoise", "Zoé", "Chloé",
)  # fmt: skip
_FRENCH_MEN: Final = (
    "François", "André", "Jérôme", "Benoît", "Rémi", "Jean-Noël", "Stéphane", "Frédéric", "Gaël", "Raphaël",
)  # fmt: skip
_ENGLISH_FAMILIES: Final = (
    "MacDonald", "Thompson", "O'Brien", "Fraser", "Campbell", "Kowalski", "Singh", "Patel", "Nguyen", "Rossi",
    "Ferreira", "Okafor", "Haddad", "Friesen", "Sinclair", "McIntyre", "Whitfield", "Abernathy", "Novak",
    "Da Conceição", "Müller", "Lindström", "Okimaw", "Beardy", "Stewart", "Van der Meer",
)  # fmt: skip
_ENGLISH_WOMEN: Final = (
    "Margaret", "Susan", "Emily", "Priya", "Fatima", "Olivia", "Heather", "Anneke", "Grace", "Linh",
)  # fmt: skip
_ENGLISH_MEN: Final = (
    "James", "Robert", "William", "Arjun", "Omar", "Liam", "Duncan", "Pieter", "Samuel", "Minh",
)  # fmt: skip

_WITH_SCRIPT: Final[Sequence[tuple[str, str, tuple[str, ...]]]] = (
    ("Wapachee^Mary=ᐙᐸᒌ^ᒣᕆ", "F", UTF_8),
    ("Nakogee^Thomas=ᓇᑯᒌ^ᑖᒪᔅ", "M", UTF_8),
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", "M", ("", "ISO 2022 IR 87")),
    ("Hong^Gildong=洪^吉洞=홍^길동", "M", ("", "ISO 2022 IR 149")),
    ("Wang^XiaoDong=王^小东", "M", ("GB18030",)),
    ("Shevchenko^Oksana=Шевченко^Оксана", "F", ("ISO 2022 IR 100", "ISO 2022 IR 144")),
    ("Люксембург^Ганна", "F", ("ISO_IR 144",)),
    ("Papadopoulou^Eleni=Παπαδοπούλου^Ελένη", "F", ("ISO 2022 IR 100", "ISO 2022 IR 126")),
    ("Tanaka^Hanako=田中^花子", "F", UTF_8),
    ("Chen^Mei-Ling=陳^美玲", "F", UTF_8),
)
"""Names with a second script, and the Specific Character Set (0008,0005) that a scanner writes for them."""

PHYSICIANS: Final = (
    "Lalonde^Geneviève^^Dr", "Ouellette^Martin^^Dr", "Fitzgerald^Anne^^Dr", "Bains^Harpreet^^Dr",
    "Grégoire^Étienne^^Dr", "Mackenzie^Ross^^Dr", "Adeyemi^Folake^^Dr", "Léger^Marie-Josée^^Dr",
    "Sutherland^Iain^^Dr", "Pham^Thanh^^Dr",
)  # fmt: skip
ASCII_PHYSICIANS: Final = tuple(name for name in PHYSICIANS if name.isascii())


@dataclass(frozen=True, slots=True)
class Person:
    """One patient, as the province knows them.

    Attributes:
        key: our own short name for them, such as P01.
        name: Person Name with up to three component groups.
        sex: F, M or O.
        birth_date: DA.
        health_card_number: ten digits under HEALTH_CARD_ISSUER.
        medical_record_numbers: Patient ID per region.
        character_set: what their own name needs; empty when any region's default holds it.
    """

    key: str
    name: str
    sex: str
    birth_date: str
    health_card_number: str
    medical_record_numbers: Mapping[str, str]
    character_set: tuple[str, ...] = ()


def uid(*parts: object) -> str:
    """A UUID-derived UID (PS3.5 B.2) that depends on nothing but its parts."""
    digest = bytearray(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80  # version 8: custom
    digest[8] = digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest)}"


def health_card_number(serial: int) -> str:
    """Ten digits with a Luhn check digit; the leading zero keeps them out of what is ever issued."""
    digits = f"0{serial:08d}"
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return f"{digits}{-total % 10}"


def _medical_record_numbers(rng: random.Random) -> dict[str, str]:
    """One number per region, each in the region's own fashion."""
    return {
        "NEODIN": f"N{rng.randrange(10**6, 10**7)}",
        "SWODIN": f"{rng.randrange(10**7, 10**8)}",
        "GTAWEST": f"GW-{rng.randrange(10**5, 10**6)}",
        "HDIRS": f"{rng.randrange(10**6, 10**7):08d}",
    }


def _birth_date(rng: random.Random) -> str:
    return f"{rng.randrange(1934, 2006)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}"


def people(seed: int, count: int) -> list[Person]:
    """The province's patients; every fourth or so writes their name in a second script when there are few."""
    rng = random.Random(f"people/{seed}")
    names: list[tuple[str, str, tuple[str, ...]]] = []
    scripts = _WITH_SCRIPT
    latin = count - len(scripts) if count > 3 * len(scripts) else max(count - 6, 3)
    for n in range(latin):
        woman = n % 2 == 0
        if n % 5 < 3:
            family, given = _FRENCH_FAMILIES[n % 26], (_FRENCH_WOMEN if woman else _FRENCH_MEN)[(n * 7 + n // 10) % 10]
        else:
            family, given = (
                _ENGLISH_FAMILIES[n % 26],
                (_ENGLISH_WOMEN if woman else _ENGLISH_MEN)[(n * 3 + n // 10) % 10],
            )
        middle = rng.choice(("", "", "^A", "^J", "^Marie" if woman else "^Joseph"))
        names.append((f"{family}^{given}{middle}", "F" if woman else "M", ()))
    names += scripts[: count - latin]
    persons = [
        Person(
            f"P{n:02d}",
            name,
            sex,
            _birth_date(rng),
            health_card_number(rng.randrange(10**8)),
            _medical_record_numbers(rng),
            character_set,
        )
        for n, (name, sex, character_set) in enumerate(names, 1)
    ]
    # Two people, two regions, one Patient ID: only the issuer tells them apart.
    numbers = {**persons[3].medical_record_numbers, "HDIRS": persons[4].medical_record_numbers["SWODIN"]}
    persons[3] = replace(persons[3], medical_record_numbers=numbers)
    return persons

"""What is searched for and what is retrieved, in DICOM's terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

Attribute: TypeAlias = dict[str, Any]
"""One attribute of the DICOM JSON Model: ``vr`` and at most one of Value, BulkDataURI, InlineBinary."""

Row: TypeAlias = dict[str, Attribute]
"""One Data Set in the DICOM JSON Model (PS3.18 F.2): eight upper-case hexadecimal digits to attribute."""

TagPath: TypeAlias = tuple[str, ...]
"""An attribute's tag, behind the tags of the sequences that hold it: ``("00400275", "00401001")``."""


class Level(StrEnum):
    """Query/Retrieve Level (PS3.4 C.3)."""

    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Query:
    """One Search transaction (PS3.18 10.6), whatever front it came through.

    Attributes:
        level: what the rows are.
        study: Study Instance UID that the resource path names, if any.
        series: Series Instance UID that the resource path names, if any.
        keys: matching keys as the caller wrote them, each value in the C-FIND notation of PS3.4 C.2.2.2
            (lists of UIDs separated by a backslash); an empty value is universal matching.
        include: attributes asked for beside those the level requires.
        include_all: ``includefield=all`` was given.
        offset: matches to leave out from the front of the ordered list.
        limit: rows wanted at the most; None for no wish.
        fuzzy: person names may match by sound and spelling.
        bare: regions are asked for the keys and ``include`` only, not for what PS3.18 requires of an answer.
        warnings: what the caller should hear about the query itself, such as an unknown parameter.
        utc_offset: minutes east of Greenwich in which the date and time keys are meant, the caller's
            Timezone Offset From UTC (PS3.4 C.2.2.2.5); None where the caller names none.
        every_value: a key of several values wants all of them (Multiple Value Matching, PS3.4 C.2.2.2.8);
            without it any one will do, which the standard leaves open and user agents mean.
        separate_times: a range of dates and one of times are two keys, as in a C-FIND without combined datetime
            matching (PS3.4 C.2.2.2.5.4), and not one range of instants as on the web.
    """

    level: Level
    study: str | None = None
    series: str | None = None
    keys: Mapping[TagPath, str] = field(default_factory=dict)
    include: frozenset[TagPath] = frozenset()
    include_all: bool = False
    offset: int = 0
    limit: int | None = None
    fuzzy: bool = False
    bare: bool = False
    warnings: tuple[str, ...] = ()
    utc_offset: int | None = None
    every_value: bool = False
    separate_times: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """What a Retrieve transaction asks for, at STUDY level or below (PS3.4 C.4.2).

    Instances without a series are not a selection: hierarchical retrieve names every level above.
    """

    study: str
    series: str | None = None
    instances: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        """The Query/Retrieve Level its Identifier must have."""
        if self.instances:
            return Level.IMAGE
        return Level.SERIES if self.series else Level.STUDY

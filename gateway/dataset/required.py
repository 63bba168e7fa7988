"""Which attributes a search must return at each level (PS3.18 Tables 10.6.3-3 to 10.6.3-5), as data."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.dataset.query import Level, TagPath

UNIQUE_KEYS: Final[Mapping[Level, str]] = MappingProxyType(
    {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.IMAGE: "00080018"}
)
"""Unique Key of each level (PS3.4 C.6.2.1)."""

REQUIRED: Final[Mapping[Level, tuple[TagPath, ...]]] = MappingProxyType(
    {
        Level.STUDY: (
            ("00080020",),  # Study Date
            ("00080030",),  # Study Time
            ("00080050",),  # Accession Number
            ("00080061",),  # Modalities in Study
            ("00080090",),  # Referring Physician's Name
            ("00100010",),  # Patient's Name
            ("00100020",),  # Patient ID
            ("00100030",),  # Patient's Birth Date
            ("00100040",),  # Patient's Sex
            ("0020000D",),  # Study Instance UID
            ("00200010",),  # Study ID
            ("00201206",),  # Number of Study Related Series
            ("00201208",),  # Number of Study Related Instances
        ),
        Level.SERIES: (
            ("00080060",),  # Modality
            ("0008103E",),  # Series Description
            ("0020000E",),  # Series Instance UID
            ("00200011",),  # Series Number
            ("00201209",),  # Number of Series Related Instances
            ("00400244",),  # Performed Procedure Step Start Date
            ("00400245",),  # Performed Procedure Step Start Time
            ("00400275", "00400009"),  # Request Attributes Sequence > Scheduled Procedure Step ID
            ("00400275", "00401001"),  # Request Attributes Sequence > Requested Procedure ID
        ),
        Level.IMAGE: (
            ("00080016",),  # SOP Class UID
            ("00080018",),  # SOP Instance UID
            ("00200013",),  # Instance Number
            ("00280008",),  # Number of Frames
            ("00280010",),  # Rows
            ("00280011",),  # Columns
            ("00280100",),  # Bits Allocated
        ),
    }
)
"""What a region is asked for: what an archive has in its index, since many read a file per row for anything else.

The rest of these tables (``SAID_HERE``) is the gateway's own to say.
"""

SAID_HERE: Final = frozenset({"00080054", "00080056", "00080201", "00081190"})
"""Retrieve AE Title, Instance Availability, Timezone Offset From UTC, Retrieve URL: of the answer, not the region's."""

OPTIONAL: Final[Mapping[Level, tuple[TagPath, ...]]] = MappingProxyType(
    {
        Level.STUDY: (
            ("00080051", "00400031"),  # Issuer of Accession Number Sequence > Local Namespace Entity ID
            ("00080051", "00400032"),  # > Universal Entity ID
            ("00080051", "00400033"),  # > Universal Entity ID Type
            ("00080062",),  # SOP Classes in Study
            ("00081030",),  # Study Description
            ("00081032", "00080100"),  # Procedure Code Sequence > Code Value
            ("00081032", "00080102"),
            ("00081032", "00080104"),
            ("00081060",),  # Name of Physician(s) Reading Study
            ("00081080",),  # Admitting Diagnoses Description
            ("00100021",),  # Issuer of Patient ID
            ("00100032",),  # Patient's Birth Time
            ("00101000",),  # Other Patient IDs
            ("00101001",),  # Other Patient Names
            ("00101002", "00100020"),  # Other Patient IDs Sequence > Patient ID
            ("00101002", "00100021"),  # > Issuer of Patient ID
            ("00101010",),  # Patient's Age
            ("00101020",),  # Patient's Size
            ("00101030",),  # Patient's Weight
            ("00102160",),  # Ethnic Group
            ("00102180",),  # Occupation
            ("001021B0",),  # Additional Patient History
            ("00104000",),  # Patient Comments
            ("00201070",),  # Other Study Numbers
        ),
        Level.SERIES: (
            ("00080021",),  # Series Date
            ("00080031",),  # Series Time
            ("00080070",),  # Manufacturer
            ("00080080",),  # Institution Name
            ("00081010",),  # Station Name
            ("00081040",),  # Institutional Department Name
            ("00081050",),  # Performing Physician's Name
            ("00081070",),  # Operators' Name
            ("00081090",),  # Manufacturer's Model Name
            ("00180015",),  # Body Part Examined
            ("00181030",),  # Protocol Name
            ("00185100",),  # Patient Position
            ("00200060",),  # Laterality
        ),
        Level.IMAGE: (
            ("00080008",),  # Image Type
            ("00083002",),  # Available Transfer Syntax UID
            ("00080022",),  # Acquisition Date
            ("00080023",),  # Content Date
            ("00080032",),  # Acquisition Time
            ("00080033",),  # Content Time
            ("00200012",),  # Acquisition Number
            ("00200032",),  # Image Position (Patient)
            ("00200037",),  # Image Orientation (Patient)
            ("00201041",),  # Slice Location
            ("00280002",),  # Samples per Pixel
            ("00280004",),  # Photometric Interpretation
            ("0040A491",),  # Completion Flag
            ("0040A493",),  # Verification Flag
        ),
    }
)
"""What ``includefield=all`` adds: Optional Keys of PS3.4 C.6 that archives commonly have."""

NEVER_REQUESTED: Final = SAID_HERE | {"00080005", "00080052"}
"""What an Identifier does not ask for (PS3.4 C.4.1.1.3): said by the gateway, or by the response itself."""

_ABOVE_SERIES: Final = frozenset(path[0] for table in (REQUIRED, OPTIONAL) for path in table[Level.STUDY])
_ABOVE_IMAGE: Final = _ABOVE_SERIES | {path[0] for table in (REQUIRED, OPTIONAL) for path in table[Level.SERIES]}

UPPER_LEVELS: Final[Mapping[Level, frozenset[str]]] = MappingProxyType(
    {Level.STUDY: frozenset(), Level.SERIES: _ABOVE_SERIES, Level.IMAGE: _ABOVE_IMAGE}
)
"""Attributes of the levels above, which a hierarchical query must not name (PS3.4 C.4.1.2.1)."""

_OF_IMAGE: Final = frozenset(path[0] for table in (REQUIRED, OPTIONAL) for path in table[Level.IMAGE])

LOWER_LEVELS: Final[Mapping[Level, frozenset[str]]] = MappingProxyType(
    {
        Level.STUDY: (_ABOVE_IMAGE | _OF_IMAGE) - _ABOVE_SERIES,
        Level.SERIES: _OF_IMAGE - _ABOVE_IMAGE,
        Level.IMAGE: frozenset(),
    }
)
"""Attributes of the levels below, which an answer leaves out though they are asked for (PS3.18 10.6.3.3)."""

"""What a rendered image shall be like (PS3.18 8.3.5): plain values, so that a request can be handed to a worker."""

from dataclasses import dataclass
from typing import Final

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"
JP2: Final = "image/jp2"
RENDERED_TYPES: Final = (JPEG, GIF, PNG, JP2)
"""Media types of a rendered image, the default first (PS3.18 Table 8.7.4-1)."""

ANNOTATIONS: Final = frozenset({"patient", "technique"})
ICC_PROFILES: Final = frozenset({"no", "yes", "srgb", "adobergb", "rommrgb"})
WINDOW_FUNCTIONS: Final = frozenset({"linear", "linear-exact", "sigmoid"})


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window (PS3.18 8.3.5.1.4, PS3.3 C.11.2.1.2).

    Attributes:
        function: linear, linear-exact or sigmoid.
    """

    center: float
    width: float
    function: str = "linear"


@dataclass(frozen=True, slots=True)
class Viewport:
    """What part of the image is shown and how large (PS3.18 8.3.5.1.3).

    Attributes:
        width: pixels of the picture at the most; None where only the height is limited, or nothing.
        height: likewise.
        left: first column of the region shown, from 0.
        top: its first row.
        region_width: its columns, to the right edge where None; flipped left to right where negative.
        region_height: its rows, to the lower edge where None; upside down where negative.
    """

    width: int | None = None
    height: int | None = None
    left: float = 0
    top: float = 0
    region_width: float | None = None
    region_height: float | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """One rendering.

    Attributes:
        media_type: one of ``RENDERED_TYPES``.
        quality: 1 to 100, for JPEG and JPEG 2000.
        annotation: some of ``ANNOTATIONS``, burnt in. They show who the patient is: never for a thumbnail.
        icc_profile: one of ``ICC_PROFILES``; empty gives a colour image the profile it has, if any.
        character_set: what (0008,0005) means where it is absent, for the annotation.
    """

    media_type: str = JPEG
    viewport: Viewport = Viewport()
    window: Window | None = None
    quality: int = 90
    annotation: frozenset[str] = frozenset()
    icc_profile: str = ""
    character_set: str = "ISO_IR 6"

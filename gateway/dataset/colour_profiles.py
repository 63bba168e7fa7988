"""ICC profiles of the colour spaces that PS3.18 8.3.5.1.5 names, made from their published definitions.

Imports Pillow: for worker processes.
"""

from collections.abc import Mapping
from functools import cache
from io import BytesIO
from struct import pack
from types import MappingProxyType
from typing import Final, NamedTuple

from PIL import ImageCms
from PIL.Image import Image

from gateway.errors import DatasetError


class _Space(NamedTuple):
    """A colour space: XYZ of its primaries under D50, and its gamma."""

    name: str
    primaries: tuple[tuple[float, float, float], ...]
    gamma: float


_SPACES: Final[Mapping[str, _Space]] = MappingProxyType(
    {
        "adobergb": _Space(
            "Adobe RGB (1998) compatible",
            ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
            2.19921875,
        ),
        "rommrgb": _Space(
            "ROMM RGB (ISO 22028-2)",
            ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
            1.8,
        ),
    }
)
_D50: Final = (0.9642, 1.0, 0.8249)
_PADDED: Final = 4


def profile(space: str) -> bytes:
    """Return the ICC profile of srgb, adobergb or rommrgb."""
    return _matrix_profile(_SPACES[space]) if space in _SPACES else _srgb()


@cache
def _srgb() -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + pack(">3l", *(round(value * 65536) for value in values))


@cache
def _matrix_profile(space: _Space) -> bytes:
    """Return a display profile of three primaries and a gamma (ICC.1:2001-04, 6.3.3)."""
    name = space.name.encode("ascii")
    described = b"desc" + bytes(4) + pack(">L", len(name) + 1) + name + b"\0" + bytes(4 + 4 + 2 + 1 + 67)
    curve = b"curv" + bytes(4) + pack(">LH", 1, round(space.gamma * 256))
    tags = {
        b"desc": described,
        b"cprt": b"text" + bytes(4) + b"No copyright, use freely\0",
        b"wtpt": _xyz(_D50),
        **dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, space.primaries), strict=True)),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, data = [pack(">L", len(tags))], b""
    start = 128 + 4 + 12 * len(tags)
    for signature, value in tags.items():
        table.append(signature + pack(">LL", start + len(data), len(value)))
        data += value + bytes(-len(value) % _PADDED)
    size = start + len(data)
    header = pack(">LLL4s4s4s12s4s", size, 0, 0x02100000, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp")
    header += bytes(128 - 16 - len(header) - 12) + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + b"".join(table) + data


def converted(picture: Image, source: bytes, space: str) -> Image:
    """Return an RGB picture in another colour space.

    Args:
        picture: as it is.
        source: its ICC profile; empty for sRGB.
        space: srgb, adobergb or rommrgb.

    Raises:
        DatasetError: its ICC profile cannot be used.
    """
    try:
        result = ImageCms.profileToProfile(
            picture,
            ImageCms.ImageCmsProfile(BytesIO(source or profile("srgb"))),
            ImageCms.ImageCmsProfile(BytesIO(profile(space))),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        raise DatasetError("the image's ICC Profile cannot be used") from None
    return result or picture

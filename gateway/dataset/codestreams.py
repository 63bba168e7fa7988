"""What the web calls a frame in each Transfer Syntax, and which can be made of which (PS3.18 8.7.3)."""

from collections.abc import Mapping
from typing import Final

from gateway.dataset.image import ImageDescription
from gateway.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LE,
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    HEVC_MAIN,
    HEVC_MAIN_10,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    IMPLICIT_VR_LE,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_2000_MC,
    JPEG_2000_MC_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
    MPEG2_HIGH,
    MPEG2_MAIN,
    MPEG4_BD_41,
    MPEG4_HIGH_41,
    MPEG4_HIGH_42_2D,
    MPEG4_HIGH_42_3D,
    MPEG4_STEREO_42,
    RLE_LOSSLESS,
    transfer_syntax,
)

OCTET_STREAM: Final = "application/octet-stream"

MEDIA_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys((JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1), "image/jpeg"),
    **dict.fromkeys((JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS), "image/jls"),
    **dict.fromkeys((JPEG_2000_LOSSLESS, JPEG_2000), "image/jp2"),
    **dict.fromkeys((JPEG_2000_MC_LOSSLESS, JPEG_2000_MC), "image/jpx"),
    **dict.fromkeys((HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K), "image/jphc"),
    **dict.fromkeys((JPEG_XL_LOSSLESS, JPEG_XL_RECOMPRESSION, JPEG_XL), "image/jxl"),
    RLE_LOSSLESS: "image/dicom-rle",
    **dict.fromkeys((MPEG2_MAIN, MPEG2_HIGH), "video/mpeg2"),
    **dict.fromkeys((MPEG4_HIGH_41, MPEG4_BD_41, MPEG4_HIGH_42_2D, MPEG4_HIGH_42_3D, MPEG4_STEREO_42), "video/mp4"),
    **dict.fromkeys((HEVC_MAIN, HEVC_MAIN_10), "video/H265"),
}
"""Media type of a codestream (PS3.18 Tables 8.7.3-3 to 8.7.3-5); all else is application/octet-stream."""

NATIVE: Final = frozenset({IMPLICIT_VR_LE, EXPLICIT_VR_LE, EXPLICIT_VR_BE, DEFLATED_EXPLICIT_VR_LE})
"""Transfer Syntaxes in which pixels stand as they are."""

DECODABLE: Final = frozenset(
    {
        *(*NATIVE, ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME, RLE_LOSSLESS),
        *(JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS),
        *(JPEG_2000_LOSSLESS, JPEG_2000, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K),
        *(JPEG_XL_LOSSLESS, JPEG_XL_RECOMPRESSION, JPEG_XL),
    }
)
"""Transfer Syntaxes whose pixels we can read."""

TRANSCODABLE_TO: Final = frozenset(
    {
        *(EXPLICIT_VR_LE, DEFLATED_EXPLICIT_VR_LE, JPEG_LS_LOSSLESS, HTJ2K_LOSSLESS),
        *(JPEG_2000_LOSSLESS, JPEG_LOSSLESS_SV1, RLE_LOSSLESS, JPEG_BASELINE),
    }
)
"""What we can make of anything decodable that fits; only JPEG Baseline loses information."""

_ALLOCATED: Final[Mapping[str, frozenset[int]]] = {
    RLE_LOSSLESS: frozenset({8, 16, 32}),
    **dict.fromkeys((JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS), frozenset({8, 16})),
    JPEG_BASELINE: frozenset({8}),
}


def media_type(transfer_syntax_uid: str) -> str:
    """Return the media type of a frame (PS3.18 8.7.3.3)."""
    return MEDIA_TYPES.get(transfer_syntax_uid, OCTET_STREAM)


def can_become(description: ImageDescription | None, source_uid: str, target_uid: str) -> bool:
    """Whether an instance, its pixels described or None without any, can be re-encoded so (PS3.5 section 8).

    Staying as it is always can. An instance without pixels changes between native Transfer Syntaxes only.
    """
    if source_uid == target_uid:
        return True
    if description is None:
        return target_uid in NATIVE & TRANSCODABLE_TO and not transfer_syntax(source_uid).encapsulated
    if source_uid not in DECODABLE or target_uid not in TRANSCODABLE_TO:
        return False
    return target_uid in NATIVE or _has_room(target_uid, description)


def _has_room(codec: str, description: ImageDescription) -> bool:
    """Whether a codec takes such pixels."""
    indexed = description.photometric_interpretation == "PALETTE COLOR"
    if codec == JPEG_BASELINE and (description.signed or indexed):
        return False
    integers = description.bits_allocated in _ALLOCATED[codec] and not description.is_float
    return integers and description.samples_per_pixel in {1, 3}

"""Transfer Syntaxes (PS3.5 section 10, PS3.6 Annex A): what their UIDs say about the bytes."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

IMPLICIT_VR_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LE: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LE: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BE: Final = "1.2.840.10008.1.2.2"
ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_IMAGE_FRAME: Final = "1.2.840.10008.1.2.8.1"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS: Final = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"
JPEG_2000_MC_LOSSLESS: Final = "1.2.840.10008.1.2.4.92"
JPEG_2000_MC: Final = "1.2.840.10008.1.2.4.93"
MPEG2_MAIN: Final = "1.2.840.10008.1.2.4.100"
MPEG2_HIGH: Final = "1.2.840.10008.1.2.4.101"
MPEG4_HIGH_41: Final = "1.2.840.10008.1.2.4.102"
MPEG4_BD_41: Final = "1.2.840.10008.1.2.4.103"
MPEG4_HIGH_42_2D: Final = "1.2.840.10008.1.2.4.104"
MPEG4_HIGH_42_3D: Final = "1.2.840.10008.1.2.4.105"
MPEG4_STEREO_42: Final = "1.2.840.10008.1.2.4.106"
HEVC_MAIN: Final = "1.2.840.10008.1.2.4.107"
HEVC_MAIN_10: Final = "1.2.840.10008.1.2.4.108"
JPEG_XL_LOSSLESS: Final = "1.2.840.10008.1.2.4.110"
JPEG_XL_RECOMPRESSION: Final = "1.2.840.10008.1.2.4.111"
JPEG_XL: Final = "1.2.840.10008.1.2.4.112"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K: Final = "1.2.840.10008.1.2.4.203"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How a Data Set is encoded (PS3.5 Annex A).

    Attributes:
        uid: its UID.
        name: its name in PS3.6 Table A-1, shortened.
        explicit: whether elements carry their VR.
        little_endian: the byte order.
        deflated: whether the whole Data Set is deflated.
        encapsulated: whether Pixel Data is a sequence of fragments.
        lossy: whether the codec may lose information.
    """

    uid: str
    name: str
    explicit: bool = True
    little_endian: bool = True
    deflated: bool = False
    encapsulated: bool = False
    lossy: bool = False


def _encapsulated(uid: str, name: str, *, lossy: bool = False) -> TransferSyntax:
    return TransferSyntax(uid, name, encapsulated=True, lossy=lossy)


TRANSFER_SYNTAXES: Final = MappingProxyType(
    {
        syntax.uid: syntax
        for syntax in (
            TransferSyntax(IMPLICIT_VR_LE, "Implicit VR Little Endian", explicit=False),
            TransferSyntax(EXPLICIT_VR_LE, "Explicit VR Little Endian"),
            TransferSyntax(DEFLATED_EXPLICIT_VR_LE, "Deflated Explicit VR Little Endian", deflated=True),
            TransferSyntax(EXPLICIT_VR_BE, "Explicit VR Big Endian", little_endian=False),
            _encapsulated(ENCAPSULATED_UNCOMPRESSED, "Encapsulated Uncompressed Explicit VR Little Endian"),
            _encapsulated(DEFLATED_IMAGE_FRAME, "Deflated Image Frame Compression"),
            _encapsulated(JPEG_BASELINE, "JPEG Baseline (Process 1)", lossy=True),
            _encapsulated(JPEG_EXTENDED, "JPEG Extended (Process 2 & 4)", lossy=True),
            _encapsulated(JPEG_LOSSLESS, "JPEG Lossless (Process 14)"),
            _encapsulated(JPEG_LOSSLESS_SV1, "JPEG Lossless (Process 14, Selection Value 1)"),
            _encapsulated(JPEG_LS_LOSSLESS, "JPEG-LS Lossless"),
            _encapsulated(JPEG_LS_NEAR_LOSSLESS, "JPEG-LS Near-Lossless", lossy=True),
            _encapsulated(JPEG_2000_LOSSLESS, "JPEG 2000 (Lossless Only)"),
            _encapsulated(JPEG_2000, "JPEG 2000", lossy=True),
            _encapsulated(JPEG_2000_MC_LOSSLESS, "JPEG 2000 Part 2 Multi-component (Lossless Only)"),
            _encapsulated(JPEG_2000_MC, "JPEG 2000 Part 2 Multi-component", lossy=True),
            _encapsulated(MPEG2_MAIN, "MPEG2 Main Profile / Main Level", lossy=True),
            _encapsulated(MPEG2_HIGH, "MPEG2 Main Profile / High Level", lossy=True),
            _encapsulated(MPEG4_HIGH_41, "MPEG-4 AVC/H.264 High Profile / Level 4.1", lossy=True),
            _encapsulated(MPEG4_BD_41, "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", lossy=True),
            _encapsulated(MPEG4_HIGH_42_2D, "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", lossy=True),
            _encapsulated(MPEG4_HIGH_42_3D, "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", lossy=True),
            _encapsulated(MPEG4_STEREO_42, "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", lossy=True),
            _encapsulated(HEVC_MAIN, "HEVC/H.265 Main Profile / Level 5.1", lossy=True),
            _encapsulated(HEVC_MAIN_10, "HEVC/H.265 Main 10 Profile / Level 5.1", lossy=True),
            _encapsulated(JPEG_XL_LOSSLESS, "JPEG XL Lossless"),
            _encapsulated(JPEG_XL_RECOMPRESSION, "JPEG XL JPEG Recompression", lossy=True),
            _encapsulated(JPEG_XL, "JPEG XL", lossy=True),
            _encapsulated(HTJ2K_LOSSLESS, "High-Throughput JPEG 2000 (Lossless Only)"),
            _encapsulated(HTJ2K_LOSSLESS_RPCL, "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)"),
            _encapsulated(HTJ2K, "High-Throughput JPEG 2000", lossy=True),
            _encapsulated(RLE_LOSSLESS, "RLE Lossless"),
        )
    }
)
"""What PS3.6 Annex A registers, by UID."""


def transfer_syntax(uid: str) -> TransferSyntax:
    """Return what is known of a Transfer Syntax UID (PS3.5 Annex A).

    One that is not registered here, private ones included, is taken for what every Transfer Syntax since
    1995 is: Explicit VR Little Endian with encapsulated Pixel Data, and possibly lossy.
    """
    known = TRANSFER_SYNTAXES.get(uid)
    return known or TransferSyntax(uid, uid, encapsulated=True, lossy=True)

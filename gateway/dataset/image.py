"""What a codec must know of an image beside its bytes (PS3.3 C.7.6.3)."""

from dataclasses import dataclass
from typing import Final

from gateway.dataset.transfer_syntax import DEFLATED_IMAGE_FRAME, ENCAPSULATED_UNCOMPRESSED, transfer_syntax

PIXEL_DATA: Final = "7FE00010"
FLOAT_PIXEL_DATA: Final = "7FE00008"
DOUBLE_FLOAT_PIXEL_DATA: Final = "7FE00009"
PIXELS: Final = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA})
"""The attributes that hold pixels, of which an image has one."""

YBR_FULL: Final = "YBR_FULL"
YBR_FULL_422: Final = "YBR_FULL_422"


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """The Image Pixel Description and how the Pixel Data is encoded.

    Attributes:
        element: which of the three attributes holds the pixels.
        vr: its VR.
    """

    transfer_syntax_uid: str
    rows: int
    columns: int
    samples_per_pixel: int = 1
    photometric_interpretation: str = "MONOCHROME2"
    planar_configuration: int = 0
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    pixel_representation: int = 0
    element: str = PIXEL_DATA
    vr: str = "OW"

    @property
    def samples_per_frame(self) -> int:
        """Samples of a native frame; of each pair of pixels in YBR_FULL_422 there are four (PS3.3 C.7.6.3.1.2)."""
        if self.photometric_interpretation == YBR_FULL_422 and not self.is_coded:
            return self.rows * self.columns * 2
        return self.rows * self.columns * self.samples_per_pixel

    @property
    def frame_bits(self) -> int:
        """Bits of a native frame."""
        return self.samples_per_frame * self.bits_allocated

    @property
    def frame_bytes(self) -> int:
        """Bytes of a native frame that stands alone."""
        return (self.frame_bits + 7) // 8

    @property
    def encapsulated(self) -> bool:
        """Whether Pixel Data is a sequence of fragments."""
        return transfer_syntax(self.transfer_syntax_uid).encapsulated

    @property
    def is_coded(self) -> bool:
        """Whether frames are codestreams rather than pixels as they are, deflated at the most."""
        return self.encapsulated and self.transfer_syntax_uid not in {ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME}

    @property
    def signed(self) -> bool:
        """Whether pixels are two's complement integers."""
        return self.pixel_representation == 1

    @property
    def is_float(self) -> bool:
        """Whether pixels are floating point numbers."""
        return self.element != PIXEL_DATA

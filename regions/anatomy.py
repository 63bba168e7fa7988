"""Phantoms: a body as solids in millimetres, painted slice by slice.

Coordinates follow the patient (PS3.3 C.7.6.2.1.1): x grows to the left, y to the back; z grows to the feet
here, and is turned where positions are written. A later solid covers an earlier one. What a tissue is worth
(Hounsfield units, T1 signal, uptake) is the palette's affair, so one head serves CT and MR, one torso CT and PET.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Plane: TypeAlias = NDArray[np.float32]
Palette: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Solid:
    """A superellipsoid.

    Attributes:
        tissue: the key into the palette.
        centre: x, y, z in mm.
        radii: semi-axes in mm.
        turn: rotation in the axial plane, radians.
        lean: how far the centre moves in x and y per mm of z.
        ends: exponent along z: 2 is an ellipsoid, 8 nearly a cylinder.
        edge: width of the partial-volume rim in pixels.
    """

    tissue: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)
    ends: float = 2.0
    edge: float = 1.2

    def section(self, z: float) -> tuple[float, float, float, float] | None:
        """Centre and semi-axes of the cut at height z; None where there is none."""
        height = (z - self.centre[2]) / self.radii[2]
        if abs(height) >= 1:
            return None
        scale = (1 - abs(height) ** self.ends) ** (1 / self.ends)
        rise = z - self.centre[2]
        return (
            self.centre[0] + self.lean[0] * rise,
            self.centre[1] + self.lean[1] * rise,
            self.radii[0] * scale,
            self.radii[1] * scale,
        )


def mirrored(solids: Iterable[Solid]) -> list[Solid]:
    """Each solid and its mirror image on the other side of the body."""
    pairs: list[Solid] = []
    for solid in solids:
        x, y, z = solid.centre
        twin = Solid(
            solid.tissue, (-x, y, z), solid.radii, -solid.turn, (-solid.lean[0], solid.lean[1]), solid.ends, solid.edge
        )
        pairs += (solid, twin)
    return pairs


class Canvas:
    """A square axial plane on which sections are painted."""

    def __init__(self, matrix: int, field_of_view: float, *, wobble: float = 0.0, phase: float = 0.0) -> None:
        """Lay out the plane.

        Args:
            matrix: rows and columns.
            field_of_view: mm from edge to edge.
            wobble: mm by which outlines depart from the ideal, so that nothing is a perfect ellipse.
            phase: which departure.
        """
        self.matrix = matrix
        self.spacing = field_of_view / matrix
        axis = ((np.arange(matrix, dtype=np.float32) + 0.5) * self.spacing - field_of_view / 2).astype(np.float32)
        self.axis: Plane = axis
        x, y = axis[None, :], axis[:, None]
        self.margin = wobble + 2 * self.spacing
        k = np.float32(0.045)
        self.x: Plane = x + np.float32(wobble) * np.sin(k * y + phase) * np.cos(k * 0.7 * x + 2 * phase)
        self.y: Plane = y + np.float32(wobble) * np.sin(k * 0.9 * x + 1.7 * phase) * np.cos(k * 0.8 * y - phase)
        self.image: Plane = np.zeros((matrix, matrix), np.float32)

    def fill(self, value: float) -> None:
        """Give every pixel the same value."""
        self.image.fill(value)

    def box(self, x: float, y: float, reach: float) -> tuple[slice, slice] | None:
        """The part of the plane that lies within reach of a point; None outside of it."""
        half = self.matrix * self.spacing / 2
        reach += self.margin
        left, right = (int((x + sign * reach + half) / self.spacing) + (sign > 0) for sign in (-1, 1))
        top, bottom = (int((y + sign * reach + half) / self.spacing) + (sign > 0) for sign in (-1, 1))
        rows = slice(max(top, 0), min(bottom, self.matrix))
        columns = slice(max(left, 0), min(right, self.matrix))
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None

    def radius(self, box: tuple[slice, slice], cut: tuple[float, float, float, float], turn: float) -> Plane:
        """Distance from the cut's centre, 1 on its outline."""
        x, y, a, b = cut
        dx, dy = self.x[box] - np.float32(x), self.y[box] - np.float32(y)
        if turn:
            cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            dx, dy = dx * cosine + dy * sine, dy * cosine - dx * sine
        dx *= np.float32(1 / a)
        dy *= np.float32(1 / b)
        dx *= dx
        dy *= dy
        dx += dy
        result: Plane = np.sqrt(dx, out=dx)
        return result

    def paint(self, solid: Solid, z: float, value: float) -> None:
        """Cover what lies under the solid's section at height z."""
        cut = solid.section(z)
        if cut is None or min(cut[2:]) < 0.25 * self.spacing:
            return
        box = self.box(cut[0], cut[1], max(cut[2:]))
        if box is None:
            return
        cover = self.radius(box, cut, solid.turn)
        cover *= np.float32(-1)
        cover += np.float32(1)
        cover *= np.float32(min(cut[2:]) / (self.spacing * solid.edge))
        cover += np.float32(0.5)
        np.clip(cover, 0, 1, out=cover)
        part = self.image[box]
        cover *= np.float32(value) - part
        part += cover

    def paint_all(self, solids: Sequence[Solid], z: float, palette: Palette) -> None:
        """Paint in order; tissues that the palette leaves out stay as they are."""
        for solid in solids:
            value = palette.get(solid.tissue)
            if value is not None:
                self.paint(solid, z, value)


def noise_tile(rng: np.random.Generator, matrix: int, grain: int = 1) -> Plane:
    """Noise of unit variance whose grain is a few pixels, as a reconstruction kernel leaves it."""
    noise = rng.standard_normal((matrix, matrix), np.float32)
    for _ in range(grain):
        noise = noise + np.roll(noise, 1, 0)
        noise = noise + np.roll(noise, 1, 1)
        noise *= np.float32(0.5)
    noise /= np.float32(noise.std())
    return noise


def clouds(rng: np.random.Generator, rows: int, columns: int, slope: float) -> Plane:
    """Fractal texture of unit variance with a 1/f**slope spectrum: fibroglandular tissue, marrow, mottle."""
    spectrum = np.fft.rfft2(rng.standard_normal((rows, columns), np.float32))
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None] * rows, np.fft.rfftfreq(columns)[None, :] * rows)
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(spectrum / frequency**slope, s=(rows, columns)).astype(np.float32)
    field /= np.float32(field.std())
    return field

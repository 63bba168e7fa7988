"""Ultrasound clips: a sector of speckle over moving organs, as the scanner stores it (8 bits, burned-in scale)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from regions.anatomy import Plane, clouds

_LINES, _SAMPLES = 170, 320
"""Beams across the sector, samples along each."""
_HALF_ANGLE, _SKIN, _DEPTH = 0.66, 0.10, 1.0


class Sector:
    """The geometry of a curved probe: from beam and depth to rows and columns."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        scale = 0.93 * rows
        x = (np.arange(columns)[None, :] - columns / 2) / scale
        y = (np.arange(rows)[:, None] - 0.02 * rows) / scale + _SKIN * 0.9
        radius, angle = np.hypot(x, y), np.arctan2(x, y)
        inside = (radius > _SKIN) & (radius < _DEPTH) & (np.abs(angle) < _HALF_ANGLE)
        beam = ((angle / _HALF_ANGLE + 1) / 2 * (_LINES - 1)).astype(np.intp)
        sample = ((radius - _SKIN) / (_DEPTH - _SKIN) * (_SAMPLES - 1)).astype(np.intp)
        self.pixels = np.flatnonzero(inside)
        self.echoes = (beam * _SAMPLES + sample)[inside]
        angles = np.linspace(-_HALF_ANGLE, _HALF_ANGLE, _LINES, dtype=np.float32)[:, None]
        depths = np.linspace(_SKIN, _DEPTH, _SAMPLES, dtype=np.float32)[None, :]
        self.x: Plane = depths * np.sin(angles)
        self.y: Plane = depths * np.cos(angles)

    def scan(self, echo: Plane) -> NDArray[np.uint8]:
        """Convert beams to a picture, with the grey bar and the depth scale beside it."""
        picture = np.zeros((self.rows, self.columns), np.uint8)
        shades = np.clip(echo, 0, 255).astype(np.uint8)
        picture.ravel()[self.pixels] = shades.ravel()[self.echoes]
        bar = slice(self.rows // 12, self.rows // 2)
        ramp = np.linspace(255, 0, bar.stop - bar.start).astype(np.uint8)
        picture[bar, 2 : 2 + max(self.columns // 80, 2)] = ramp[:, None]
        ticks = np.linspace(self.rows * 0.02, self.rows * 0.95, 11).astype(int)
        for row in ticks:
            picture[row, -max(self.columns // 60, 2) :] = 200
        return picture


def _smooth(field: Plane, along: int, across: int) -> Plane:
    for shift, axis in ((1, 1),) * along + ((1, 0),) * across:
        field = (field + np.roll(field, shift, axis)) * np.float32(0.5)
    return field


def _speckle(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """In-phase and quadrature parts; their modulus is speckle, their turning its decorrelation."""
    first, second = (_smooth(rng.standard_normal((_LINES, _SAMPLES), np.float32), 2, 2) for _ in range(2))
    return first, second


def _ellipse(sector: Sector, x: float, y: float, a: float, b: float, turn: float = 0.0) -> Plane:
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    dx, dy = sector.x - np.float32(x), sector.y - np.float32(y)
    u, v = (dx * cosine + dy * sine) / np.float32(a), (dy * cosine - dx * sine) / np.float32(b)
    result: Plane = np.sqrt(u * u + v * v)
    return result


def _place(level: Plane, radius: Plane, inside: float, wall: float = 0.0) -> None:
    """Give an organ its echogenicity and, if it has one, its bright capsule."""
    level[radius < 1] = inside
    if wall:
        rim = np.abs(radius - 1) < 0.13
        level[rim] += np.float32(wall) * np.exp(-(((radius[rim] - 1) / 0.045) ** 2))


def _liver(sector: Sector, t: float, lesion: str) -> Plane:
    """Right upper quadrant: liver over the kidney, gallbladder, diaphragm; all move with the breath."""
    breath = 0.018 * np.sin(2 * np.pi * t)
    level = np.full(sector.x.shape, 62, np.float32)
    _place(level, _ellipse(sector, -0.05, 0.42 + breath, 0.62, 0.36, 0.1), 70, 20)
    for x, y, a, turn in (
        (-0.10, 0.40, 0.14, 0.5),
        (0.05, 0.50, 0.12, -0.4),
        (-0.22, 0.52, 0.10, 0.1),
        (0.16, 0.36, 0.08, 0.9),
    ):
        _place(level, _ellipse(sector, x, y + breath, a, 0.014, turn), 12, 26)
    _place(level, _ellipse(sector, 0.20, 0.56 + 1.2 * breath, 0.115, 0.055, 0.6), 3, 60)
    if lesion == "gallstone":
        _place(level, _ellipse(sector, 0.235, 0.60 + 1.2 * breath, 0.024, 0.016, 0.3), 215)
        shade = (np.abs(sector.x / sector.y - 0.39) < 0.045) & (sector.y > 0.615 + 1.2 * breath)
        level[shade] *= 0.15
    _place(level, _ellipse(sector, -0.20, 0.72 + 1.4 * breath, 0.20, 0.085, 0.2), 46, 26)
    _place(level, _ellipse(sector, -0.20, 0.72 + 1.4 * breath, 0.11, 0.035, 0.2), 128)
    if lesion == "cyst":
        _place(level, _ellipse(sector, -0.06, 0.33 + breath, 0.06, 0.055), 2, 40)
    dome = _ellipse(sector, 0.02, 0.30 + breath, 0.86, 0.60)
    level += 120 * np.exp(-(((dome - 1) / 0.016) ** 2)) * (sector.x < 0.25)
    result: Plane = level
    return result


def _heart(sector: Sector, t: float, lesion: str) -> Plane:
    """Apical four-chamber view: the ventricles squeeze, the valves open and shut."""
    squeeze = 0.5 - 0.5 * np.cos(2 * np.pi * t)
    strength = 0.10 if lesion == "poor function" else 0.26
    level = np.full(sector.x.shape, 58, np.float32)
    _place(level, _ellipse(sector, 0.03, 0.50, 0.40, 0.40), 78, 34)
    if lesion == "pericardial effusion":
        ring = _ellipse(sector, 0.03, 0.50, 0.44, 0.44)
        level[(ring < 1.0) & (ring > 0.91)] = 4
    shrink = 1 - strength * squeeze
    _place(level, _ellipse(sector, 0.13, 0.41, 0.105 * shrink, 0.225 * (1 - 0.12 * squeeze), -0.12), 5, 30)
    _place(level, _ellipse(sector, -0.13, 0.44, 0.085 * shrink, 0.185 * (1 - 0.10 * squeeze), 0.16), 6, 28)
    _place(level, _ellipse(sector, 0.13, 0.76, 0.115, 0.105 * (1 + 0.14 * squeeze), 0), 5, 28)
    _place(level, _ellipse(sector, -0.13, 0.75, 0.105, 0.10 * (1 + 0.14 * squeeze), 0), 6, 28)
    leaf = 0.065 * (1 - squeeze) + 0.012
    for x in (0.13, -0.13):
        for side in (-1, 1):
            _place(
                level,
                _ellipse(sector, x + side * leaf, 0.635 - 0.03 * (1 - squeeze), 0.052, 0.008, side * (1.2 - squeeze)),
                150,
            )
    return level


VIEWS = {"liver": _liver, "heart": _heart}


def clip(
    rng: np.random.Generator, rows: int, columns: int, frames: int, *, view: str, lesion: str = ""
) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of one clip, which loops."""
    sector = Sector(rows, columns)
    first, second = _speckle(rng)
    mottle = np.exp(0.16 * clouds(rng, _LINES, _SAMPLES, 1.2))
    gain = np.exp(-0.55 * np.linspace(0, 1, _SAMPLES, dtype=np.float32))[None, :] * 1.15
    for n in range(frames):
        t = n / frames
        turn = np.float32(2 * np.pi * t)
        modulus = np.hypot(first, np.cos(turn) * second + np.sin(turn) * np.roll(second, 7, 1))
        level = _smooth(VIEWS[view](sector, t, lesion), 1, 1) * mottle * gain
        yield sector.scan(level * (0.25 + 1.9 * np.sqrt(modulus)) - 6)


def colour_flow(grey: NDArray[np.uint8], t: float) -> NDArray[np.uint8]:
    """Lay a Doppler box over a frame: red towards the probe, blue away from it."""
    rows, columns = grey.shape
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    top, bottom, left, right = (int(f * s) for f, s in ((0.42, rows), (0.82, rows), (0.48, columns), (0.70, columns)))
    y, x = np.mgrid[top:bottom, left:right]
    u, v = (x - left) / (right - left) - 0.5, (y - top) / (bottom - top) - 0.5
    speed = np.sin(2 * np.pi * t) * np.exp(-((u / 0.22) ** 2) - (v / 0.6) ** 2) + 0.25 * np.sin(9 * v + 6 * t) * np.exp(
        -((u / 0.3) ** 2)
    )
    box = picture[top:bottom, left:right]
    flowing = np.abs(speed) > 0.22
    strength = np.clip(90 + 165 * np.abs(speed), 0, 255).astype(np.uint8)
    for channel, where in ((0, flowing & (speed > 0)), (2, flowing & (speed < 0))):
        box[where] = 0
        box[..., channel][where] = strength[where]
        box[..., 1][where] = strength[where] // 3
    for edge in (
        picture[top : top + 2, left:right],
        picture[bottom : bottom + 2, left:right],
        picture[top:bottom, left : left + 2],
        picture[top:bottom, right : right + 2],
    ):
        edge[:] = 230
    return picture

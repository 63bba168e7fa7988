"""Projection phantoms: chest and abdomen radiographs, and mammograms.

A solid's shadow has a closed form, so a radiograph needs no volume: thickness along the beam times how much
denser the tissue is than what it displaces, summed over the solids.
"""

import copy
import math
from functools import cache

import numpy as np

from regions.anatomy import Plane, clouds


class Film:
    """A detector plane in mm, x to the left and z to the feet, on which shadows add up."""

    def __init__(self, rows: int, columns: int, width: float, top: float) -> None:
        """Lay out the film: pixels, width in mm, and the height of its upper edge."""
        self.spacing = width / columns
        self.x: Plane = ((np.arange(columns, dtype=np.float32) + 0.5) * self.spacing - width / 2)[None, :]
        self.z: Plane = ((np.arange(rows, dtype=np.float32) + 0.5) * self.spacing + top)[:, None]
        self.shadow: Plane = np.zeros((rows, columns), np.float32)

    def copy(self) -> "Film":
        """A film with the same shadows on it."""
        twin = copy.copy(self)
        twin.shadow = self.shadow.copy()
        return twin

    def ball(self, x: float, z: float, a: float, c: float, weight: float, *, turn: float = 0.0, roots: int = 1) -> None:
        """Add an ellipsoid's shadow; weight is the one at its centre.

        A square root of what is left of the beam is an ellipsoid, two are a box with round corners, none is soft.
        """
        reach = max(a, c)
        column, row = self._span(self.x[0], x - reach, x + reach), self._span(self.z[:, 0], z - reach, z + reach)
        dx, dz = self.x[:, column] - np.float32(x), self.z[row] - np.float32(z)
        cosine, sine = np.float32(math.cos(turn)), np.float32(math.sin(turn))
        thickness = (
            1 - ((dx * cosine + dz * sine) / np.float32(a)) ** 2 - ((dz * cosine - dx * sine) / np.float32(c)) ** 2
        )
        np.maximum(thickness, 0, out=thickness)
        for _ in range(roots):
            np.sqrt(thickness, out=thickness)
        thickness *= np.float32(weight)
        self.shadow[row, column] += thickness

    def band(self, curve: Plane, breadth: float, weight: float, left: float, right: float) -> None:
        """Add a bone that follows z = curve(x) from left to right: denser at its margins, as a tube is."""
        column = self._span(self.x[0], left, right)
        part = curve[:, column]
        row = self._span(self.z[:, 0], float(part.min()) - breadth, float(part.max()) + breadth)
        square = ((self.z[row] - part) / np.float32(breadth)) ** 2
        tube = np.sqrt(np.maximum(1 - square, 0))
        self.shadow[row, column] += np.float32(weight) * tube * (np.float32(0.75) + np.float32(0.5) * square)

    @staticmethod
    def _span(axis: Plane, first: float, last: float) -> slice:
        return slice(*np.searchsorted(axis, (first, last)).tolist())

    def digitise(self, rng: np.random.Generator, darkest: float, brightest: float, noise: float) -> Plane:
        """Turn shadows into 12-bit pixel values, dense is bright, with quantum noise."""
        film = np.clip((self.shadow - darkest) / (brightest - darkest), 0, None)
        film = (1 - np.exp(np.float32(-1.7) * film)) / np.float32(
            1 - math.exp(-1.7)
        )  # as film and eye do: the dense parts are compressed
        film += np.float32(noise) * rng.standard_normal(film.shape, np.float32)
        result: Plane = np.clip(200 + 3500 * film, 0, 4095).astype(np.float32)
        return result


def _ribs(film: Film) -> None:
    """Twelve pairs: the posterior part falls outwards, the anterior part falls inwards."""
    across = np.abs(film.x)
    for k in range(11):
        reach = 118 * min(1.0, 0.58 + 0.085 * k)
        fraction = np.clip((across - 14) / np.float32(reach - 14), 0, 1)
        back = 6 + 24.5 * k + (10 + 2.2 * k) * fraction**1.6
        front = 10 + 24.5 * k + (14 + 2.2 * k) + 52 * (1 - fraction) ** 1.5
        for side in (-1, 1):
            film.band(back.astype(np.float32), 5.4, 0.17, *sorted((side * 14.0, side * reach)))
            if 1 <= k <= 8:
                film.band(front.astype(np.float32), 5.0, 0.10, *sorted((side * (30 + 2.5 * k), side * reach)))


def _hilum(film: Film, rng: np.random.Generator) -> None:
    """Pulmonary vessels, thinning and branching outwards from both hila."""
    for side in (-1, 1):
        for _ in range(32):
            x, z, angle = side * 30.0, 122.0 + rng.normal(0, 9), rng.uniform(-1.3, 1.45)
            bore = rng.uniform(1.8, 4.2)
            for _step in range(10):
                film.ball(x, z, bore * 1.8, bore * 1.8, 0.016 * bore)
                angle += rng.normal(0, 0.16)
                x += side * math.cos(angle) * 8
                z += math.sin(angle) * 8
                bore *= 0.86


@cache
def _thorax(rows: int, columns: int) -> Film:
    """What every postero-anterior chest has in common."""
    film = Film(rows, columns, 360, -60)
    film.ball(0, 190, 175, 420, 0.95, roots=2)
    for side in (-1, 1):
        film.ball(side * 150, -14, 84, 66, 0.42, roots=0)
        film.ball(side * 158, 6, 21, 22, 0.20)
        film.ball(side * 74, 128, 62, 148, -0.86, turn=side * 0.06, roots=1)
        across = film.x * side
        clavicle = 14 - 0.22 * (across - 10) - 10 * np.sin(across / 26)
        film.band(clavicle, 6.5, 0.17, *sorted((side * 8.0, side * 128.0)))
        film.ball(side * 128, 62, 26, 72, 0.12, turn=side * 0.18, roots=2)
        film.ball(side * 172, 80, 22, 170, 0.42, roots=2)
    film.ball(24, 192, 70, 52, 0.58, turn=0.62, roots=1)  # heart, apex to the left
    film.ball(-16, 176, 34, 56, 0.24)
    film.ball(0, 110, 27, 190, 0.26, roots=1)  # mediastinum
    film.ball(20, 72, 19, 18, 0.26)  # aortic knob
    film.ball(0, 28, 9, 78, -0.22)  # trachea
    film.ball(-70, 352, 96, 118, 0.85, roots=2)  # liver under the right dome
    film.ball(74, 366, 92, 118, 0.72, roots=2)
    film.ball(64, 262, 26, 14, -0.30)  # gastric bubble
    for k in range(15):
        film.ball(0, -46 + 27.0 * k, 19, 12.4, 0.13, roots=2)
        film.ball(0, -46 + 27.0 * k, 4, 8, 0.07)
    _ribs(film)
    return film


def chest(rng: np.random.Generator, rows: int, columns: int, lesion: str = "") -> Plane:
    """A postero-anterior chest radiograph."""
    film = _thorax(rows, columns).copy()
    _hilum(film, rng)
    if lesion == "pneumonia":
        for _ in range(26):
            film.ball(-78 + rng.normal(0, 14), 196 + rng.normal(0, 16), rng.uniform(10, 22), rng.uniform(8, 18), 0.06)
    elif lesion == "nodule":
        film.ball(-84, 92, 9, 9, 0.20)
    elif lesion == "effusion":
        film.ball(96, 290, 60, 88, 0.62, roots=2)
    return film.digitise(rng, 0.0, 2.1, 0.006)


@cache
def _lateral_thorax(rows: int, columns: int) -> Film:
    """What every lateral chest has in common."""
    film = Film(rows, columns, 360, -60)
    film.ball(0, 200, 132, 440, 1.25, roots=2)
    film.ball(8, 130, 84, 152, -0.86, roots=1)
    film.ball(-28, 186, 58, 60, 0.52, turn=0.5)
    film.ball(-4, 84, 30, 26, 0.20)
    film.ball(2, 40, 9, 88, -0.24, turn=-0.08)
    film.ball(10, 380, 132, 132, 0.95, roots=2)
    film.ball(-10, 10, 60, 50, 0.30)
    for k in range(15):
        film.ball(76 - 10 * math.sin((k - 2) / 4.2), -46 + 27.0 * k, 17, 12.2, 0.26, roots=2)
        film.ball(100 - 10 * math.sin((k - 2) / 4.2), -40 + 27.0 * k, 12, 5, 0.16, turn=0.5)
    film.ball(-104, 40, 6, 95, 0.20, roots=2)
    for k in range(9):
        film.band(10 + 25.0 * k + 0.34 * (70 - film.x), 4.4, 0.10, -96, 74)
    return film


def chest_lateral(rng: np.random.Generator, rows: int, columns: int, lesion: str = "") -> Plane:
    """A lateral chest radiograph; the front is on the left of the picture."""
    film = _lateral_thorax(rows, columns).copy()
    if lesion == "effusion":
        film.ball(60, 286, 60, 70, 0.5, roots=2)
    elif lesion == "nodule":
        film.ball(10, 92, 9, 9, 0.20)
    return film.digitise(rng, 0.05, 2.3, 0.006)


def abdomen(rng: np.random.Generator, rows: int, columns: int, lesion: str = "") -> Plane:
    """A supine abdominal radiograph: gas pattern, psoas lines, pelvis."""
    film = Film(rows, columns, 360, 250)
    film.ball(0, 430, 168, 520, 1.2, roots=2)
    film.ball(-70, 310, 92, 86, 0.30)
    film.ball(100, 300, 30, 50, 0.16)
    for side in (-1, 1):
        film.ball(side * 66, 380, 27, 52, 0.14, turn=-side * 0.2)
        film.ball(side * 44, 450, 24, 120, 0.16, turn=-side * 0.22)
        film.ball(side * 88, 508, 48, 66, 0.42, turn=side * 0.35, roots=2)
        film.ball(side * 92, 508, 34, 50, -0.10, turn=side * 0.35)
        film.ball(side * 104, 592, 27, 27, 0.40)
        film.ball(side * 44, 606, 26, 12, 0.30, turn=side * 0.4)
        film.ball(side * 44, 606, 15, 7, -0.24, turn=side * 0.4)
    film.ball(0, 508, 40, 48, 0.36, roots=2)
    for k in range(9):
        film.ball(0, 236 + 31.0 * k, 21, 13.8, 0.30, roots=2)
        film.ball(0, 236 + 31.0 * k, 36, 4, 0.16)
        film.ball(0, 240 + 31.0 * k, 3.5, 9, 0.14)
    for _ in range(52):
        arm = rng.uniform(-1, 1)
        x, z = 120 * arm + rng.normal(0, 10), 356 + 160 * rng.random() * (0.35 + abs(arm))
        film.ball(x, z, rng.uniform(7, 19), rng.uniform(6, 13), -rng.uniform(0.06, 0.2), turn=rng.uniform(-1, 1))
    if lesion == "stone":
        film.ball(58, 398, 4.5, 5.5, 0.40)
    return film.digitise(rng, 0.1, 2.3, 0.008)


def mammogram(
    rng: np.random.Generator, rows: int, columns: int, *, oblique: bool, right: bool, lesion: str = ""
) -> Plane:
    """One mammographic view, the chest wall on the left for a left breast and on the right for a right one."""
    x = (np.arange(columns, dtype=np.float32)[None, :] + 0.5) / columns
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / rows
    middle, height = (0.56, 0.40) if oblique else (0.5, 0.42)
    droop = 0.06 * (y - middle) if oblique else 0.0
    outline = 0.80 * np.sqrt(np.clip(1 - ((y - middle - droop) / height) ** 2, 0, 1)) ** 0.9
    inside = np.clip((outline - x) * columns / 6, 0, 1)
    depth = np.clip((outline - x) / 0.22, 0, 1) ** 0.45
    texture = clouds(rng, rows, columns, 1.55)
    strands = np.abs(np.roll(texture, (rows // 3, columns // 4), (0, 1)))
    gland = np.exp(-(((x - 0.34) / 0.24) ** 2) - ((y - middle) / 0.24) ** 2)
    image = inside * (0.22 + 0.22 * depth + gland * (0.20 + 0.10 * texture) + 0.025 * texture)
    image += inside * gland * 0.10 * np.clip(0.35 - strands, 0, 1) / 0.35
    if oblique:
        muscle = np.clip((0.40 - x - 0.62 * y) * columns / 10, 0, 1)
        image += muscle * inside * (0.34 + 0.02 * texture)
    nipple = np.hypot((x - outline.max()) * columns, (y - middle) * rows)
    image += 0.25 * np.clip(1 - nipple / (0.02 * columns), 0, 1)
    _mammographic_lesion(image, rng, lesion, middle)
    image = image * 3300 + 60 + 16 * rng.standard_normal(image.shape, np.float32)
    result: Plane = np.clip(image if not right else image[:, ::-1], 0, 4095)
    return result


def _mammographic_lesion(image: Plane, rng: np.random.Generator, lesion: str, middle: float) -> None:
    """Add a spiculated mass or a cluster of microcalcifications."""
    rows, columns = image.shape
    cy, cx = int((middle - 0.1) * rows), int(0.42 * columns)
    y, x = np.ogrid[:rows, :columns]
    if lesion == "mass":
        radius, theta = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
        edge = 0.034 * columns * (1 + 0.28 * np.abs(np.sin(6.5 * theta)) + 0.1 * np.sin(3 * theta))
        image += 0.22 * np.clip((edge - radius) / (0.4 * edge) + 0.5, 0, 1).astype(np.float32)
    elif lesion == "calcifications":
        for _ in range(18):
            py, px = cy + int(rng.normal(0, 0.016 * rows)), cx + int(rng.normal(0, 0.016 * rows))
            image[py : py + 2, px : px + 2] += np.float32(0.4)

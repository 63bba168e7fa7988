"""The torso phantom, from the lung apices to the pelvis: for CT, and for PET with another palette."""

import math

import numpy as np

from regions.anatomy import Canvas, Palette, Plane, Solid, mirrored

CT_PALETTE: Palette = {
    "fat": -100, "muscle": 55, "lung": -870, "air": -1000, "bone": 620, "marrow": 190, "disc": 85, "cord": 30,
    "heart": 45, "vessel": 42, "pulmonary vessel": 20, "bronchus": -200, "liver": 62, "spleen": 52, "kidney": 36,
    "renal pelvis": 8, "stomach": 30, "bowel": 32, "gas": -950, "bladder": 6, "gallbladder": 8, "pancreas": 42,
    "node": 42, "nodule": 45, "effusion": 9, "cyst": 6, "metastasis": 38, "stone": 820, "couch": -150, "brain": 35,
    "consolidation": 20,
}  # fmt: skip
CONTRAST_PALETTE: Palette = {
    **CT_PALETTE, "heart": 165, "vessel": 235, "pulmonary vessel": 150, "liver": 112, "spleen": 125, "kidney": 185,
    "renal pelvis": 60, "pancreas": 98, "bowel": 55, "metastasis": 58, "node": 82, "nodule": 78, "muscle": 62,
}  # fmt: skip
UPTAKE_PALETTE: Palette = {
    "fat": 0.25, "muscle": 0.6, "lung": 0.35, "air": 0.0, "bone": 0.8, "marrow": 1.4, "disc": 0.7, "cord": 1.3,
    "heart": 4.6, "vessel": 1.6, "pulmonary vessel": 1.2, "bronchus": 0.3, "liver": 2.3, "spleen": 1.9, "kidney": 4.8,
    "renal pelvis": 14.0, "stomach": 1.8, "bowel": 1.7, "gas": 0.5, "bladder": 24.0, "gallbladder": 0.9,
    "pancreas": 1.6, "node": 8.5, "nodule": 11.0, "effusion": 0.9, "cyst": 0.4, "metastasis": 9.0, "stone": 0.8,
    "consolidation": 3.5,
}  # fmt: skip

_OUTLINE = (
    *mirrored((Solid("muscle", (150, 12, 20), (62, 58, 70), ends=3, edge=2.0),)),  # shoulders
    Solid("fat", (0, 0, 290), (178, 118, 420), ends=6, edge=2.0),
    Solid("muscle", (0, 2, 290), (160, 103, 410), ends=6, edge=2.0),
)
_LUNGS = (
    *mirrored((Solid("lung", (74, 2, 150), (58, 86, 150), turn=0.10, ends=2.1),)),
    Solid("muscle", (0, 6, 150), (22, 92, 170), ends=6, edge=2.0),  # mediastinum
)
_MEDIASTINUM = (
    Solid("fat", (0, -40, 80), (22, 22, 60), ends=3, edge=2.5),
    Solid("heart", (22, -28, 190), (62, 50, 58), turn=0.55, edge=1.6),
    Solid("vessel", (34, -26, 196), (24, 20, 34), turn=0.5),  # left ventricle
    Solid("muscle", (40, -18, 198), (4, 20, 26), turn=0.35),  # septum
    Solid("vessel", (-18, -22, 184), (20, 22, 34)),  # right atrium
    Solid("vessel", (-6, -30, 120), (15, 15, 34), lean=(0.25, 0.1), ends=6),  # ascending aorta
    Solid("vessel", (8, -4, 92), (13, 38, 13), turn=-0.45),  # arch
    Solid("vessel", (24, 42, 270), (12, 12, 180), lean=(-0.05, 0.0), ends=10),  # descending aorta
    Solid("vessel", (-26, -20, 100), (8, 9, 62), ends=8),  # superior vena cava
    Solid("vessel", (4, -20, 128), (34, 10, 11), turn=0.35),  # pulmonary trunk
    Solid("vessel", (-20, 0, 132), (32, 9, 10), turn=-0.15),
    Solid("air", (-2, 8, 50), (8.5, 8.5, 68), ends=10),  # trachea
    *mirrored((Solid("air", (16, 12, 134), (6, 6, 26), lean=(0.75, 0.05), ends=6),)),
    Solid("muscle", (4, 30, 120), (5, 6, 150), ends=10),  # oesophagus
    *mirrored((Solid("vessel", (18, -14, 30), (4.5, 4.5, 60), lean=(-0.12, 0.05), ends=8),)),
)
_PERITONEUM = Solid("fat", (0, -14, 420), (132, 76, 190), ends=4, edge=2.5)
_ABDOMEN = (
    Solid("liver", (-58, -6, 300), (92, 82, 92), turn=-0.25, ends=2.4),
    Solid("liver", (20, -48, 278), (62, 34, 48), turn=0.1),
    Solid("spleen", (108, 34, 296), (24, 44, 52), turn=-0.35),
    Solid("stomach", (60, -30, 300), (46, 40, 52), turn=0.5),
    Solid("gas", (62, -54, 288), (30, 15, 30), turn=0.2),
    Solid("gallbladder", (-46, -48, 352), (13, 18, 24), turn=-0.3),
    Solid("pancreas", (14, -10, 346), (60, 11, 16), turn=-0.25, edge=2.5),
    Solid("muscle", (22, 30, 400), (14, 12, 30), edge=2.0),
    *mirrored((
        Solid("kidney", (66, 44, 388), (26, 30, 54), turn=-0.55, edge=1.6),
        Solid("fat", (58, 40, 388), (9, 10, 22), turn=-0.5, edge=2.0),
        Solid("renal pelvis", (54, 38, 390), (6, 7, 12), edge=2.0),
        Solid("muscle", (46, 52, 450), (20, 24, 110), ends=4, edge=2.0),  # psoas
        Solid("muscle", (44, 88, 330), (30, 16, 330), ends=8, edge=2.0),  # erector spinae
    )),
    Solid("vessel", (12, 34, 430), (10, 10, 70), ends=8),  # abdominal aorta
    Solid("vessel", (-14, 32, 400), (11, 9, 150), ends=8),  # inferior vena cava
)  # fmt: skip
_PELVIS = (
    *mirrored((
        Solid("bone", (92, 30, 500), (14, 58, 62), turn=0.5, ends=3),
        Solid("marrow", (92, 30, 500), (9, 52, 56), turn=0.5, ends=3),
        Solid("bone", (96, 18, 566), (30, 32, 30)),
        Solid("marrow", (96, 18, 566), (24, 26, 26)),
        Solid("vessel", (40, -6, 520), (7, 7, 70), lean=(0.25, -0.3), ends=8),
        Solid("muscle", (96, 78, 540), (50, 28, 80), edge=2.0),
    )),
    Solid("bone", (0, 72, 490), (40, 20, 50)),
    Solid("marrow", (0, 72, 490), (35, 16, 46)),
    Solid("bladder", (0, -12, 552), (42, 36, 34)),
    Solid("bowel", (0, 42, 545), (18, 18, 40)),
    Solid("gas", (0, 38, 540), (9, 9, 30)),
)  # fmt: skip
_COUCH = (
    Solid("couch", (0, -95, 0), (300, 228, 900)),
    Solid("air", (0, -95, 0), (297, 225, 900)),
)
LESIONS: dict[str, tuple[Solid, ...]] = {
    "nodule": (Solid("nodule", (-82, 6, 96), (9, 8, 9), edge=2),),
    "lung cancer": (
        Solid("nodule", (78, -10, 84), (19, 17, 20), edge=2),
        Solid("node", (12, 0, 108), (10, 9, 12)),
        Solid("metastasis", (-80, -10, 288), (14, 13, 14)),
    ),
    "pneumonia": (
        Solid("consolidation", (-78, 44, 192), (38, 28, 42), edge=9),
        Solid("bronchus", (-62, 36, 186), (3, 14, 3), turn=0.6),
        Solid("bronchus", (-86, 42, 190), (2.5, 12, 3), turn=-0.5),
    ),
    "effusion": (Solid("effusion", (78, 64, 236), (50, 34, 74), edge=3),),
    "cyst": (Solid("cyst", (80, 52, 380), (19, 18, 20)), Solid("cyst", (-86, -30, 288), (10, 10, 10))),
    "stone": (Solid("stone", (56, 40, 398), (4, 4, 5)), Solid("renal pelvis", (52, 38, 388), (11, 11, 16))),
    "lymphoma": tuple(
        Solid("node", (x, y, z), (r, r * 0.9, r * 1.2))
        for x, y, z, r in (
            (-20, 4, 70, 12), (14, -16, 84, 14), (-4, 20, 110, 13), (26, 20, 430, 12), (4, 14, 450, 13),
            (-62, 12, 20, 10),
        )
    ),
}  # fmt: skip


def airways_and_vessels(rng: np.random.Generator) -> list[Solid]:
    """Pulmonary vessels: thin oblique cylinders that fan out from either hilum."""
    vessels = []
    for _ in range(260):
        side = 1.0 if rng.random() < 0.5 else -1.0
        reach, swing, rise = rng.uniform(0.15, 1.0), rng.uniform(-1.35, 1.35), rng.uniform(-1.0, 1.0)
        x = side * (34 + 86 * reach * math.cos(swing) * 0.9)
        y = 8 + 72 * reach * math.sin(swing)
        z = 145 + 110 * reach * rise
        bore = 4.2 * (1.08 - reach) + 0.9
        lean = (side * rng.uniform(-0.5, 0.9), rng.uniform(-0.7, 0.7))
        vessels.append(Solid("pulmonary vessel", (x, y, z), (bore, bore, rng.uniform(9, 26)), lean=lean, ends=6))
    return vessels


def bowel_loops(rng: np.random.Generator) -> list[Solid]:
    """Loops of bowel, some with gas in front, as it lies in a supine patient."""
    loops: list[Solid] = []
    for _ in range(80):
        x, y, z = rng.uniform(-105, 105), rng.uniform(-66, 16), rng.uniform(350, 540)
        a, b, c = rng.uniform(12, 22), rng.uniform(10, 17), rng.uniform(14, 38)
        turn = rng.uniform(-1.5, 1.5)
        loops.append(Solid("bowel", (x, y, z), (a, b, c), turn=turn))
        if rng.random() < 0.45:
            loops.append(Solid("gas", (x, y - 0.35 * b, z), (a * 0.7, b * 0.5, c * 0.8), turn=turn * 0.3))
    return loops


def ribs(z: float) -> list[Solid]:
    """The cuts of the ribs at height z: each falls from the spine forwards."""
    cuts: list[Solid] = []
    for k in range(12):
        fall = (z - (-18 + 25.0 * k)) / (62 + 7 * k)  # 0 at the spine, 1 at the front
        if not 0 < fall < 1 or (k > 9 and fall > 0.55):
            continue
        angle = math.acos(1 - 2 * fall)  # from the back, round to the front
        wide = min(1.0, 0.62 + 0.075 * k)
        x, y = 137 * wide * math.sin(angle), 4 + 92 * (0.86 + 0.14 * wide) * math.cos(angle)
        turn = math.atan2(-92 * math.sin(angle), 137 * wide * math.cos(angle))
        cuts += mirrored((
            Solid("bone", (x, y, z), (12.5, 5.6, 5), turn=turn),
            Solid("marrow", (x, y, z), (9.5, 2.9, 5), turn=turn),
        ))  # fmt: skip
    return cuts


def spine(z: float) -> list[Solid]:
    """Vertebral body or disc at height z, with canal, arch and processes."""
    step = z % 30
    body = step < 23
    core = (
        (Solid("bone", (0, 62, z), (21, 17, 5)), Solid("marrow", (0, 62, z), (18.5, 14.5, 5)))
        if body
        else (Solid("disc", (0, 62, z), (21, 17, 5)),)
    )
    arch: tuple[Solid, ...] = ()
    if body:
        arch = (
            Solid("bone", (0, 84, z), (17, 12, 5)),
            *mirrored((Solid("bone", (24, 86, z), (15, 4.5, 5), turn=0.35),)),
            Solid("bone", (0, 102, z), (3.4, 13, 5)),
        )
    return [*core, *arch, Solid("fat", (0, 83, z), (10, 9, 5)), Solid("cord", (0, 83, z), (6, 5.5, 5))]


def couch(canvas: Canvas, palette: Palette) -> Plane:
    """The scanner's table, the same in every slice."""
    canvas.fill(palette["air"])
    canvas.paint_all(_COUCH, 0, palette)
    return canvas.image.copy()


class Torso:
    """One patient's torso: the common anatomy with their own vessels, bowel and lesion."""

    def __init__(self, rng: np.random.Generator, lesion: str = "") -> None:
        self.vessels = airways_and_vessels(rng)
        self.bowel = bowel_loops(rng)
        self.lesion = LESIONS.get(lesion, ())

    def slice(self, canvas: Canvas, z: float, palette: Palette, table: Plane | None = None) -> Plane:
        """Paint the axial section at height z (mm below the lung apices), on a table if there is one."""
        if table is None:
            canvas.fill(palette["air"])
        else:
            np.copyto(canvas.image, table)
        canvas.paint_all(_OUTLINE, z, palette)
        if z < 310:
            canvas.paint_all(_LUNGS, z, palette)
            canvas.paint_all(self.vessels, z, palette)
        if z > 205:
            canvas.paint_all((_PERITONEUM, *self.bowel, *_ABDOMEN), z, palette)
        canvas.paint_all(_MEDIASTINUM, z, palette)
        if z > 430:
            canvas.paint_all(_PELVIS, z, palette)
        canvas.paint_all(ribs(z), z, palette)
        if z < 470:
            canvas.paint_all(spine(z), z, palette)
        if z < 200:
            canvas.paint(Solid("bone", (0, -96, 110), (16, 6, 90), ends=5), z, palette["bone"])
        canvas.paint_all(self.lesion, z, palette)
        return canvas.image

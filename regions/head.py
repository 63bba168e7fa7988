"""The head phantom: skull, brain with its folds, ventricles, orbits, sinuses, and what may ail them."""

import numpy as np

from regions.anatomy import Canvas, Palette, Plane, Solid, mirrored

CT_PALETTE: Palette = {
    "skin": 35, "fat": -90, "muscle": 55, "bone": 1150, "marrow": 520, "csf": 7, "grey": 39, "white": 29,
    "deep grey": 41, "ventricle": 5, "falx": 62, "eye": 8, "lens": 85, "air": -1000, "petrous": 1500,
    "cerebellum": 37, "vermis": 33, "calcification": 180,
    "haemorrhage": 74, "oedema": 20, "infarct": 19, "tumour": 52, "enhancing rim": 88,
}  # fmt: skip
T1_PALETTE: Palette = {
    "skin": 420, "fat": 900, "muscle": 330, "bone": 45, "marrow": 480, "csf": 90, "grey": 390, "white": 560,
    "deep grey": 450, "ventricle": 80, "falx": 210, "eye": 110, "lens": 360, "air": 8, "petrous": 60,
    "cerebellum": 430, "vermis": 480, "calcification": 120,
    "haemorrhage": 640, "oedema": 320, "infarct": 300, "tumour": 330, "enhancing rim": 860,
}  # fmt: skip
T2_PALETTE: Palette = {
    "skin": 300, "fat": 620, "muscle": 170, "bone": 40, "marrow": 330, "csf": 940, "grey": 440, "white": 310,
    "deep grey": 360, "ventricle": 960, "falx": 150, "eye": 900, "lens": 160, "air": 8, "petrous": 50,
    "cerebellum": 400, "vermis": 350, "calcification": 60,
    "haemorrhage": 180, "oedema": 760, "infarct": 800, "tumour": 640, "enhancing rim": 560,
}  # fmt: skip
FLAIR_PALETTE: Palette = {
    **T2_PALETTE, "csf": 90, "ventricle": 70, "eye": 110, "grey": 520, "white": 400, "deep grey": 470,
    "cerebellum": 480, "vermis": 430, "oedema": 900, "infarct": 930, "tumour": 760, "enhancing rim": 700, "fat": 500,
}  # fmt: skip
DIFFUSION_PALETTE: Palette = {
    "skin": 40, "fat": 40, "muscle": 60, "bone": 10, "marrow": 30, "csf": 60, "grey": 430, "white": 360,
    "deep grey": 420, "ventricle": 50, "falx": 60, "eye": 50, "lens": 60, "air": 4, "petrous": 10, "cerebellum": 410,
    "vermis": 390, "calcification": 20,
    "haemorrhage": 120, "oedema": 420, "infarct": 950, "tumour": 500, "enhancing rim": 540,
}  # fmt: skip

_CRANIUM = (
    Solid("skin", (0, 4, 110), (78, 99, 106), edge=2.0),
    Solid("muscle", (0, -22, 168), (60, 70, 74), edge=2.0),
    Solid("muscle", (0, 34, 205), (56, 60, 90), ends=6, edge=2.0),
    Solid("fat", (0, 4, 106), (75.5, 96.5, 100)),
    Solid("bone", (0, 4, 102), (72.5, 93.5, 97), ends=2.2),
    Solid("marrow", (0, 4, 102), (70.2, 91, 94.5), ends=2.2, edge=2.0),
    Solid("bone", (0, 4, 102), (68.6, 89.4, 93), ends=2.2),
    Solid("csf", (0, 4, 96), (66.2, 86.8, 88), ends=2.6),
)
BRAIN = Solid("grey", (0, 4, 92), (64.6, 85.0, 80), ends=2.6)
_DEEP = (
    *mirrored(
        (
            Solid("deep grey", (13, -22, 92), (5, 11, 15), turn=0.25, edge=2.5),  # caudate
            Solid("deep grey", (26, -8, 98), (7, 17, 13), turn=-0.22, edge=2.5),  # lentiform nucleus
            Solid("deep grey", (11, 12, 95), (9, 14, 12), turn=-0.35, edge=2.5),  # thalamus
            Solid("ventricle", (9, -26, 86), (4.2, 15, 17), turn=0.35, edge=1.8),  # frontal horn
            Solid("ventricle", (10, 6, 76), (5.5, 34, 10), turn=-0.12, edge=1.8),  # body
            Solid("ventricle", (23, 38, 86), (5, 16, 13), turn=-0.45, edge=1.8),  # occipital horn
        )
    ),
    Solid("ventricle", (0, 4, 98), (2.2, 14, 10)),
    Solid("csf", (0, 34, 110), (9, 5, 8), edge=2.0),
)
_HINDBRAIN = (
    Solid("csf", (0, 46, 140), (58, 42, 26), edge=2.0),
    Solid("cerebellum", (0, 48, 141), (54, 36, 24), edge=1.6),
    Solid("csf", (0, 14, 130), (24, 20, 22), edge=2.0),
    Solid("white", (0, 14, 138), (14, 13, 40), ends=6, edge=2.0),
    Solid("ventricle", (0, 31, 134), (7, 5, 10), edge=1.6),
    Solid("vermis", (0, 50, 138), (7, 26, 18), edge=2.5),
)
_BASE = (
    *mirrored(
        (
            Solid("petrous", (40, 14, 140), (30, 9, 9), turn=0.45, edge=2.0),
            Solid("bone", (62, 30, 146), (12, 20, 20), edge=2.0),
            *(Solid("air", (62 + dx, 30 + dy, 146 + dz), (2.6, 3.4, 4.0))
              for dx, dy, dz in ((-3, -6, 0), (2, -2, 5), (-2, 5, -4), (3, 8, 3), (-5, 11, 2), (1, 2, -7))),
            Solid("bone", (32, -62, 138), (22, 27, 21)),
            Solid("fat", (32, -63, 138), (19.5, 27, 18.5)),
            Solid("eye", (33, -76, 138), (12, 12, 12)),
            Solid("lens", (33, -86, 138), (4.5, 2.2, 4.5)),
            Solid("muscle", (29, -52, 138), (2.4, 16, 2.4), turn=-0.3),
            Solid("muscle", (24, -66, 138), (1.8, 14, 5), turn=0.08),
            Solid("bone", (26, -66, 176), (19, 22, 20)),
            Solid("air", (26, -66, 176), (16.5, 19.5, 17.5)),
            Solid("bone", (48, -40, 196), (6, 34, 26), turn=-0.2),
        )
    ),
    Solid("bone", (0, -78, 122), (22, 11, 15)),
    *mirrored((Solid("air", (9, -79, 122), (8, 7, 12)),)),
    Solid("bone", (0, -62, 158), (12, 30, 34)),
    *mirrored((Solid("air", (4.6, -62, 158), (3.8, 27, 31)),)),
    Solid("bone", (0, -20, 146), (18, 15, 14)),
    Solid("air", (0, -22, 147), (13, 11, 10)),
)  # fmt: skip

LESIONS: dict[str, tuple[Solid, ...]] = {
    "haemorrhage": (
        Solid("oedema", (34, 2, 92), (21, 26, 22), turn=0.3, edge=6),
        Solid("haemorrhage", (34, 2, 92), (14, 19, 16), turn=0.4, edge=2),
        Solid("haemorrhage", (29, 14, 95), (9, 8, 10), edge=2),
    ),
    "infarct": (
        Solid("infarct", (-44, -8, 84), (18, 30, 26), turn=0.35, edge=5),
        Solid("infarct", (-52, 12, 78), (12, 17, 18), turn=-0.2, edge=5),
    ),
    "tumour": (
        Solid("oedema", (27, -40, 78), (23, 25, 23), turn=-0.3, edge=8),
        Solid("enhancing rim", (28, -42, 78), (13.5, 15, 14), edge=2),
        Solid("tumour", (28, -42, 78), (10.5, 12, 11), edge=3),
    ),
    "meningioma": (Solid("enhancing rim", (-6, -52, 60), (13, 15, 15), edge=2),),
    "white matter": tuple(
        Solid("oedema", (x, y, z), (3.2, 4.4, 4), turn=x / 20, edge=3)
        for x, y, z in (
            (24, -18, 70), (-22, -26, 72), (27, 14, 68), (-25, 10, 66), (20, 34, 74), (-21, 36, 78), (-28, -6, 62),
        )
    ),
}  # fmt: skip


def _waves(canvas: Canvas, box: tuple[slice, slice], z: float, phase: float) -> Plane:
    """Plane waves of one length and many directions: their nodal lines wind about as sulci do."""
    x, y = canvas.axis[box[1]], canvas.axis[box[0]]
    field = np.zeros((len(y), len(x)), np.float32)
    for n in range(7):
        angle = n * 0.449 + 0.3 * phase
        k, shift = 0.36 + 0.012 * n, phase * (n + 1) + z * 0.21 * np.sin(2.4 * n + phase)
        along, across = k * np.cos(angle) * x, k * np.sin(angle) * y + shift
        field += np.outer(np.cos(across), np.cos(along)) - np.outer(np.sin(across), np.sin(along))
    return field


def _cortex(canvas: Canvas, z: float, palette: Palette, phase: float) -> None:
    """Fold the rim of the brain: grey ribbons, white matter between them, CSF in the sulci."""
    cut = BRAIN.section(z)
    box = canvas.box(cut[0], cut[1], max(cut[2:])) if cut else None
    if cut is None or box is None:
        return
    radius = canvas.radius(box, cut, 0.0)
    fold = np.abs(_waves(canvas, box, z, phase))
    rim = np.clip((radius - 0.58) * 2.6, 0, 1)
    inside = radius < 1
    image = canvas.image[box]
    grey = np.clip((2.1 * rim - fold) * 1.6, 0, 1)
    grey = np.maximum(grey, np.clip((radius - 0.955) * 40, 0, 1))
    image[inside] = (palette["white"] + (palette["grey"] - palette["white"]) * grey)[inside]
    sulcus = np.clip((0.62 * rim**2 - fold) * 2.5, 0, 0.85) * inside
    image += sulcus * (palette["csf"] - image)
    u, v = np.abs(canvas.x[box] - cut[0]), np.abs(canvas.y[box] - cut[1]) / cut[3]
    image[inside & (u < 1.0) & ((v > 0.42) if z >= 70 else True)] = palette["falx"]


def head_slice(canvas: Canvas, z: float, palette: Palette, *, lesion: str = "", phase: float = 0.0) -> Plane:
    """Paint the axial section at height z (mm below the vertex)."""
    canvas.fill(palette["air"])
    canvas.paint_all(_CRANIUM, z, palette)
    canvas.paint(BRAIN, z, palette["grey"])
    _cortex(canvas, z, palette, phase)
    canvas.paint_all(_DEEP, z, palette)
    canvas.paint_all(LESIONS.get(lesion, ()), z, palette)
    if z > 112:
        canvas.paint_all(_HINDBRAIN, z, palette)
    canvas.paint_all(_BASE, z, palette)
    return canvas.image

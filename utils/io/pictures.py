"""Pictures with fixed stretches and fixed colours: the same value has the same colour in every picture.

Arrays come in channel first; pictures are (H, W, 3) uint8. Files carry no time and no program name, so that equal
pixels give equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.workflow.files import atomic_bytes

Picture = NDArray[np.uint8]
Plane = NDArray[np.floating]

NODATA_RGB = (120, 120, 120)
TRUE_COLOUR_MAX, FALSE_COLOUR_MAX = 0.3, (0.4, 0.5, 0.3)
GAMMA = 1.4
VV_DB, VH_DB, RATIO_DB, CHANGE_DB = (-25.0, 0.0), (-32.5, 0.0), (0.0, 15.0), (-6.0, 6.0)
ERROR_MAX, INDEX_RANGE, DIFFERENCE_RANGE = 0.1, (-0.2, 0.9), (-0.6, 0.6)

RAMPS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "error": ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)),
    "change": ((33, 80, 140), (146, 197, 222), (245, 245, 245), (244, 165, 130), (150, 30, 40)),
    "spread": ((247, 252, 253), (158, 188, 218), (140, 107, 177), (110, 1, 107), (40, 0, 50)),
    "share": ((60, 90, 60), (200, 200, 120), (250, 190, 90), (225, 85, 45), (130, 0, 30)),
    "index": ((120, 70, 20), (200, 160, 90), (240, 235, 190), (110, 175, 70), (10, 85, 30)),
}
SEVERITY_RGB = ((60, 90, 60), (250, 240, 140), (253, 190, 80), (240, 110, 50), (190, 30, 40), (90, 0, 60))
DNBR_RGB = ((20, 90, 40), (120, 180, 110), (60, 90, 60), (250, 240, 140), (253, 190, 80), (240, 110, 50), (150, 0, 60))
CLOUD_RGB, SHADOW_RGB = (255, 40, 200), (0, 220, 255)
BURNED_RGB = ((60, 90, 60), (245, 120, 45))  # apart in brightness too
SOURCE_RGB = ((70, 130, 180), (240, 170, 60), (160, 110, 190))
ABSTAIN_RGB = ((205, 215, 205), (190, 30, 40))
SIGMA_MAX = 0.1


def _byte(plane: Plane, low: float, high: float, gamma: float = 1.0) -> Picture:
    scaled = np.clip((np.nan_to_num(np.asarray(plane, dtype=np.float64), nan=low) - low) / (high - low), 0.0, 1.0)
    return np.asarray(np.round(255.0 * scaled ** (1.0 / gamma)), dtype=np.uint8)


def _join(planes: Sequence[Picture], valid: NDArray[np.bool_]) -> Picture:
    picture = np.stack(planes, axis=-1)
    picture[~valid] = NODATA_RGB
    return picture


def true_colour(bands: Mapping[str, Plane]) -> Picture:
    """B04, B03, B02 of reflectance stretched 0..0.3, gamma 1.4; grey where a band has no data."""
    planes = [np.asarray(bands[name]) for name in ("B04", "B03", "B02")]
    valid = np.all([np.isfinite(plane) for plane in planes], axis=0)
    return _join([_byte(plane, 0.0, TRUE_COLOUR_MAX, GAMMA) for plane in planes], valid)


def false_colour(bands: Mapping[str, Plane]) -> Picture | None:
    """B12, B08, B04: burns are red, vegetation green; None when B12 is not there."""
    names = ("B12", "B08", "B04")
    if not set(names) <= set(bands):
        return None
    planes = [np.asarray(bands[name]) for name in names]
    valid = np.all([np.isfinite(plane) for plane in planes], axis=0)
    return _join([_byte(p, 0.0, top, GAMMA) for p, top in zip(planes, FALSE_COLOUR_MAX, strict=True)], valid)


def _db(power: Plane) -> NDArray[np.float64]:
    values = np.asarray(power, dtype=np.float64)
    return np.where(values > 0, 10.0 * np.log10(np.where(values > 0, values, 1.0)), np.nan)


def radar(vv_power: Plane, vh_power: Plane) -> Picture:
    """VV, VH and VV/VH in dB as red, green, blue; fixed ranges -25..0, -32.5..0, 0..15 dB."""
    vv, vh = _db(vv_power), _db(vh_power)
    valid = np.isfinite(vv) & np.isfinite(vh)
    return _join([_byte(vv, *VV_DB), _byte(vh, *VH_DB), _byte(vv - vh, *RATIO_DB)], valid)


def radar_change(vh_t0_power: Plane, vh_t1_power: Plane, median_db: float = 0.0) -> Picture:
    """Change of VH in dB minus the scene median, blue (drop) to red, -6..6 dB."""
    return ramp(_db(vh_t1_power) - _db(vh_t0_power) - median_db, *CHANGE_DB, "change")


def ramp(plane: Plane, low: float, high: float, name: str) -> Picture:
    """A plane through one of the colour ramps error, change, index; grey where NaN."""
    anchors = np.asarray(RAMPS[name], dtype=np.float64)
    values = np.asarray(plane, dtype=np.float64)
    valid = np.isfinite(values)
    position = np.clip((np.where(valid, values, low) - low) / (high - low), 0, 1) * (len(anchors) - 1)
    channels = [np.interp(position, np.arange(len(anchors)), anchors[:, i]) for i in range(3)]
    return _join([np.asarray(np.round(channel), dtype=np.uint8) for channel in channels], valid)


def error(prediction: NDArray[Any], truth: NDArray[Any]) -> Picture:
    """Mean absolute error over bands of two images (bands, H, W), black 0 to light 0.1."""
    return ramp(np.abs(np.asarray(prediction, dtype=np.float64) - truth).mean(axis=0), 0.0, ERROR_MAX, "error")


def classes(codes: NDArray[np.uint8], colours: Sequence[tuple[int, int, int]]) -> Picture:
    """Class codes in fixed colours; grey for 255 and for codes without a colour."""
    table = np.full((256, 3), NODATA_RGB, dtype=np.uint8)
    table[: len(colours)] = colours
    return np.asarray(table[codes])


def outline(picture: Picture, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> Picture:
    """The picture with the edge pixels of a mask (H, W) in a colour; the picture's own border is no edge."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    out = picture.copy()
    out[mask & ~inner] = colour
    return out


def shrink(picture: Picture, max_px: int, *, nearest: bool = False) -> Picture:
    """Reduce by a whole factor until the larger side is at most max_px: block mean, or every n-th pixel."""
    factor = -(-max(picture.shape[:2]) // max_px)
    if factor <= 1:
        return picture
    if nearest:
        return np.ascontiguousarray(picture[factor // 2 :: factor, factor // 2 :: factor])
    rows, cols = (size // factor * factor for size in picture.shape[:2])
    blocks = picture[:rows, :cols].reshape(rows // factor, factor, cols // factor, factor, 3).astype(np.float64)
    return np.asarray(np.round(blocks.mean(axis=(1, 3))), dtype=np.uint8)


def label(picture: Picture, text: str) -> Picture:
    """The picture with a small line of text in its upper left corner; unchanged when it is too small or text empty."""
    if not text or picture.shape[1] < 8 * len(text) or picture.shape[0] < 24:
        return picture
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((5, 4), text)
    draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill=(0, 0, 0))
    draw.text((5, 4), text, fill=(255, 255, 255))
    return np.asarray(image, dtype=np.uint8)


def png_bytes(picture: Picture) -> bytes:
    """PNG of a picture; equal pixels give equal bytes."""
    return _encode(picture, "PNG", {"compress_level": 9})


def jpeg_bytes(picture: Picture, quality: int = 85) -> bytes:
    """JPEG of a picture, for photographs inside a page."""
    return _encode(picture, "JPEG", {"quality": quality, "subsampling": 0})


def webp_bytes(picture: Picture, quality: int = 80) -> bytes:
    """WebP of a photograph inside a page: about half of JPEG at equal looks; 100 keeps every pixel, for classes."""
    kept = quality >= 100
    return _encode(picture, "WEBP", {"lossless": True, "method": 4} if kept else {"quality": quality, "method": 4})


def _encode(picture: Picture, kind: str, options: Mapping[str, Any]) -> bytes:
    from PIL import Image

    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"expected a picture (H, W, 3) of uint8, found {picture.shape} of {picture.dtype}")
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, kind, **options)
    return stream.getvalue()


def write_png(path: Path, picture: Picture, *, max_px: int | None = None, text: str = "") -> None:
    """Write a PNG, whole or not at all; reduced to max_px first, with `text` in its corner."""
    small = picture if max_px is None else shrink(picture, max_px)
    atomic_bytes(path, png_bytes(label(small, text)))


def contact_sheet(path: Path, rows: Sequence[Sequence[tuple[str, Picture]]], title: str, *, cell_px: int = 320) -> None:
    """Write one PNG with titled pictures in rows, for side-by-side reading.

    Matplotlib with the Agg canvas; its program name is kept out of the file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    first = rows[0][0][1]
    aspect = first.shape[0] / first.shape[1]
    width = cell_px * columns / 100
    figure = Figure(figsize=(width, (cell_px * aspect + 34) * len(rows) / 100 + 0.45), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for i, row in enumerate(rows):
        for j in range(columns):
            axes[i][j].axis("off")
            if j < len(row):
                axes[i][j].imshow(row[j][1], interpolation="nearest" if max(first.shape) < cell_px else "antialiased")
                axes[i][j].set_title(row[j][0], fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    atomic_bytes(path, stream.getvalue())

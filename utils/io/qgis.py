"""Layer styles for QGIS (.qml): a file beside a raster with the same name is its style when QGIS opens it.

QGIS's GDAL provider applies scale and offset of a band, so limits are in reflectance whether it is stored as Int16 or
float. The form is that of QGIS 3: a pipe of renderer, brightness, saturation and resampler.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from utils.io import pictures
from utils.science import severity
from utils.workflow.files import atomic_bytes

Kind = Literal[
    "true_colour", "nir_false_colour", "swir_false_colour", "source", "sigma", "abstain", "burned", "severity_dndvi",
    "severity_dnbr",
]  # fmt: skip
RGB = tuple[int, int, int]
Entry = tuple[int, RGB, str]

VERSION = "3.22.0-Białowieża"
_DOCTYPE = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_COLOURS: dict[str, tuple[tuple[str, str, str], tuple[float, float, float]]] = {
    "true_colour": (("B04", "B03", "B02"), (pictures.TRUE_COLOUR_MAX,) * 3),
    "nir_false_colour": (("B08", "B04", "B03"), (0.5, pictures.TRUE_COLOUR_MAX, pictures.TRUE_COLOUR_MAX)),
    "swir_false_colour": (("B12", "B08", "B04"), pictures.FALSE_COLOUR_MAX),
}
_SOURCE: tuple[Entry, ...] = (
    (0, (58, 110, 165), "observed"), (1, (214, 96, 77), "simulated"), (2, (244, 165, 130), "feathered"),
)  # fmt: skip
_ABSTAIN: tuple[Entry, ...] = ((0, (200, 220, 200), "use"), (1, (150, 30, 40), "do not use"))
SIGMA_MAX = 0.1


def _named(colours: Sequence[RGB], names: Sequence[str]) -> tuple[Entry, ...]:
    return tuple(
        (code, rgb, name.replace("_", " ")) for code, (rgb, name) in enumerate(zip(colours, names, strict=True))
    )


def classes(kind: Kind) -> tuple[Entry, ...]:
    """Code, colour and name of every class of a kind; empty for kinds that are no classes."""
    tables: dict[str, tuple[Entry, ...]] = {
        "source": _SOURCE,
        "abstain": _ABSTAIN,
        "burned": _named(pictures.BURNED_RGB, ("not burned", "burned")),
        "severity_dndvi": _named(pictures.SEVERITY_RGB, severity.SEVERITY_NAMES),
        "severity_dnbr": _named(pictures.DNBR_RGB, severity.DNBR_NAMES),
    }
    return tables.get(kind, ())


def can_style(kind: Kind, bands: Sequence[str]) -> bool:
    """True when a raster of these bands has all that a colour composite shows; classes and sigma need one band."""
    return set(_COLOURS[kind][0]) <= set(bands) if kind in _COLOURS else bool(bands)


def write_style(path: Path, kind: Kind, *, bands: Sequence[str] = (), band: int = 1) -> None:
    """Write the style of a raster, whole or not at all; equal arguments give equal bytes.

    path    X.qml beside X.tif is applied when QGIS opens X.tif; other names are loaded by hand
    kind    true_colour, nir_false_colour (B08 B04 B03), swir_false_colour (B12 B08 B04); source, abstain, burned,
            severity_dndvi, severity_dnbr: codes of those rasters; sigma: 0 to 0.1 reflectance
    bands   band names of the raster in order, for the colour composites
    band    1-based number of the band that the other kinds show
    raises  ValueError when a colour composite lacks a band
    """
    if kind in _COLOURS:
        if not can_style(kind, bands):
            raise ValueError(f"{kind} needs {', '.join(_COLOURS[kind][0])}; the raster has {', '.join(bands)}")
        wanted, limits = _COLOURS[kind]
        renderer, gamma = _multiband([list(bands).index(name) + 1 for name in wanted], limits), pictures.GAMMA
    else:
        renderer, gamma = (_pseudocolour(band) if kind == "sigma" else _paletted(classes(kind), band)), 1.0
    atomic_bytes(path, _document(renderer, gamma))


def _renderer(kind: str, **more: object) -> ET.Element:
    given = {"type": kind, "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    renderer = ET.Element("rasterrenderer", {**given, **{name: str(value) for name, value in more.items()}})
    ET.SubElement(renderer, "rasterTransparency")
    origin = ET.SubElement(renderer, "minMaxOrigin")
    for name, text in (
        ("limits", "None"), ("extent", "WholeRaster"), ("statAccuracy", "Estimated"), ("cumulativeCutLower", "0.02"),
        ("cumulativeCutUpper", "0.98"), ("stdDevFactor", "2"),
    ):  # fmt: skip
        ET.SubElement(origin, name).text = text
    return renderer


def _multiband(numbers: Sequence[int], limits: Sequence[float]) -> ET.Element:
    red, green, blue = numbers
    renderer = _renderer("multibandcolor", redBand=red, greenBand=green, blueBand=blue)
    for colour, top in zip(("red", "green", "blue"), limits, strict=True):
        stretch = ET.SubElement(renderer, f"{colour}ContrastEnhancement")
        ET.SubElement(stretch, "minValue").text = "0"
        ET.SubElement(stretch, "maxValue").text = f"{top:g}"
        ET.SubElement(stretch, "algorithm").text = "StretchToMinimumMaximum"
    return renderer


def _hex(rgb: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _paletted(entries: Sequence[Entry], band: int) -> ET.Element:
    renderer = _renderer("paletted", band=band)
    palette = ET.SubElement(renderer, "colorPalette")
    for code, rgb, name in entries:
        ET.SubElement(palette, "paletteEntry", {"value": str(code), "color": _hex(rgb), "alpha": "255", "label": name})
    return renderer


def _pseudocolour(band: int) -> ET.Element:
    """Standard deviation through the colours of errors, dark = small."""
    renderer = _renderer("singlebandpseudocolor", band=band, classificationMin="0", classificationMax=f"{SIGMA_MAX:g}")
    shader = ET.SubElement(ET.SubElement(renderer, "rastershader"), "colorrampshader", {
        "colorRampType": "INTERPOLATED", "classificationMode": "1", "clip": "0", "minimumValue": "0",
        "maximumValue": f"{SIGMA_MAX:g}", "labelPrecision": "3",
    })  # fmt: skip
    anchors = pictures.RAMPS["error"]
    for number, rgb in enumerate(anchors):
        value = f"{SIGMA_MAX * number / (len(anchors) - 1):g}"
        ET.SubElement(shader, "item", {"value": value, "color": _hex(rgb), "alpha": "255", "label": value})
    return renderer


def _document(renderer: ET.Element, gamma: float) -> bytes:
    attributes = {"version": VERSION, "styleCategories": "Symbology", "hasScaleBasedVisibilityFlag": "0"}
    root = ET.Element("qgis", {**attributes, "minScale": "1e+08", "maxScale": "0"})
    pipe = ET.SubElement(root, "pipe")
    ET.SubElement(ET.SubElement(pipe, "provider"), "resampling", {
        "enabled": "false", "maxOversampling": "2", "zoomedInResamplingMethod": "nearestNeighbour",
        "zoomedOutResamplingMethod": "nearestNeighbour",
    })  # fmt: skip
    pipe.append(renderer)
    ET.SubElement(pipe, "brightnesscontrast", {"brightness": "0", "contrast": "0", "gamma": f"{gamma:g}"})
    ET.SubElement(pipe, "huesaturation", {
        "saturation": "0", "grayscaleMode": "0", "invertColors": "0", "colorizeOn": "0", "colorizeRed": "255",
        "colorizeGreen": "128", "colorizeBlue": "128", "colorizeStrength": "100",
    })  # fmt: skip
    ET.SubElement(pipe, "rasterresampler", {"maxOversampling": "2"})
    ET.SubElement(pipe, "resamplingStage").text = "resamplingFilter"
    ET.SubElement(root, "blendMode").text = "0"
    ET.indent(root, " ")
    return _DOCTYPE + ET.tostring(root, encoding="unicode").encode("utf-8") + b"\n"

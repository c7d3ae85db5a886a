"""QGIS styles read by a strict parser of the form that QGIS 3 writes: elements, attributes, classes, bands, limits."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from utils.io import pictures, qgis
from utils.science import severity

BANDS = ("B04", "B03", "B02", "B08", "B12")
PIPE = ["provider", "rasterrenderer", "brightnesscontrast", "huesaturation", "rasterresampler", "resamplingStage"]
COMMON = {"type", "opacity", "alphaBand", "nodataColor"}
RENDERERS = {
    "multibandcolor": (
        {"redBand", "greenBand", "blueBand"},
        ["rasterTransparency", "minMaxOrigin", "redContrastEnhancement", "greenContrastEnhancement", "blueContrastEnhancement"],
    ),
    "paletted": ({"band"}, ["rasterTransparency", "minMaxOrigin", "colorPalette"]),
    "singlebandpseudocolor": (
        {"band", "classificationMin", "classificationMax"}, ["rasterTransparency", "minMaxOrigin", "rastershader"],
    ),
}  # fmt: skip
ORIGIN = ["limits", "extent", "statAccuracy", "cumulativeCutLower", "cumulativeCutUpper", "stdDevFactor"]
KINDS = (
    "true_colour", "nir_false_colour", "swir_false_colour", "source", "sigma", "abstain", "burned", "severity_dndvi",
    "severity_dnbr",
)  # fmt: skip
COLOUR = re.compile(r"#[0-9a-f]{6}")


def parse(path: Path, bands: int) -> ET.Element:
    """The renderer of a style; every departure from the form is an AssertionError."""
    text = path.read_bytes()
    assert text.startswith(b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n")
    root = ET.fromstring(text)
    assert root.tag == "qgis" and re.match(r"3\.\d+\.\d+", root.attrib["version"])
    assert [child.tag for child in root] == ["pipe", "blendMode"] and root[1].text == "0"
    pipe = root[0]
    assert [child.tag for child in pipe] == PIPE
    assert pipe[0][0].attrib.keys() == {
        "enabled", "maxOversampling", "zoomedInResamplingMethod", "zoomedOutResamplingMethod",
    }  # fmt: skip
    assert pipe[2].attrib.keys() == {"brightness", "contrast", "gamma"} and 0.1 <= float(pipe[2].attrib["gamma"]) <= 10
    renderer = pipe[1]
    attributes, children = RENDERERS[renderer.attrib["type"]]
    assert set(renderer.attrib) == COMMON | attributes and [child.tag for child in renderer] == children
    assert renderer.attrib["alphaBand"] == "-1" and renderer.attrib["opacity"] == "1"
    assert [child.tag for child in renderer[1]] == ORIGIN and renderer[1][0].text == "None"
    for name in attributes:
        if name.lower().endswith("band"):
            assert 1 <= int(renderer.attrib[name]) <= bands
    for entry in renderer.iter():
        if "color" in entry.attrib:
            assert COLOUR.fullmatch(entry.attrib["color"]) and entry.attrib["alpha"] == "255" and entry.attrib["label"]
    return renderer


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_form(tmp_path: Path, kind: qgis.Kind) -> None:
    path = tmp_path / f"{kind}.qml"
    qgis.write_style(path, kind, bands=BANDS)
    parse(path, len(BANDS))
    first = path.read_bytes()
    qgis.write_style(path, kind, bands=BANDS)
    assert path.read_bytes() == first


def test_the_parser_refuses_other_forms(tmp_path: Path) -> None:
    path = tmp_path / "x.qml"
    qgis.write_style(path, "source")
    good = path.read_text()
    for old, new in (
        ("rasterrenderer", "renderer"),
        ('band="1"', 'band="7"'),
        ("#3a6ea5", "3a6ea5"),
        ("<blendMode>", "<mode>"),
    ):
        assert old in good
        path.write_text(
            good.replace(old, new).replace("</blendMode>", "</mode>" if "<mode>" in new else "</blendMode>")
        )
        with pytest.raises(AssertionError):
            parse(path, 1)


@pytest.mark.parametrize(
    ("kind", "numbers", "limits"),
    [
        ("true_colour", (1, 2, 3), (0.3, 0.3, 0.3)),
        ("nir_false_colour", (4, 1, 2), (0.5, 0.3, 0.3)),
        ("swir_false_colour", (5, 4, 1), (0.4, 0.5, 0.3)),
    ],
)
def test_bands_by_name_and_limits_in_reflectance(
    tmp_path: Path, kind: qgis.Kind, numbers: tuple, limits: tuple
) -> None:
    path = tmp_path / "x.qml"
    qgis.write_style(path, kind, bands=BANDS)
    renderer = parse(path, 5)
    assert tuple(int(renderer.attrib[f"{c}Band"]) for c in ("red", "green", "blue")) == numbers
    for colour, top in zip(("red", "green", "blue"), limits):
        stretch = renderer.find(f"{colour}ContrastEnhancement")
        assert stretch is not None
        assert [float(stretch.findtext(n, "")) for n in ("minValue", "maxValue")] == [0.0, top]
        assert stretch.findtext("algorithm") == "StretchToMinimumMaximum"


@pytest.mark.parametrize(
    ("kind", "colours", "names"),
    [
        ("severity_dndvi", pictures.SEVERITY_RGB, severity.SEVERITY_NAMES),
        ("severity_dnbr", pictures.DNBR_RGB, severity.DNBR_NAMES),
    ],
)
def test_severity_has_the_colours_of_the_pictures(
    tmp_path: Path, kind: qgis.Kind, colours: tuple, names: tuple
) -> None:
    path = tmp_path / "severity.qml"
    qgis.write_style(path, kind, band=2)
    renderer = parse(path, 2)
    assert renderer.attrib["band"] == "2"
    palette = renderer.find("colorPalette")
    assert palette is not None
    found = [(e.attrib["value"], e.attrib["color"], e.attrib["label"]) for e in palette]
    assert found == [
        (str(code), "#{:02x}{:02x}{:02x}".format(*rgb), name.replace("_", " "))
        for code, (rgb, name) in enumerate(zip(colours, names, strict=True))
    ]


def test_codes_of_source_and_abstain(tmp_path: Path) -> None:
    for kind, codes in (("source", ["0", "1", "2"]), ("abstain", ["0", "1"]), ("burned", ["0", "1"])):
        path = tmp_path / f"{kind}.qml"
        qgis.write_style(path, kind)
        assert [e.attrib["value"] for e in parse(path, 1).iter("paletteEntry")] == codes
        assert [str(code) for code, _, _ in qgis.classes(kind)] == codes


def test_sigma_ramp_rises_in_even_steps(tmp_path: Path) -> None:
    path = tmp_path / "sigma.qml"
    qgis.write_style(path, "sigma", band=3)
    renderer = parse(path, 5)
    shader = renderer.find("rastershader/colorrampshader")
    assert shader is not None and shader.attrib["colorRampType"] == "INTERPOLATED"
    assert [float(i.attrib["value"]) for i in shader] == [0, 0.025, 0.05, 0.075, 0.1]
    assert renderer.attrib["band"] == "3" and float(renderer.attrib["classificationMax"]) == 0.1


def test_a_missing_band_is_named(tmp_path: Path) -> None:
    assert not qgis.can_style("swir_false_colour", BANDS[:4])
    with pytest.raises(ValueError, match="needs B12, B08, B04"):
        qgis.write_style(tmp_path / "x.qml", "swir_false_colour", bands=BANDS[:4])
    assert not list(tmp_path.iterdir())

"""Variants of the shipped graphs: what a setting changes is changed in the graph, never by a silent option of gpt."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import Literal
from xml.etree import ElementTree

Orbit = Literal["poeorb", "resorb", "annotation"]
ORBIT_TYPE = {"poeorb": "Sentinel Precise (Auto Download)", "resorb": "Sentinel Restituted (Auto Download)"}
SIGMA_WINDOWS = (5, 7, 9, 11, 13, 15)
SIGMAS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class S1Choice:
    """Choices of a Sentinel-1 graph.

    orbit          annotation leaves the orbit node out; resorb asks for restituted orbits
    noise, border_noise  keep the nodes of thermal and border noise
    spacing_m      10, or 20 with 2 x 2 looks
    ellipsoid      heights are above the ellipsoid already: no geoid is added
    nearest        nearest neighbour from radar to map
    incidence      also write the local incidence angle
    per_polarisation  one polarisation a run: variable ${pol}
    window, sigma  of the speckle filter
    sides          write the window for the filters that take it as two sides (Lee, boxcar); Lee sigma has its own element
    """

    orbit: Orbit = "poeorb"
    noise: bool = True
    border_noise: bool = True
    spacing_m: Literal[10, 20] = 10
    ellipsoid: bool = False
    nearest: bool = False
    incidence: bool = False
    per_polarisation: bool = False
    window: int = 7
    sigma: float = 0.9
    sides: bool = False


# shipped file -> the choice that makes it from s1_grd.xml
S1_VARIANTS = {
    "s1_grd_annotation.xml": S1Choice(orbit="annotation"),
    "s1_grd_resorb.xml": S1Choice(orbit="resorb"),
    "s1_grd_20m.xml": S1Choice(spacing_m=20),
    "s1_grd_ellipsoid.xml": S1Choice(ellipsoid=True),
    "s1_grd_pol.xml": S1Choice(per_polarisation=True),
}
S2_VARIANTS = {"s2_l2a_20m.xml": "resample", "s2_l2a_band.xml": "band"}


def s1_graph(base: str, choice: S1Choice) -> str:
    """The graph s1_grd.xml with a choice applied.

    raises  ValueError for a window or sigma that SNAP does not offer
    """
    if choice.window not in SIGMA_WINDOWS:
        raise ValueError(f"SNAP offers speckle windows of {', '.join(map(str, SIGMA_WINDOWS))}, not {choice.window}")
    if choice.sigma not in SIGMAS:
        raise ValueError(f"SNAP offers sigma {', '.join(map(str, SIGMAS))}, not {choice.sigma:g}")
    root = ElementTree.fromstring(base)
    if choice.orbit == "annotation":
        _drop(root, "Apply-Orbit-File")
    else:
        _set(root, "Apply-Orbit-File", orbitType=ORBIT_TYPE[choice.orbit])
    if not choice.noise:
        _drop(root, "ThermalNoiseRemoval")
    if not choice.border_noise:
        _drop(root, "Remove-GRD-Border-Noise")
    if choice.per_polarisation:
        for name in ("ThermalNoiseRemoval", "Remove-GRD-Border-Noise", "Calibration"):
            _set(root, name, selectedPolarisations="${pol}")
    if choice.ellipsoid:
        for name in ("Terrain-Flattening", "Terrain-Correction"):
            _set(root, name, externalDEMApplyEGM="false")
    side = str(choice.window)
    _set(root, "Speckle-Filter", windowSize=f"{side}x{side}", sigmaStr=f"{choice.sigma:g}")
    if choice.sides:
        _set(root, "Speckle-Filter", filterSizeX=side, filterSizeY=side)
    if choice.nearest:
        _set(root, "Terrain-Correction", imgResamplingMethod="NEAREST_NEIGHBOUR")
    if choice.incidence:
        _set(root, "Terrain-Correction", saveLocalIncidenceAngle="true")
    if choice.spacing_m == 20:
        _looks(root)
    return _text(root, f"s1_grd.xml with {_changed(choice)}")


def s2_graph(base: str, variant: Literal["plain", "resample", "band"], reference: str = "B2") -> str:
    """The graph s2_l2a.xml: plain, with 20 m bands resampled (SNAP 11 or newer), or one band a run."""
    root = ElementTree.fromstring(base)
    if variant == "resample":
        read = _node(root, "Read")
        index = list(root).index(read) + 1
        root.insert(index, _new("S2Resampling", "Read", {
            "resolution": "10", "upsampling": "Bilinear", "downsampling": "Mean", "flagDownsampling": "First",
            "resampleOnPyramidLevels": "false", "bands": "${bands}",
        }))  # fmt: skip
        _source(_node(root, "BandSelect")).set("refid", "S2Resampling")
    _set(root, "Subset", referenceBand="${bands}" if variant == "band" else reference)
    return _text(root, f"s2_l2a.xml, variant {variant}, reference {reference}")


def _changed(choice: S1Choice) -> str:
    """What differs from the shipped graph, in words."""
    changes = {field.name: getattr(choice, field.name) for field in fields(choice)}
    words = [f"{name} {value}" for name, value in changes.items() if value != getattr(S1Choice(), name)]
    return ", ".join(words) or "no change"


def _looks(root: ElementTree.Element) -> None:
    """2 x 2 looks between speckle filter and terrain correction, and a 20 m grid."""
    correction = _node(root, "Terrain-Correction")
    looks = {"nRgLooks": "2", "nAzLooks": "2", "outputIntensity": "false", "grSquarePixel": "true"}
    root.insert(list(root).index(correction), _new("Multilook", "Speckle-Filter", looks))
    _source(correction).set("refid", "Multilook")
    _set(root, "Terrain-Correction", pixelSpacingInMeter="20.0", standardGridOriginX="10.0", standardGridOriginY="10.0")


def _node(root: ElementTree.Element, name: str) -> ElementTree.Element:
    return next(node for node in root.iter("node") if node.get("id") == name)


def _source(node: ElementTree.Element) -> ElementTree.Element:
    return next(iter(node.findall("sources/*")))


def _new(name: str, source: str, parameters: dict[str, str]) -> ElementTree.Element:
    node = ElementTree.Element("node", {"id": name})
    ElementTree.SubElement(node, "operator").text = name
    ElementTree.SubElement(ElementTree.SubElement(node, "sources"), "sourceProduct", {"refid": source})
    inner = ElementTree.SubElement(node, "parameters")
    for key, value in parameters.items():
        ElementTree.SubElement(inner, key).text = value
    return node


def _drop(root: ElementTree.Element, name: str) -> None:
    """Leave a node out; those that read from it read from its source."""
    node = _node(root, name)
    before = _source(node).get("refid") or ""
    for source in root.iterfind("node/sources/*"):
        if source.get("refid") == name:
            source.set("refid", before)
    root.remove(node)


def _set(root: ElementTree.Element, name: str, **values: str) -> None:
    """Write parameters of a node; a node that was left out is passed over."""
    for node in root.iter("node"):
        if node.get("id") == name:
            inner = next(iter(node.findall("parameters")))
            for key, value in values.items():
                found = inner.find(key)
                (ElementTree.SubElement(inner, key) if found is None else found).text = value


def _text(root: ElementTree.Element, note: str) -> str:
    tree = copy.deepcopy(root)
    ElementTree.indent(tree)
    body = ElementTree.tostring(tree, encoding="unicode")
    note = note.replace("--", "-")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- Made by ./s2cr snap_graph: {note} -->\n{body}\n'

"""Rules of this project for gpt graphs: values that are legal for SNAP and wrong for this job.

Each rule stands for a fault that published graphs had: silent fallbacks, negative power from cubic resampling, heights
that are ignored, a sea that vanishes, a region that is never applied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from utils.io.snap import Finding, Node, upstream_ids

_SHARP = ("BICUBIC", "CUBIC", "BISINC")
_DEM_ELEMENTS = ("demName", "externalDEMFile", "externalDEMNoDataValue", "externalDEMApplyEGM")
_BAND_RESAMPLING = re.compile(r"[\w.]+:\w+:\w+")
_TERRAIN = ("Terrain-Flattening", "Terrain-Correction")
GRD_SPACING_M = 10.0


def project_rules(nodes: list[Node], version: str) -> list[Finding]:
    """Findings of all rules; version is a name of the facts, empty when unknown."""
    upstream = _upstream(nodes)
    found = [finding for node in nodes for finding in _rule_of(node)(node, upstream[node.id])]
    return [*found, *_terrain_agrees(nodes)]


def _upstream(nodes: list[Node]) -> dict[str, list[Node]]:
    sources = {node.id: {refid for _, refid in node.sources} for node in nodes}
    return {node.id: [n for n in nodes if n.id in upstream_ids(node.id, sources)] for node in nodes}


Rule = Callable[[Node, list[Node]], Iterator[Finding]]


def _nothing(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    yield from ()


def _rule_of(node: Node) -> Rule:
    rules: Mapping[str, Rule] = {
        "Read": _read, "Apply-Orbit-File": _orbit, "Remove-GRD-Border-Noise": _border, "Subset": _subset,
        "Terrain-Flattening": _flattening, "Terrain-Correction": _correction, "Resample": _resample,
        "S2Resampling": _s2_resampling,
    }  # fmt: skip
    return rules.get(node.operator, _nothing)


def _is(node: Node, name: str, value: str) -> bool:
    return node.parameters.get(name, "").lower() == value


def _read(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    narrow = [name for name in ("pixelRegion", "geometryRegion", "sourceBands") if node.parameters.get(name)]
    if narrow and not _is(node, "useAdvancedOptions", "true"):
        yield Finding("error", node.id, f"{', '.join(narrow)} is ignored without useAdvancedOptions true")
    if "pixelRegion" in narrow and "geometryRegion" in narrow:
        yield Finding("error", node.id, "pixelRegion and geometryRegion exclude each other")


def _orbit(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    if not _is(node, "continueOnFail", "false"):
        yield Finding(
            "error", node.id, "continueOnFail must be written as false: true keeps the annotation orbit silently"
        )


def _border(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    if any(other.operator == "Subset" for other in upstream):
        yield Finding("error", node.id, "border noise is removed after a Subset: the cut edges would be trimmed")


def _subset(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    if not _is(node, "copyMetadata", "true"):
        yield Finding("error", node.id, "copyMetadata must be written as true: the default differs between versions")


def _flattening(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    beta = [n for n in upstream if n.operator == "Calibration" and _is(n, "outputBetaBand", "true")]
    if not beta:
        yield Finding("error", node.id, "no Calibration with outputBetaBand true before it: it needs Beta0 bands")
    yield from _heights(node)


def _heights(node: Node) -> Iterator[Finding]:
    """Of both terrain operators: height source, geoid and sea are written, never left to defaults."""
    for name in ("demName", "externalDEMApplyEGM", "nodataValueAtSea"):
        if not node.parameters.get(name):
            yield Finding(
                "error", node.id, f"{name} must be written: the default differs between operators or versions"
            )
    if _is(node, "nodataValueAtSea", "true"):
        yield Finding("warning", node.id, "nodataValueAtSea true: coastal scenes lose the sea")
    if node.parameters.get("externalDEMFile") and "External DEM" not in node.parameters.get("demName", ""):
        yield Finding("error", node.id, "externalDEMFile is ignored unless demName contains the text External DEM")
    if "External DEM" in node.parameters.get("demName", "") and not node.parameters.get("externalDEMFile"):
        yield Finding("error", node.id, "demName is External DEM, but externalDEMFile is missing")


def _correction(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    method = node.parameters.get("imgResamplingMethod", "")
    if any(name in method.upper() for name in _SHARP):
        yield Finding("error", node.id, f"imgResamplingMethod {method}: overshoot gives negative power")
    if not method:
        yield Finding("error", node.id, "imgResamplingMethod must be written")
    if re.match(r"(PROJCS|GEOGCS|PROJCRS)\b", node.parameters.get("mapProjection", "")):
        yield Finding("error", node.id, "mapProjection is a fixed WKT: write ${crs} or an EPSG code")
    yield from _heights(node)
    yield from _looks(node, upstream)


def _looks(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    """Multilooked pixels are not interpolated back to a finer grid."""
    spacing = _number(node, "pixelSpacingInMeter")
    for other in upstream:
        looks = _number(other, "nRgLooks") if other.operator == "Multilook" else None
        if looks and spacing and spacing < looks * GRD_SPACING_M:
            yield Finding(
                "error", node.id,
                f"pixelSpacingInMeter {spacing:g} is finer than the {looks * GRD_SPACING_M:g} m that {other.id} leaves",
            )  # fmt: skip


def _number(node: Node, name: str) -> float | None:
    try:
        return float(node.parameters.get(name, ""))
    except ValueError:
        return None


def _resample(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    text = node.parameters.get("bandResamplings", "")
    if text and "${" not in text:
        bad = [part for part in text.split(",") if not _BAND_RESAMPLING.fullmatch(part.strip())]
        if bad:
            yield Finding("error", node.id, f"bandResamplings {bad[0]!r} is not name:downsampling:upsampling")
    yield from _after_selection(node)


def _s2_resampling(node: Node, upstream: list[Node]) -> Iterator[Finding]:
    yield from _after_selection(node)


def _after_selection(node: Node) -> Iterator[Finding]:
    """A resampling that names no bands resamples all thirteen, also those that have the right size."""
    if not (node.parameters.get("bands") or node.parameters.get("bandResamplings")):
        yield Finding("warning", node.id, "no bands are named: all bands are resampled, also those not wanted")


def _terrain_agrees(nodes: list[Node]) -> Iterator[Finding]:
    """Flattening and correction use the same heights above the same surface."""
    terrain = [node for node in nodes if node.operator in _TERRAIN]
    for name in _DEM_ELEMENTS:
        values = {node.parameters.get(name, "") for node in terrain}
        if len(values) > 1:
            where = ", ".join(f"{node.id} {node.parameters.get(name, 'not written')!r}" for node in terrain)
            yield Finding("error", terrain[-1].id, f"{name} differs between the terrain operators: {where}")

"""What a gpt run did, read from the graph and the settings that gpt.sh leaves beside its result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from utils.io.snap import Node, nodes_of, substitute
from utils.workflow.errors import InputError

GRAPH, SETTINGS = "graph.xml", "settings.txt"


@dataclass(frozen=True)
class Done:
    """Facts of a run; known is False for a .dim without its graph, and all others are empty then.

    noise, border  the nodes were in the graph;  egm: SNAP added EGM96 to the heights
    """

    known: bool = False
    version: str = ""
    graph_sha256: str = ""
    noise: bool = False
    border: bool = False
    egm: bool = False
    speckle: str = ""
    resampling: str = ""
    dem: str = ""


def done_by(dim: Path) -> Done:
    """Facts of the run that made a .dim file."""
    graph, settings = dim.parent / GRAPH, dim.parent / SETTINGS
    if not (graph.is_file() and settings.is_file()):
        return Done()
    lines = settings.read_text(encoding="utf-8").splitlines()
    values = {name: value for name, sign, value in (line.partition("=") for line in lines) if sign}
    version = next((line.split()[1] for line in lines if line.startswith("snap ")), "")
    text = graph.read_text(encoding="utf-8")
    try:
        nodes = {node.operator: node for node in nodes_of(ElementTree.fromstring(substitute(text, values)))}
    except ElementTree.ParseError as error:
        raise InputError(f"{graph}: not XML ({error}).", "Run gpt again: bash_scripts/gpt.sh.") from error
    correction = nodes["Terrain-Correction"].parameters if "Terrain-Correction" in nodes else {}
    method = correction.get("imgResamplingMethod", "")
    return Done(
        known=True, version=version, graph_sha256=hashlib.sha256(text.encode()).hexdigest(),
        noise="ThermalNoiseRemoval" in nodes, border="Remove-GRD-Border-Noise" in nodes,
        egm=correction.get("externalDEMApplyEGM", "").lower() == "true", speckle=_speckle(nodes.get("Speckle-Filter")),
        resampling={"BILINEAR_INTERPOLATION": "bilinear", "NEAREST_NEIGHBOUR": "nearest"}.get(method, method.lower()),
        dem=Path(correction.get("externalDEMFile", "")).name,
    )  # fmt: skip


def done_by_all(dims: Sequence[Path]) -> Done:
    """Facts of the runs that made the .dim files of one product, one band or polarisation each.

    raises  InputError when they were not made in the same way
    """
    found = [done_by(dim) for dim in dims]
    for dim, done in zip(dims, found, strict=True):
        if done != found[0]:
            raise InputError(
                f"{dims[0].name} and {dim.name} were not made with the same graph, settings and version of SNAP.",
                "Run gpt again for all bands of the product: bash_scripts/gpt.sh.",
            )
    return found[0]


def _speckle(node: Node | None) -> str:
    """Filter, window and looks in the words of the tag SPECKLE."""
    if node is None or node.parameters.get("filter") == "None":
        return "none"
    p = node.parameters
    name = p.get("filter", "").lower().replace(" ", "_")
    if name == "lee_sigma":
        return f"{name} {p.get('windowSize', '7x7')} looks {p.get('numLooksStr', '1')}"
    side = "7" if name == "refined_lee" else p.get("filterSizeX", "3")
    return f"{name} {side}x{side} ENL auto"

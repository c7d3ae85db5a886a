"""A stand-in for SNAP's gpt that is as strict as the real one where this project relies on it; run as a program.

It substitutes variables before it parses the graph, knows the elements of each version from the facts, leaves undefined
variables as they are, ignores -t, -f and -x when the graph has a Write node, looks for orbits where SNAP looks, falls
back to restituted orbits with a mere warning, and writes BEAM-DIMAP with pixels on the standard grid. It shares no code
with the checker. Switches, in the environment:

  FAKE_GPT_VERSION    major version (12)          FAKE_GPT_HEAP_MIB  -Xmx of its vmoptions file (4096)
  FAKE_GPT_IGNORE_J   1: -J options have no effect  FAKE_GPT_CALLS   file that gets a JSON line a call
  FAKE_GPT_FAIL       exit1, no_orbit, short_img, missing_band, disk_full, no_output, hang
  FAKE_GPT_ONLY       the failure only for products whose name holds this text
  FAKE_GPT_GEOID_M    undulation that externalDEMApplyEGM adds (0)
  FAKE_GPT_CACHE      folder that keeps pixels of Sentinel-1, so that the same run is computed once
  FAKE_GPT_S2         raw: Sentinel-2 numbers without scale and offset; no_offset: scale only
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

FACTS = json.loads((Path(__file__).parents[2] / "utils/io/snap_facts.json").read_text())
ROOT = Path(__file__).parents[2]


def install(folder: Path) -> Path:
    """Write a launcher named gpt into `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gpt"
    python = sys.executable
    path.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{ROOT}" PYTHONDONTWRITEBYTECODE=1\nexec "{python}" -m tests.fakes.gpt "$@"\n'
    )
    path.chmod(0o755)
    return path


class GptError(Exception):
    """Ends the program with status 1 and `Error: ` in front of the text."""


@dataclass
class Call:
    """The command line."""

    target: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    cache_mib: float | None = None
    threads: int | None = None
    errors: bool = False
    heap_mib: float = 4096.0
    userdir: Path = Path.home() / ".snap"
    diag: bool = False
    help: bool = False


@dataclass
class Node:
    """One node of the graph."""

    id: str
    operator: str
    sources: list[str]
    parameters: dict[str, str]


def size_mib(text: str) -> float:
    match = re.fullmatch(r"(\d+)([KMG]?)", text, re.IGNORECASE)
    if match is None:
        raise GptError(f"invalid size '{text}'")
    return int(match[1]) * {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "": 1 / 1048576}[match[2].upper()]


def parse(arguments: list[str]) -> Call:
    call = Call(heap_mib=float(os.environ.get("FAKE_GPT_HEAP_MIB", "4096")))
    todo = list(arguments)
    while todo:
        word = todo.pop(0)
        if word.startswith("-J"):
            if os.environ.get("FAKE_GPT_IGNORE_J") != "1":
                if word.startswith("-J-Xmx"):
                    call.heap_mib = size_mib(word.removeprefix("-J-Xmx"))
                elif word.startswith("-J-Dsnap.userdir="):
                    call.userdir = Path(word.partition("=")[2])
        elif word.startswith("-P"):
            name, sign, value = word[2:].partition("=")
            if not (name and sign):
                raise GptError(f"Missing '=' in '{word}'")
            call.variables[name] = value
        elif word == "-p":
            for line in Path(todo.pop(0)).read_text().splitlines():
                if "=" in line and not line.startswith("#"):
                    name, _, value = line.partition("=")
                    call.variables.setdefault(name.strip(), value.strip())
        elif word in ("-c", "-q", "-t", "-f", "-S"):
            if not todo:
                raise GptError(f"Missing argument for option '{word}'")
            value = todo.pop(0)
            if word == "-c":
                call.cache_mib = size_mib(value)
            elif word == "-q":
                call.threads = int(value)
        elif word in ("-e", "-x"):
            call.errors |= word == "-e"
        elif word in ("-h", "--help"):
            call.help = True
        elif word == "--diag":
            call.diag = True
        elif word.startswith("-"):
            raise GptError(f"Unknown option '{word}'")
        elif call.target:
            raise GptError(f"more than one target: '{call.target}' and '{word}'")
        else:
            call.target = word
    return call


def version() -> str:
    number = os.environ.get("FAKE_GPT_VERSION", "12")
    return next((v for v in FACTS["_about"]["versions"] if v.split("-")[0] == number), number)


def load_graph(call: Call) -> list[Node]:
    """Substitute, parse, and refuse what the version does not know."""
    if not (call.target.endswith((".xml", ".XML")) or "/" in call.target or "\\" in call.target):
        raise GptError(f"Unknown operator '{call.target}'")
    path = Path(call.target)
    if not path.is_file():
        raise GptError(f"Graph file '{path}' not found")
    text = re.sub(
        r"\$\{([^}]*)\}", lambda m: call.variables.get(m[1], m[0]), path.read_text()
    )  # undefined variables stay
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise GptError(f"{error}") from error
    if root.tag != "graph" or not root.findtext("version"):
        raise GptError("graph without version")
    nodes = [_node(element) for element in root.iter("node")]
    names = [node.id for node in nodes]
    if len(set(names)) != len(names):
        raise GptError("duplicate node id")
    for node in nodes:
        for source in node.sources:
            if source not in names:
                raise GptError(f"Missing source '{source}' for node '{node.id}'")
    return nodes


def _node(element: ElementTree.Element) -> Node:
    name, operator = element.get("id", ""), (element.findtext("operator") or "").strip()
    known = FACTS["operators"].get(operator)
    if known is None:
        raise GptError(f"[NodeId: {name}] Unknown operator '{operator}'")
    parameters = {}
    for child in element.findall("parameters/*"):
        fact = next((p for p in known["parameters"] if p["name"] == child.tag), None)
        if fact is None or version() not in fact.get("in_versions", (version(),)):
            raise GptError(f"[NodeId: {name}] Unknown element '{child.tag}'")
        value = (child.text or "").strip()
        values = fact.get("differs_in", {}).get(version(), {}).get("values", fact.get("values"))
        if value and values and value not in values:
            raise GptError(f"[NodeId: {name}] Value for '{child.tag}' is invalid: '{value}'")
        if value and fact["type"] in ("int", "Integer", "double", "Double", "float", "Float"):
            try:
                float(value)
            except ValueError as error:
                raise GptError(f"[NodeId: {name}] Cannot convert '{value}' for '{child.tag}'") from error
        parameters[child.tag] = value
    sources = []
    accepted = {source for entry in known["sources"] for source in entry["names"]}
    for source in element.findall("sources/*"):
        if re.sub(r"\.\d+$", "", source.tag) not in accepted:
            raise GptError(f"[NodeId: {name}] Unknown source '{source.tag}'")
        sources.append(source.get("refid") or "")
    return Node(name, operator, sources, parameters)


@dataclass
class Product:
    """What flows between nodes: where it came from and what was done to it."""

    path: Path
    mission: str
    name: str
    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    bands: tuple[str, ...] = ()
    orbit_text: str = ""
    orbit_file: Path | None = None


def failing(kind: str, product: str = "") -> bool:
    only = os.environ.get("FAKE_GPT_ONLY", "")
    return os.environ.get("FAKE_GPT_FAIL") == kind and (not only or only in product)


def read(node: Node) -> Product:
    path = Path(node.parameters.get("file", ""))
    if not path.is_file():
        raise GptError(f"[NodeId: {node.id}] Specified 'file' [{path}] does not exist.")
    if path.name in ("manifest.safe", "MTD_MSIL2A.xml"):
        folder = path.parent
        names = [path.name]
    elif path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [Path(name).name for name in archive.namelist()]
        folder = path
    else:
        raise GptError(f"[NodeId: {node.id}] No product reader found for {path}")
    if not {"manifest.safe", "MTD_MSIL2A.xml"} & set(names):
        raise GptError(f"[NodeId: {node.id}] No product reader found for {path}")
    name = folder.name.removesuffix(".zip").removesuffix(".SAFE")
    return Product(folder, name[:3], name)


def apply_orbit(node: Node, product: Product, call: Call) -> None:
    """Where SNAP looks, in its order; a restituted file is taken for a precise one with a warning only."""
    wanted = node.parameters.get("orbitType", "Sentinel Precise (Auto Download)")
    start = re.search(r"_(\d{8}T\d{6})_", product.name)
    stamp = start[1] if start else ""
    kinds = ("POEORB", "RESORB") if "Precise" in wanted else ("RESORB",)
    folder = call.userdir / "auxdata/Orbits/Sentinel-1"
    for kind in kinds:
        where = folder / kind / product.mission / stamp[:4] / stamp[4:6]
        for path in sorted(where.glob(f"{product.mission}_OPER_AUX_{kind}_OPOD_*.EOF*")) if where.is_dir() else ():
            times = re.search(r"_V(\d{8}T\d{6})_(\d{8}T\d{6})\.", path.name)
            if times and times[1] <= stamp <= times[2]:
                if kind not in wanted.upper() and "Precise" in wanted and kind == "RESORB":
                    print("WARNING: Precise orbit not found, using restituted", file=sys.stderr)
                if not failing("no_orbit", product.name):
                    # the type in front is the one asked for, not the one used
                    product.orbit_text = f"{wanted.partition('(')[0].strip()} {path.name}"
                    product.orbit_file = path
                return
    if node.parameters.get("continueOnFail", "false") != "true":
        raise GptError(f"[NodeId: {node.id}] No valid orbit file found for {stamp}; the network is unreachable")
    print("WARNING: no orbit file found, the annotation is kept", file=sys.stderr)


def run(nodes: list[Node], call: Call) -> None:
    from tests.fakes import gpt_pixels

    by_id = {node.id: node for node in nodes}
    writes = [node for node in nodes if node.operator == "Write"]
    if not writes:
        raise GptError("the graph has no Write node and this stand-in has no -t")

    def chain(name: str, seen: tuple[str, ...] = ()) -> Product:
        if name in seen:
            raise GptError(f"graph has a cycle at '{name}'")
        node = by_id[name]
        if node.operator == "Read":
            product = read(node)
            product.steps["Read"] = node.parameters
            return product
        if not node.sources:
            raise GptError(f"[NodeId: {name}] source product missing")
        product = chain(node.sources[0], (*seen, name))
        if node.operator == "Apply-Orbit-File":
            apply_orbit(node, product, call)
        elif node.operator == "Terrain-Flattening":
            if product.steps.get("Calibration", {}).get("outputBetaBand") != "true":
                raise GptError(f"[NodeId: {name}] Please select the calibrated Beta0 band")
        elif node.operator == "BandSelect":
            gpt_pixels.select_bands(node, product)
        elif node.operator == "Subset":
            gpt_pixels.check_region(node, product)
        product.steps[node.operator] = node.parameters
        return product

    for write in writes:
        product = chain(write.sources[0] if write.sources else "")
        target = Path(write.parameters.get("file", ""))
        if not target.parent.is_dir():
            raise GptError(f"[NodeId: {write.id}] cannot write {target}")
        if failing("exit1", product.name):
            print("java.lang.OutOfMemoryError: Java heap space", file=sys.stderr)
            raise GptError("[NodeId: Terrain-Correction] Java heap space")
        if failing("disk_full", product.name):
            (target.parent / "half.img").write_bytes(b"0" * 1000)
            raise GptError(f"[NodeId: {write.id}] {target}: No space left on device")
        if failing("hang", product.name):
            (target.parent / "half.img").write_bytes(b"0" * 1000)
            time.sleep(600)
        if failing("no_output", product.name):
            return
        gpt_pixels.write(product, target)
        if failing("short_img", product.name):
            image = sorted(target.with_suffix(".data").glob("*.img"))[0]
            image.write_bytes(image.read_bytes()[:-4])
        if failing("missing_band", product.name):
            dim = re.sub(
                r"<Spectral_Band_Info>.*?</Spectral_Band_Info>", "", target.read_text(), count=1, flags=re.DOTALL
            )
            target.write_text(dim)


def diagnostics(call: Call) -> str:
    return (
        f"SNAP Release version {os.environ.get('FAKE_GPT_VERSION', '12')}.0.0\nSNAP home: /opt/snap\nSNAP debug: null\n"
        f"Java version: 11.0.19\nProcessors: {os.cpu_count()}\nMax memory: {call.heap_mib / 1024:.1f} GB\n"
        f"Cache size: 1024.0 MB\nTile parallelism: {call.threads or os.cpu_count()}\nTile size: 512 x 512 pixels\n"
    )


def record(call: Call, arguments: list[str]) -> None:
    path = os.environ.get("FAKE_GPT_CALLS")
    if path:
        entry: dict[str, Any] = {
            "arguments": arguments, "userdir": str(call.userdir), "stdin": os.fstat(0).st_rdev == Path(os.devnull).stat().st_rdev,
            "orbits": sorted(p.name for p in (call.userdir / "auxdata").rglob("*.EOF*")),
            "auxdata": sorted(p.name for p in (call.userdir / "auxdata").glob("*")),
        }  # fmt: skip
        with Path(path).open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


def main(arguments: list[str]) -> int:
    try:
        call = parse(arguments)
        if call.diag:
            print(diagnostics(call), end="")
            return 0
        if call.help or not call.target:
            print("Usage:\n  gpt <op>|<graph-file> [options] [<source-file-1> <source-file-2> ...]")
            return 0
        record(call, arguments)
        if call.cache_mib is not None and call.cache_mib >= call.heap_mib:
            raise GptError("cache size must be below the Java heap")
        (call.userdir / "var/log").mkdir(parents=True, exist_ok=True)
        (call.userdir / "var/log/messages.log").write_text("started\n")
        run(load_graph(call), call)
    except GptError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # under its own name, so that the errors of gpt_pixels are the same class
    from tests.fakes import gpt as named  # noqa: PLW0406

    sys.exit(named.main(sys.argv[1:]))

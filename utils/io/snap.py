"""Check a gpt graph without SNAP: what each SNAP version knows, and the rules of this project.

gpt itself finds these faults late or never: an undefined ${variable} is no error for it, an element that it ignores is
none either, and a scene may run for an hour before the first message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

FACTS = Path(__file__).with_name("snap_facts.json")
VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NUMBERED_SOURCE = re.compile(r"\.\d+$")
_WHOLE = {"int", "Integer"}
_REAL = {"double", "Double", "float", "Float"}
_TRUTH = {"boolean", "Boolean"}


@dataclass(frozen=True)
class Finding:
    """One fault. node is the id of the node, empty for the whole graph; a warning does not forbid the run."""

    level: Literal["error", "warning"]
    node: str
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {f'node {self.node}: ' if self.node else ''}{self.text}"


@dataclass(frozen=True)
class Node:
    """One node: parameters are the direct children of <parameters>; element keeps them for nested lists."""

    id: str
    operator: str
    sources: tuple[tuple[str, str], ...]
    parameters: Mapping[str, str]
    element: ElementTree.Element


@cache
def facts() -> dict[str, Any]:
    """The facts file: operators, their elements, and the SNAP versions that know them."""
    return dict(json.loads(FACTS.read_text(encoding="utf-8")))


def known_versions() -> tuple[int, ...]:
    """SNAP major versions that the facts cover."""
    return tuple(sorted(int(name.split("-")[0]) for name in facts()["_about"]["versions"]))


def version_name(version: int) -> str:
    """Name of a major version in the facts (15 is a snapshot there); empty when they do not cover it."""
    names = facts()["_about"]["versions"]
    return next((name for name in names if name.split("-")[0] == str(version)), "")


def variables_of(text: str) -> set[str]:
    """Names of all ${variables} in a graph."""
    return set(VARIABLE.findall(re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)))


def substitute(text: str, values: Mapping[str, str | None]) -> str:
    """The text with the variables that have a value replaced, the others left as they are (as gpt does)."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1])
        return match[0] if found is None else found

    return VARIABLE.sub(value, text)


def nodes_of(root: ElementTree.Element) -> list[Node]:
    """All nodes of a graph in their order."""
    found = []
    for element in root.iter("node"):
        sources = tuple((s.tag, s.get("refid") or (s.text or "").strip()) for s in element.findall("sources/*"))
        parameters = {child.tag: (child.text or "").strip() for child in element.findall("parameters/*")}
        operator = (element.findtext("operator") or "").strip()
        found.append(Node(element.get("id") or "", operator, sources, parameters, element))
    return found


def check_graph(text: str, version: int, given: Mapping[str, str | None]) -> list[Finding]:
    """Every fault of a graph; empty when gpt of this version may run it.

    text     the graph as XML
    version  major version of SNAP
    given    variables that the caller passes with -P: name -> value, or None where only the name is known yet
    returns  findings in the order of the nodes, those of the whole graph first
    """
    from utils.io.snap_rules import project_rules

    used = variables_of(text)
    found = [Finding("error", "", f"variable ${{{name}}} is used but not given") for name in sorted(used - set(given))]
    found += [
        Finding("error", "", f"variable {name} is given but no node uses it") for name in sorted(set(given) - used)
    ]
    found += [
        Finding("error", "", f"the value of variable {name} holds < or &, which breaks the XML of the graph")
        for name, value in sorted(given.items())
        if value is not None and set(value) & set("<&")
    ]
    try:
        root = ElementTree.fromstring(substitute(text, given))
    except ElementTree.ParseError as error:
        return [Finding("error", "", f"not XML: {error}"), *found]
    name = version_name(version)
    if not name:
        covered = ", ".join(str(v) for v in known_versions())
        found.append(Finding("error", "", f"SNAP {version} is not covered by the facts; they cover {covered}"))
    if root.tag != "graph" or not (root.findtext("version") or "").strip():
        found.append(Finding("error", "", "the root must be <graph> with a <version>"))
    nodes = nodes_of(root)
    found += _structure(nodes)
    for node in nodes:
        found += _operator(node, name)
    return found + project_rules(nodes, name)


def _structure(nodes: list[Node]) -> Iterator[Finding]:
    """Ids, references, cycles, and exactly one Write."""
    ids = [node.id for node in nodes]
    for name in sorted({name for name in ids if ids.count(name) > 1}):
        yield Finding("error", name, "the id is used by more than one node")
    if "" in ids:
        yield Finding("error", "", "a node has no id")
    for node in nodes:
        for _, refid in node.sources:
            if refid not in ids:
                yield Finding("error", node.id, f"source refid {refid!r} names no node")
    for name in _in_cycle(nodes):
        yield Finding("error", name, "the node depends on itself")
    writes = [node for node in nodes if node.operator == "Write"]
    if len(writes) != 1:
        yield Finding("error", "", f"{len(writes)} Write nodes, expected exactly 1")


def _in_cycle(nodes: list[Node]) -> list[str]:
    sources = {node.id: {refid for _, refid in node.sources} for node in nodes}
    return [node.id for node in nodes if node.id in upstream_ids(node.id, sources)]


def upstream_ids(start: str, sources: Mapping[str, set[str]]) -> set[str]:
    """Ids of all nodes that `start` reads from, directly or not; holds `start` itself only in a cycle."""
    seen: set[str] = set()
    todo = list(sources.get(start, ()))
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += sources.get(name, ())
    return seen


def _operator(node: Node, version: str) -> Iterator[Finding]:
    """Elements and values of one node against the facts of one version."""
    operator = facts()["operators"].get(node.operator)
    if operator is None:
        yield Finding("warning", node.id, f"operator {node.operator!r} is unknown to the checker")
        return
    for source in operator["sources"]:
        if not source.get("optional") and not node.sources:
            yield Finding("error", node.id, f"{node.operator} needs a source")
    if not operator["sources"] and node.sources:
        yield Finding("error", node.id, f"{node.operator} takes no source")
    accepted = {name for source in operator["sources"] for name in source["names"]}
    for tag, _ in node.sources:
        if accepted and _NUMBERED_SOURCE.sub("", tag) not in accepted:
            yield Finding("error", node.id, f"source element {tag!r} is not one of {', '.join(sorted(accepted))}")
    parameters = {parameter["name"]: parameter for parameter in operator["parameters"]}
    tags = [child.tag for child in node.element.findall("parameters/*")]
    for tag in sorted({tag for tag in tags if tags.count(tag) > 1}):
        yield Finding("error", node.id, f"element {tag} is given twice")
    for tag, value in node.parameters.items():
        parameter = parameters.get(tag)
        if parameter is None:
            yield Finding("error", node.id, f"{node.operator} has no element {tag}")
        elif version and version not in parameter.get("in_versions", (version,)):
            yield Finding("error", node.id, f"SNAP {version} does not know element {tag}: gpt would end with status 1")
        elif value and "${" not in value and (reason := _bad_value(parameter, version, value)):
            yield Finding("error", node.id, f"{tag}: {reason}")
    yield from _nested(node, operator)


def _nested(node: Node, operator: Mapping[str, Any]) -> Iterator[Finding]:
    """Elements inside the items of list parameters."""
    allowed = operator.get("nested", {})
    for child in node.element.findall("parameters/*"):
        for item in child:
            for inner in item:
                if item.tag in allowed and inner.tag not in allowed[item.tag]:
                    yield Finding("error", node.id, f"{child.tag}/{item.tag} has no element {inner.tag}")


def _bad_value(parameter: Mapping[str, Any], version: str, value: str) -> str:
    """Why a literal value cannot be used; empty when it can."""
    kind = parameter["type"]
    allowed = parameter.get("differs_in", {}).get(version, {}).get("values", parameter.get("values"))
    if allowed is not None and value not in allowed:
        return f"{value!r} is not one of {', '.join(allowed)}"
    if kind in _TRUTH:
        return "" if value.lower() in ("true", "false") else f"{value!r} is not true or false"
    if kind in _WHOLE and not re.fullmatch(r"[+-]?\d+", value):
        return f"{value!r} is not a whole number"
    if kind in _REAL or kind in _WHOLE:
        try:
            number = float(value)
        except ValueError:
            return f"{value!r} is not a number"
        interval = parameter.get("interval")
        if interval and not in_interval(number, interval):
            return f"{value} is outside {interval}"
    return ""


def in_interval(number: float, interval: str) -> bool:
    """True when a number lies in an interval such as `[1, *)` or `(0, 100]`; * is unbounded."""
    low, high = (part.strip() for part in interval[1:-1].split(","))
    above = low == "*" or (number >= float(low) if interval[0] == "[" else number > float(low))
    below = high == "*" or (number <= float(high) if interval[-1] == "]" else number < float(high))
    return above and below

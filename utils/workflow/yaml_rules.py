"""YAML with rules of our own for scalars, and the line of every key.

PyYAML follows YAML 1.1: `1e-4` is text, `0256` is 174, `12:30` is 750, `yes` and `NO` are booleans. Here only true and
false are booleans, integers are plain decimal, floats may carry an exponent, dates are ISO; anything else stays text,
and the strict models refuse text where a number is due. A key given twice is an error.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from utils.workflow.errors import ConfigError

Loc = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"(^|_)(password|passwd|secret|token|api_?key|credential)s?($|_)", re.IGNORECASE)


@dataclass
class Document:
    """Plain values of a YAML file and the file:line of every key and list element."""

    path: Path
    data: dict[str, Any]
    lines: dict[Loc, str] = field(default_factory=dict)

    def where(self, loc: Loc) -> str:
        """file:line of a key, or of its nearest known parent."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc, f"{self.path.name}:1")


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else None


def _scalar(node: yaml.ScalarNode, where: str) -> Any:
    text = node.value
    if node.style is not None:  # quoted or block text stays text
        return _expand(text, where)
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    number = _number(text)
    if number is not None:
        return number
    if _DATE.fullmatch(text):
        try:
            return dt.date.fromisoformat(text)
        except ValueError as error:
            raise ConfigError(f"{where}: {text} is no date ({error}).", "Write year-month-day.") from error
    return _expand(text, where)


def _expand(text: str, where: str) -> str:
    """Replace ${VAR} by the environment variable."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigError(f"{where}: the environment variable {name} is not set.", f"Set it: export {name}=...")
        return os.environ[name]

    return _VARIABLE.sub(value, text)


def variables(text: str) -> set[str]:
    """Names of the environment variables that a file's text uses as ${NAME}."""
    return {name for name in _VARIABLE.findall(text) if not _SECRET.search(name)}


class _Walker:
    """Turns a composed node tree into plain values and records lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Loc, str] = {}

    def where(self, node: yaml.Node) -> str:
        return f"{self.path.name}:{node.start_mark.line + 1}"

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        self.lines.setdefault(loc, self.where(node))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*loc, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return _scalar(node, self.where(node))

    def mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for key_node, child in node.value:
            # a flow mapping such as "R,G,B" quotes its key; numbers as keys (layer 1, 2, ...) stay numbers
            key = _scalar(key_node, self.where(key_node)) if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                raise ConfigError(f"{self.where(key_node)}: a key must be a word or a number.", "Correct the line.")
            if key in out:
                first = self.lines[(*loc, key)]
                raise ConfigError(
                    f"{self.where(key_node)}: key '{key}' is given twice (first at {first}).", "Delete one of the two."
                )
            if isinstance(key, str) and _SECRET.search(key):
                raise ConfigError(
                    f"{self.where(key_node)}: '{key}' looks like a secret; secrets do not belong into a configuration.",
                    "Put it into ~/.netrc or into the environment.",
                )
            self.lines[(*loc, key)] = self.where(key_node)
            out[key] = self.value(child, (*loc, key))
        return out


def read(path: Path) -> Document:
    """Read one YAML file.

    raises  ConfigError (exit 65) with file:line for syntax, doubled keys, secrets, unset variables; a missing file too
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such configuration file.", "Name an existing file, for example confs/demo.yaml."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}).", "Check the name and that it is UTF-8 text.") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(
            f"{path.name}:{line}: not valid YAML: {problem}.",
            "Correct the line; two spaces of indent a level, no tabs.",
        ) from error
    if node is None:
        return Document(path, {})
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path.name}:1: expected keys with values.", "Start from confs/demo.yaml.")
    walker = _Walker(path)
    return Document(path, walker.mapping(node, ()), walker.lines)

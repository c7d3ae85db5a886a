"""Required fields of annotation files, each with an error that names file and element."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from utils.workflow.errors import InputError

_AGAIN = "Download it again: make download CONF=..."


def text(element: ElementTree.Element, path: str, where: str) -> str:
    """Text of a child that must be there and not empty."""
    found = element.findtext(path)
    if found is None or not found.strip():
        raise InputError(f"{where}: element {path} is missing.", _AGAIN)
    return found.strip()


def number(element: ElementTree.Element, path: str, where: str) -> float:
    """A child as number."""
    found = text(element, path, where)
    try:
        return float(found)
    except ValueError as error:
        raise InputError(f"{where}: {path} is {found!r}, not a number.", _AGAIN) from error


def time(element: ElementTree.Element, path: str, where: str) -> np.datetime64:
    """A child as UTC time, datetime64[ns]."""
    found = text(element, path, where).removeprefix("UTC=").removesuffix("Z")
    try:
        return np.datetime64(found, "ns")
    except ValueError as error:
        raise InputError(f"{where}: {path} is {found!r}, not a time.", _AGAIN) from error


def floats(element: ElementTree.Element, path: str, where: str) -> NDArray[np.float64]:
    """A child as list of numbers, (n,) float64."""
    try:
        return np.array(text(element, path, where).split(), dtype=float)
    except ValueError as error:
        raise InputError(f"{where}: {path} holds something that is not a number.", _AGAIN) from error


def elements(root: ElementTree.Element, path: str, where: str) -> list[ElementTree.Element]:
    """All children at a path, at least one."""
    found = root.findall(path)
    if not found:
        raise InputError(f"{where}: no {path.rpartition('/')[2]} in it.", _AGAIN)
    return found

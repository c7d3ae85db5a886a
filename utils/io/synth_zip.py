"""Zip archives and XML text with the same bytes on every run: no current time, no host, fixed order."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from utils.workflow.files import temporary_path

_STAMP = (2020, 1, 1, 0, 0, 0)


def write_zip(path: Path, members: Iterable[tuple[str, bytes]], level: int = 1) -> None:
    """Write members in the given order, deflated, all with one fixed time stamp; whole or not at all."""
    with (
        temporary_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive,
    ):
        for name, data in members:
            entry = zipfile.ZipInfo(name, _STAMP)
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".jp2") else zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)


def add(parent: ElementTree.Element, tag: str, text: object = None, **attributes: str) -> ElementTree.Element:
    """Append an element; a value of None leaves it without text."""
    element = ElementTree.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = str(text)
    return element


def add_all(parent: ElementTree.Element, values: Mapping[str, object]) -> None:
    """Append one element per entry, in order."""
    for tag, text in values.items():
        add(parent, tag, text)


def xml_bytes(root: ElementTree.Element) -> bytes:
    """UTF-8 XML with declaration, two spaces of indent."""
    ElementTree.indent(root)
    body: bytes = ElementTree.tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"


def data_object(parent: ElementTree.Element, name: str, kind: str, href: str, data: bytes, mime: str) -> None:
    """Append the dataObject of one file to a dataObjectSection: size and MD5 as archives state them."""
    entry = add(parent, "dataObject", ID=name, repID=kind)
    stream = add(entry, "byteStream", mimeType=mime, size=str(len(data)))
    add(stream, "fileLocation", locatorType="URL", href=href)
    # the published format says MD5; it guards against damage in transport, not against intent
    add(stream, "checksum", hashlib.md5(data, usedforsecurity=False).hexdigest(), checksumName="MD5")

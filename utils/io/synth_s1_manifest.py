"""manifest.safe of a generated Sentinel-1 GRD product."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from utils.io.synth_s1_xml import POL_ORDER
from utils.io.synth_zip import add, add_all, data_object, xml_bytes

if TYPE_CHECKING:
    from utils.io.synth_s1 import Geolocation, GrdImage

_NAMESPACES = {
    "xmlns:gml": "http://www.opengis.net/gml",
    "xmlns:xfdu": "urn:ccsds:schema:xfdu:1",
    "xmlns:safe": "http://www.esa.int/safe/sentinel-1.0",
    "xmlns:s1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1",
    "xmlns:s1sarl1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1",
    "version": "esa/safe/sentinel-1.0/sentinel-1/sar/level-1/grd/standard/iwdp",
}


_SCHEMAS = {
    "annotation": "s1Level1ProductSchema",
    "calibration": "s1Level1CalibrationSchema",
    "noise": "s1Level1NoiseSchema",
    "measurement": "s1Level1MeasurementSchema",
}


def _wrapped(section: Element, name: str, text: str, kind: str = "DMD") -> Element:
    entry = add(
        section,
        "metadataObject",
        ID=name,
        classification="PROVENANCE" if kind == "PDI" else "DESCRIPTION",
        category=kind,
    )
    return add(add(entry, "metadataWrap", mimeType="text/xml", vocabularyName="SAFE", textInfo=text), "xmlData")


def _identity_sections(section: Element, image: GrdImage) -> None:
    identity = image.identity
    done = (identity.centre.replace(microsecond=0) + dt.timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%S.%f")
    processing = add(
        _wrapped(section, "processing", "Processing", "PDI"),
        "safe:processing",
        name="GRD Post Processing",
        start=done,
        stop=done,
    )
    facility = add(
        processing, "safe:facility", country="none", name="synthetic scene", organisation="none", site="none"
    )
    add(facility, "safe:software", name="Sentinel-1 IPF", version=identity.ipf)
    platform = add(_wrapped(section, "platform", "Platform Description"), "safe:platform")
    add_all(
        platform,
        {
            "safe:nssdcIdentifier": {"A": "2014-016A", "B": "2016-025A"}.get(identity.platform[2], "unknown"),
            "safe:familyName": "SENTINEL-1",
            "safe:number": identity.platform[2],
        },
    )
    instrument = add(platform, "safe:instrument")
    add(instrument, "safe:familyName", "Synthetic Aperture Radar", abbreviation="SAR")
    mode = add(add(instrument, "safe:extension"), "s1sarl1:instrumentMode")
    add_all(mode, {"s1sarl1:mode": "IW", "s1sarl1:swath": "IW"})
    reference = add(_wrapped(section, "measurementOrbitReference", "Orbit Reference"), "safe:orbitReference")
    for name, value in (
        ("safe:orbitNumber", identity.absolute_orbit),
        ("safe:relativeOrbitNumber", identity.relative_orbit),
    ):
        for end in ("start", "stop"):
            add(reference, name, value, type=end)
    add_all(reference, {"safe:cycleNumber": identity.cycle, "safe:phaseIdentifier": 1})
    properties = add(add(reference, "safe:extension"), "s1:orbitProperties")
    add_all(
        properties,
        {
            "s1:pass": "DESCENDING" if identity.descending else "ASCENDING",
            "s1:ascendingNodeTime": image.utc(-image.orbit.seconds_since_node()),
        },
    )


def _product_sections(section: Element, image: GrdImage, net: Geolocation) -> None:
    identity = image.identity
    information = add(
        _wrapped(section, "generalProductInformation", "General Product Information"),
        "s1sarl1:standAloneProductInformation",
    )
    add_all(information, {"s1sarl1:instrumentConfigurationID": 6, "s1sarl1:missionDataTakeID": identity.datatake})
    for pol in sorted(image.dn, key=POL_ORDER.index):
        add(information, "s1sarl1:transmitterReceiverPolarisation", pol)
    add_all(
        information,
        {
            "s1sarl1:productClass": "S",
            "s1sarl1:productClassDescription": "SAR Standard L1 Product",
            "s1sarl1:productComposition": "Slice",
            "s1sarl1:productType": "GRD",
            "s1sarl1:productTimelinessCategory": "Fast-24h",
            "s1sarl1:sliceProductFlag": "true",
            "s1sarl1:sliceNumber": identity.slice_number,
            "s1sarl1:totalSlices": identity.total_slices,
        },
    )
    period = add(_wrapped(section, "acquisitionPeriod", "Acquisition Period"), "safe:acquisitionPeriod")
    add_all(
        period, {"safe:startTime": image.utc(image.grid.first_line_s), "safe:stopTime": image.utc(image.last_line_s)}
    )
    frame = add(add(_wrapped(section, "measurementFrameSet", "Frame Set"), "safe:frameSet"), "safe:frame")
    corners = [(-1, 0), (-1, -1), (0, -1), (0, 0)]  # last line first, ring not closed, latitude first: as published
    text = " ".join(f"{net.lat_deg[c]:.6f},{net.lon_deg[c]:.6f}" for c in corners)
    add(add(frame, "safe:footPrint", srsName="http://www.opengis.net/gml/srs/epsg.xml#4326"), "gml:coordinates", text)


def _kind(member: str) -> str:
    if member.startswith("annotation/calibration/"):
        return member.rpartition("/")[2].partition("-")[0]
    return member.partition("/")[0]


def manifest_xml(image: GrdImage, net: Geolocation, files: Mapping[str, bytes]) -> bytes:
    """manifest.safe: identity, footprint, and size and MD5 of every file."""
    root = Element("xfdu:XFDU", _NAMESPACES)
    package = add(
        add(root, "informationPackageMap"),
        "xfdu:contentUnit",
        unitType="SAFE Archive Information Package",
        textInfo="Sentinel-1 IW Level-1 GRD Product",
        dmdID="acquisitionPeriod platform generalProductInformation measurementOrbitReference measurementFrameSet",
        pdiID="processing",
    )
    names = {}
    for member in files:
        stem = re.sub(r"[^a-z0-9]", "", member.rpartition("/")[2].rpartition(".")[0])
        names[member] = f"product{stem}" if _kind(member) == "annotation" else stem
        unit = "Measurement Data Unit" if _kind(member) == "measurement" else "Metadata Unit"
        add(
            add(package, "xfdu:contentUnit", unitType=unit, repID=_SCHEMAS[_kind(member)]),
            "dataObjectPointer",
            dataObjectID=names[member],
        )
    section = add(root, "metadataSection")
    _identity_sections(section, image)
    _product_sections(section, image, net)
    objects = add(root, "dataObjectSection")
    for member, data in files.items():
        mime = "application/octet-stream" if _kind(member) == "measurement" else "text/xml"
        data_object(objects, names[member], _SCHEMAS[_kind(member)], f"./{member}", data, mime)
    return xml_bytes(root)

"""The XML files of a generated Sentinel-1 GRD product: annotation, calibration, noise and manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

import numpy as np

from utils.io.synth_zip import add, add_all, xml_bytes
from utils.science.synth_orbit import C_M_S

if TYPE_CHECKING:
    from utils.io.synth_s1 import Geolocation, GrdImage

POL_ORDER = ("VV", "VH")
_VECTORS = 16
_VECTOR_STEP_S = 10.0
_LINES_A_VECTOR = 667


def _joined(values: Any, form: str) -> str:
    return " ".join(format(float(v), form) for v in values)


def _header(root: Element, image: GrdImage, pol: str, number: int) -> None:
    identity = image.identity
    add_all(
        add(root, "adsHeader"),
        {
            "missionId": identity.platform,
            "productType": "GRD",
            "polarisation": pol,
            "mode": "IW",
            "swath": "IW",
            "startTime": image.utc(image.grid.first_line_s),
            "stopTime": image.utc(image.last_line_s),
            "absoluteOrbitNumber": identity.absolute_orbit,
            "missionDataTakeId": identity.datatake,
            "imageNumber": f"{number:03d}",
        },
    )


def _heading_deg(image: GrdImage) -> float:
    """Flight direction over ground at t = 0, degrees clockwise from north."""
    position, velocity = image.orbit.state(0.0)
    up = position / np.linalg.norm(position)
    east = np.cross([0.0, 0.0, 1.0], up)
    east /= np.linalg.norm(east)
    return float(np.degrees(np.arctan2(velocity @ east, velocity @ np.cross(up, east))))


def _orbit_list(parent: Element, image: GrdImage) -> None:
    """Sixteen vectors at whole ten seconds of the clock, from about a minute before the first line."""
    centre = image.identity.centre
    middle = image.grid.first_line_s + 0.5 * image.grid.lines * image.grid.dt_s
    first = np.floor(middle - (_VECTORS - 1) / 2 * _VECTOR_STEP_S) - centre.microsecond / 1e6
    orbits = add(parent, "orbitList", count=str(_VECTORS))
    for k in range(_VECTORS):
        time_s = float(first + k * _VECTOR_STEP_S)
        position, velocity = image.orbit.state(time_s)
        entry = add(orbits, "orbit")
        add_all(entry, {"time": image.utc(time_s), "frame": "Earth Fixed"})
        for name, vector, digits in (("position", position, 3), ("velocity", velocity, 6)):
            add_all(
                add(entry, name),
                {axis: f"{round(float(v), digits):.15e}" for axis, v in zip("xyz", vector, strict=True)},
            )


def _image_information(root: Element, image: GrdImage, net: Geolocation, pol: str) -> Element:
    grid, identity, dn = image.grid, image.identity, image.dn[pol]
    annotation = add(root, "imageAnnotation")
    info = add(annotation, "imageInformation")
    theta = float(net.incidence_deg[net.line.shape[0] // 2, net.line.shape[1] // 2])
    add_all(
        info,
        {
            "productFirstLineUtcTime": image.utc(grid.first_line_s),
            "productLastLineUtcTime": image.utc(image.last_line_s),
            "ascendingNodeTime": image.utc(-image.orbit.seconds_since_node()),
            "productComposition": "Slice",
            "sliceNumber": identity.slice_number,
            "slantRangeTime": f"{2 * grid.range0_m / C_M_S:.15e}",
            "pixelValue": "Detected",
            "outputPixels": "16 bit Unsigned Integer",
            "rangePixelSpacing": f"{grid.spacing_m:.6e}",
            "azimuthPixelSpacing": "1.000000e+01",
            "azimuthTimeInterval": f"{grid.dt_s:.15e}",
            "azimuthFrequency": "4.864863102995529e+02",
            "numberOfSamples": grid.samples,
            "numberOfLines": grid.lines,
            "incidenceAngleMidSwath": f"{theta:.15e}",
        },
    )
    statistics = add(info, "imageStatistics")
    for name, value in (("outputDataMean", dn.mean()), ("outputDataStdDev", dn.std())):
        add_all(add(statistics, name), {"re": f"{value:.6e}", "im": "0.000000e+00"})
    return annotation


def _processing(parent: Element, image: GrdImage) -> None:
    info = add(parent, "processingInformation")
    add_all(
        info,
        {
            "orbitDataFileUsed": "true",
            "srgrConversionApplied": "true",
            "detectionPerformed": "true",
            "thermalNoiseCorrectionPerformed": "true" if image.noise_removed else "false",
            "referenceRange": "8.000000000000000e+05",
            "ellipsoidName": "WGS84",
            "ellipsoidSemiMajorAxis": "6.378137000000000e+06",
            "ellipsoidSemiMinorAxis": "6.356752314245000e+06",
            "bistaticDelayCorrectionApplied": "true",
            "orbitSource": "Auxiliary",
        },
    )


def _geolocation(root: Element, image: GrdImage, net: Geolocation) -> None:
    points = add(add(root, "geolocationGrid"), "geolocationGridPointList", count=str(net.line.size))
    for i in np.ndindex(net.line.shape):
        add_all(
            add(points, "geolocationGridPoint"),
            {
                "azimuthTime": image.utc(float(net.time_s[i])),
                "slantRangeTime": f"{2 * net.range_m[i] / C_M_S:.15e}",
                "line": int(net.line[i]),
                "pixel": int(net.pixel[i]),
                "latitude": f"{net.lat_deg[i]:.15e}",
                "longitude": f"{net.lon_deg[i]:.15e}",
                "height": f"{net.height_m[i]:.15e}",
                "incidenceAngle": f"{net.incidence_deg[i]:.15e}",
                "elevationAngle": f"{net.elevation_deg[i]:.15e}",
            },
        )


def _conversion(root: Element, image: GrdImage) -> None:
    grid = image.grid
    entries = add(add(root, "coordinateConversion"), "coordinateConversionList", count=str(len(grid.srgr_times_s)))
    for time_s, forth, back in zip(grid.srgr_times_s, grid.srgr, grid.grsr, strict=True):
        entry = add(entries, "coordinateConversion")
        add_all(
            entry,
            {
                "azimuthTime": image.utc(float(time_s)),
                "slantRangeTime": f"{2 * grid.range0_m / C_M_S:.15e}",
                "sr0": f"{grid.range0_m:.15e}",
            },
        )
        add(entry, "srgrCoefficients", _joined(forth, ".15e"), count=str(len(forth)))
        add(entry, "gr0", "0.000000000000000e+00")
        add(entry, "grsrCoefficients", _joined(back, ".15e"), count=str(len(back)))


def annotation_xml(image: GrdImage, net: Geolocation, pol: str, number: int) -> bytes:
    """annotation/s1*.xml of one polarisation."""
    root = Element("product")
    _header(root, image, pol, number)
    general = add(root, "generalAnnotation")
    information = add(general, "productInformation")
    add_all(
        information,
        {
            "pass": "Descending" if image.identity.descending else "Ascending",
            "timelinessCategory": "Fast-24h",
            "platformHeading": f"{_heading_deg(image):.15e}",
            "projection": "Ground Range",
            "rangeSamplingRate": "6.434523812571428e+07",
            "radarFrequency": "5.405000454334350e+09",
            "azimuthSteeringRate": "1.590368784000000e+00",
        },
    )
    _orbit_list(general, image)
    _processing(_image_information(root, image, net, pol), image)
    timing = add(root, "swathTiming")
    add_all(timing, {"linesPerBurst": 0, "samplesPerBurst": 0})
    add(timing, "burstList", count="0")
    _geolocation(root, image, net)
    _conversion(root, image)
    swath = add(add(add(root, "swathMerging"), "swathMergeList", count="1"), "swathMerge")
    add(swath, "swath", "IW2")
    bounds = add(add(swath, "swathBoundsList", count="1"), "swathBounds")
    add_all(
        bounds,
        {
            "azimuthTime": image.utc(image.grid.first_line_s),
            "firstAzimuthLine": 0,
            "firstRangeSample": 0,
            "lastAzimuthLine": image.grid.lines - 1,
            "lastRangeSample": image.grid.samples - 1,
        },
    )
    return xml_bytes(root)


def _pixels(image: GrdImage, step: int = 40) -> np.ndarray[Any, np.dtype[np.int64]]:
    last = image.grid.samples - 1
    return np.unique(np.append(np.arange(0, last, step), last))


def calibration_xml(image: GrdImage, pol: str, number: int) -> bytes:
    """annotation/calibration/calibration-*.xml: beta constant, sigma and gamma by the incidence on the reference surface."""
    from utils.io.synth_s1 import incidence

    root = Element("calibration")
    _header(root, image, pol, number)
    add(add(root, "calibrationInformation"), "absoluteCalibrationConstant", "1.000000e+00")
    lines = np.arange(0, image.grid.lines + _LINES_A_VECTOR, _LINES_A_VECTOR)
    pixels = _pixels(image)
    vectors = add(root, "calibrationVectorList", count=str(len(lines)))
    for line in lines:
        time_s = np.full(len(pixels), image.grid.first_line_s + line * image.grid.dt_s)
        theta = np.radians(incidence(image, time_s, image.grid.slant_range(time_s, pixels))[1])
        entry = add(vectors, "calibrationVector")
        add_all(entry, {"azimuthTime": image.utc(float(time_s[0])), "line": int(line)})
        add(entry, "pixel", " ".join(str(p) for p in pixels), count=str(len(pixels)))
        beta = np.full(len(pixels), image.a_beta)
        tables = {
            "sigmaNought": beta / np.sqrt(np.sin(theta)),
            "betaNought": beta,
            "gamma": beta / np.sqrt(np.tan(theta)),
            "dn": beta,
        }
        for name, values in tables.items():
            add(entry, name, _joined(values, ".6e"), count=str(len(values)))
    return xml_bytes(root)


def noise_xml(image: GrdImage, pol: str, number: int) -> bytes:
    """annotation/calibration/noise-*.xml with range and azimuth vectors (IPF 2.90 and later)."""
    root = Element("noise")
    _header(root, image, pol, number)
    table = image.noise[pol]
    ranges = add(root, "noiseRangeVectorList", count=str(len(table.lines)))
    for line, values in zip(table.lines, table.range_lut, strict=True):
        entry = add(ranges, "noiseRangeVector")
        add_all(
            entry,
            {"azimuthTime": image.utc(image.grid.first_line_s + float(line) * image.grid.dt_s), "line": int(line)},
        )
        add(entry, "pixel", " ".join(str(p) for p in table.pixels), count=str(len(table.pixels)))
        add(entry, "noiseRangeLut", _joined(values, ".6e"), count=str(len(values)))
    block = add(add(root, "noiseAzimuthVectorList", count="1"), "noiseAzimuthVector")
    add_all(
        block,
        {
            "swath": "IW2",
            "firstAzimuthLine": 0,
            "firstRangeSample": 0,
            "lastAzimuthLine": image.grid.lines - 1,
            "lastRangeSample": image.grid.samples - 1,
        },
    )
    add(block, "line", " ".join(str(v) for v in table.azimuth_lines), count=str(len(table.azimuth_lines)))
    add(block, "noiseAzimuthLut", _joined(table.azimuth_lut, ".6e"), count=str(len(table.azimuth_lut)))
    return xml_bytes(root)

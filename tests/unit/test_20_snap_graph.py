"""The graph checker: every fault is found in a graph broken on purpose; the shipped graphs have none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from utils.io import snap, snap_graph
from utils.io.snap import check_graph, variables_of

CONFS = Path(__file__).parents[2] / "snap-confs"
S1 = (CONFS / "s1_grd.xml").read_text()
S2 = (CONFS / "s2_l2a.xml").read_text()
S1_GIVEN = {
    "input": "/data/S1A_X.zip", "output": "/out/S1A_X.dim", "aoi_wkt": "POLYGON ((149 -35, 149.1 -35, 149.1 -35.1, 149 -35))",
    "dem": "/data/dem.tif", "dem_nodata": "-32768", "crs": "EPSG:32755", "speckle": "Lee Sigma",
}  # fmt: skip
S2_GIVEN = {name: S1_GIVEN[name] for name in ("input", "output", "aoi_wkt")} | {"bands": "B2,B3,B4,B8"}
GIVEN = {"s1_grd_pol.xml": S1_GIVEN | {"pol": "VV"}, "s2_l2a_band.xml": S2_GIVEN | {"bands": "B3"},
         "s2_l2a_20m.xml": S2_GIVEN | {"bands": "B2,B3,B4,B8,B8A"}}  # fmt: skip
SHIPPED = sorted(path.name for path in CONFS.glob("*.xml"))


def given_for(name: str) -> dict[str, str]:
    return GIVEN.get(name, S1_GIVEN if name.startswith("s1") else S2_GIVEN)


def broken(text: str, old: str, new: str, count: int = 1) -> str:
    assert old in text, old
    return text.replace(old, new, count)


def messages(text: str, version: int = 12, given: dict[str, str] | None = None) -> list[str]:
    return [str(finding) for finding in check_graph(text, version, S1_GIVEN if given is None else given)]


@pytest.mark.parametrize("version", [10, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_graphs_pass(name: str, version: int) -> None:
    found = messages((CONFS / name).read_text(), version, given_for(name))
    if name == "s2_l2a_20m.xml" and version == 10:
        assert found == [
            "error: node S2Resampling: SNAP 10 does not know element bands: gpt would end with status 1"
        ], "20 m bands need SNAP 11"
    else:
        assert found == []


def test_every_shipped_variant_is_made_from_its_base() -> None:
    made = {name: snap_graph.s1_graph(S1, choice) for name, choice in snap_graph.S1_VARIANTS.items()}
    made |= {name: snap_graph.s2_graph(S2, kind) for name, kind in snap_graph.S2_VARIANTS.items()}  # type: ignore[arg-type]
    assert {name: (CONFS / name).read_text() for name in made} == made
    assert sorted([*made, "s1_grd.xml", "s2_l2a.xml"]) == SHIPPED


def parameters(text: str) -> dict[str, dict[str, str]]:
    from xml.etree import ElementTree

    return {node.id: dict(node.parameters) for node in snap.nodes_of(ElementTree.fromstring(text))}


def test_values_of_the_sentinel1_graph() -> None:
    terrain = {"demName": "External DEM", "externalDEMFile": "${dem}", "externalDEMNoDataValue": "${dem_nodata}",
               "externalDEMApplyEGM": "true", "demResamplingMethod": "BILINEAR_INTERPOLATION", "nodataValueAtSea": "false"}  # fmt: skip
    assert parameters(S1) == {
        "Read": {"file": "${input}"},
        "Apply-Orbit-File": {"orbitType": "Sentinel Precise (Auto Download)", "polyDegree": "3", "continueOnFail": "false"},
        "ThermalNoiseRemoval": {"selectedPolarisations": "", "removeThermalNoise": "true", "reIntroduceThermalNoise": "false"},
        "Remove-GRD-Border-Noise": {"borderLimit": "500", "trimThreshold": "0.5"},
        "Subset": {"geoRegion": "${aoi_wkt}", "copyMetadata": "true"},
        "Calibration": {"outputBetaBand": "true", "outputSigmaBand": "false", "outputGammaBand": "false", "outputImageScaleInDb": "false"},
        "Terrain-Flattening": {**terrain, "additionalOverlap": "0.1", "oversamplingMultiple": "1.0"},
        "Speckle-Filter": {"filter": "${speckle}", "numLooksStr": "4", "windowSize": "7x7", "targetWindowSizeStr": "3x3",
                           "sigmaStr": "0.9", "estimateENL": "true"},
        "Terrain-Correction": {**terrain, "imgResamplingMethod": "BILINEAR_INTERPOLATION", "pixelSpacingInMeter": "10.0",
                               "mapProjection": "${crs}", "alignToStandardGrid": "true", "standardGridOriginX": "5.0",
                               "standardGridOriginY": "5.0", "saveLayoverShadowMask": "true",
                               "applyRadiometricNormalization": "false", "saveSelectedSourceBand": "true"},
        "Write": {"file": "${output}", "formatName": "BEAM-DIMAP", "deleteOutputOnFailure": "true", "clearCacheAfterRowWrite": "true"},
    }  # fmt: skip


def test_values_of_the_sentinel2_graph() -> None:
    assert list(parameters(S2)) == ["Read", "BandSelect", "Subset", "Write"]
    assert parameters(S2)["BandSelect"] == {"sourceBands": "${bands}"}
    assert parameters(S2)["Subset"] == {"geoRegion": "${aoi_wkt}", "referenceBand": "B2", "copyMetadata": "true"}
    resampled = parameters((CONFS / "s2_l2a_20m.xml").read_text())
    assert list(resampled) == ["Read", "S2Resampling", "BandSelect", "Subset", "Write"]
    assert resampled["S2Resampling"]["resolution"] == "10"
    assert resampled["S2Resampling"]["upsampling"] == "Bilinear"
    assert resampled["S2Resampling"]["bands"] == "${bands}"
    single = parameters((CONFS / "s2_l2a_band.xml").read_text())
    assert single["Subset"]["referenceBand"] == "${bands}", "B2 is not there when one other band is selected"


def test_variants_change_only_what_they_name() -> None:
    base = parameters(S1)
    annotation = parameters((CONFS / "s1_grd_annotation.xml").read_text())
    assert annotation == {name: value for name, value in base.items() if name != "Apply-Orbit-File"}
    assert '<sourceProduct refid="Read"' in (CONFS / "s1_grd_annotation.xml").read_text()
    coarse = parameters((CONFS / "s1_grd_20m.xml").read_text())
    assert coarse.pop("Multilook") == {
        "nRgLooks": "2",
        "nAzLooks": "2",
        "outputIntensity": "false",
        "grSquarePixel": "true",
    }
    changed = {"pixelSpacingInMeter": "20.0", "standardGridOriginX": "10.0", "standardGridOriginY": "10.0"}
    assert coarse == {**base, "Terrain-Correction": base["Terrain-Correction"] | changed}
    single = parameters((CONFS / "s1_grd_pol.xml").read_text())
    for name in ("ThermalNoiseRemoval", "Remove-GRD-Border-Noise", "Calibration"):
        assert single[name]["selectedPolarisations"] == "${pol}"
    ellipsoid = parameters((CONFS / "s1_grd_ellipsoid.xml").read_text())
    assert {ellipsoid[n]["externalDEMApplyEGM"] for n in ("Terrain-Flattening", "Terrain-Correction")} == {"false"}
    choice = snap_graph.S1Choice(
        orbit="resorb", noise=False, border_noise=False, nearest=True, incidence=True, window=9
    )
    other = parameters(snap_graph.s1_graph(S1, choice))
    assert other["Apply-Orbit-File"]["orbitType"] == "Sentinel Restituted (Auto Download)"
    assert not {"ThermalNoiseRemoval", "Remove-GRD-Border-Noise"} & set(other)
    assert other["Terrain-Correction"]["imgResamplingMethod"] == "NEAREST_NEIGHBOUR"
    assert other["Terrain-Correction"]["saveLocalIncidenceAngle"] == "true"
    assert other["Speckle-Filter"]["windowSize"] == "9x9"
    assert messages(snap_graph.s1_graph(S1, choice)) == []
    for wrong in (snap_graph.S1Choice(window=3), snap_graph.S1Choice(sigma=0.85)):
        with pytest.raises(ValueError, match="SNAP offers"):
            snap_graph.s1_graph(S1, wrong)


# each row: what is broken, and the one message that must come of it
BREAKS = {
    "unknown element": ("<polyDegree>3</polyDegree>", "<degree>3</degree>", "Apply-Orbit-File has no element degree"),
    "element of a newer version": (
        "<reIntroduceThermalNoise>", "<clipNegativeValues>false</clipNegativeValues><reIntroduceThermalNoise>",
        "SNAP 12 does not know element clipNegativeValues"),
    "value outside the list": ("<windowSize>7x7<", "<windowSize>8x8<", "windowSize: '8x8' is not one of 5x5, 7x7"),
    "value outside the interval": ("<additionalOverlap>0.1<", "<additionalOverlap>1.5<", "additionalOverlap: 1.5 is outside [0, 1]"),
    "no number": ("<polyDegree>3<", "<polyDegree>three<", "polyDegree: 'three' is not a whole number"),
    "no truth value": ("<estimateENL>true<", "<estimateENL>yes<", "estimateENL: 'yes' is not true or false"),
    "duplicate id": ('<node id="Write">', '<node id="Read">', "node Read: the id is used by more than one node"),
    "refid of no node": ('refid="Subset"', 'refid="Cut"', "source refid 'Cut' names no node"),
    "element twice": ("<polyDegree>3</polyDegree>", "<polyDegree>3</polyDegree><polyDegree>3</polyDegree>", "element polyDegree is given twice"),
    "wrong source element": ('<sourceProduct refid="Subset"/>', '<input refid="Subset"/>', "source element 'input' is not one of"),
    "variable not given": ("${dem_nodata}", "${nodata}", "variable ${nodata} is used but not given"),
    "no version": ("<version>1.0</version>", "", "the root must be <graph> with a <version>"),
    "silent orbit": ("<continueOnFail>false<", "<continueOnFail>true<", "continueOnFail must be written as false"),
    "orbit default": ("<continueOnFail>false</continueOnFail>", "", "continueOnFail must be written as false"),
    "bicubic": ("imgResamplingMethod>BILINEAR_INTERPOLATION", "imgResamplingMethod>BICUBIC_INTERPOLATION", "BICUBIC_INTERPOLATION: overshoot"),
    "cubic": ("imgResamplingMethod>BILINEAR_INTERPOLATION", "imgResamplingMethod>CUBIC_CONVOLUTION", "CUBIC_CONVOLUTION: overshoot"),
    "sinc": ("imgResamplingMethod>BILINEAR_INTERPOLATION", "imgResamplingMethod>BISINC_5_POINT_INTERPOLATION", "BISINC_5_POINT_INTERPOLATION: overshoot"),
    "heights differ": ("<externalDEMApplyEGM>true<", "<externalDEMApplyEGM>false<", "externalDEMApplyEGM differs between the terrain operators"),
    "files differ": ("<externalDEMFile>${dem}<", "<externalDEMFile>/other.tif<", "externalDEMFile differs between the terrain operators"),
    "geoid not written": ("<externalDEMApplyEGM>true</externalDEMApplyEGM>", "", "externalDEMApplyEGM must be written"),
    "heights ignored": ("<demName>External DEM<", "<demName>Copernicus 30m Global DEM<", "externalDEMFile is ignored unless demName"),
    "no beta0": ("<outputBetaBand>true<", "<outputBetaBand>false<", "no Calibration with outputBetaBand true before it"),
    "metadata lost": ("<copyMetadata>true</copyMetadata>", "", "copyMetadata must be written as true"),
    "sea by default": ("<nodataValueAtSea>false</nodataValueAtSea>", "", "nodataValueAtSea must be written"),
    "sea lost": ("<nodataValueAtSea>false<", "<nodataValueAtSea>true<", "warning: node Terrain-Flattening: nodataValueAtSea true"),
    "fixed projection": ("${crs}", 'PROJCS["WGS 84 / UTM zone 55S"]', "mapProjection is a fixed WKT"),
    "region ignored": ("<file>${input}</file>", "<file>${input}</file><geometryRegion>${aoi_wkt}</geometryRegion>",
                       "geometryRegion is ignored without useAdvancedOptions"),
    "two regions": (
        "<file>${input}</file>", "<file>${input}</file><useAdvancedOptions>true</useAdvancedOptions>"
        "<pixelRegion>0,0,9,9</pixelRegion><geometryRegion>${aoi_wkt}</geometryRegion>", "exclude each other"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_fault_is_found(name: str) -> None:
    old, new, expected = BREAKS[name]
    found = messages(broken(S1, old, new))
    assert any(expected in text for text in found), found


def test_not_xml_and_unknown_version() -> None:
    assert messages(S1.replace("</graph>", ""))[0].startswith("error: not XML: ")
    assert any("SNAP 9 is not covered" in text for text in messages(S1, version=9))


def test_cycle() -> None:
    found = messages(broken(S1, '<sourceProduct refid="Read"/>', '<sourceProduct refid="Subset"/>'))
    cycle = {text.split()[2].rstrip(":") for text in found if "depends on itself" in text}
    assert cycle == {"Apply-Orbit-File", "ThermalNoiseRemoval", "Remove-GRD-Border-Noise", "Subset"}


def test_no_write_and_two_writes() -> None:
    without = re.sub(r'<node id="Write">.*?</node>', "", S1, flags=re.DOTALL)
    assert "error: 0 Write nodes, expected exactly 1" in messages(without)
    node = re.findall(r'<node id="Write">.*?</node>', S1, flags=re.DOTALL)[0].replace('id="Write"', 'id="Again"')
    assert "error: 2 Write nodes, expected exactly 1" in messages(S1.replace("</graph>", node + "</graph>"))


def test_unknown_operator_is_a_warning_only() -> None:
    found = check_graph(broken(S1, "<operator>Speckle-Filter<", "<operator>Speckle-Filtre<"), 12, S1_GIVEN)
    assert [(f.level, f.node) for f in found] == [("warning", "Speckle-Filter")]
    assert "unknown to the checker" in found[0].text


def test_given_but_unused_and_values_are_checked() -> None:
    assert messages(S1, given=S1_GIVEN | {"geometry": "POLYGON"}) == [
        "error: variable geometry is given but no node uses it"
    ]
    assert any(
        "filter: 'Lee-Sigma' is not one of" in t for t in messages(S1, given=S1_GIVEN | {"speckle": "Lee-Sigma"})
    )
    assert any("'MuLoG'" in t for t in messages(S1, 12, S1_GIVEN | {"speckle": "MuLoG"}))
    assert messages(S1, 14, S1_GIVEN | {"speckle": "MuLoG"}) == []
    assert any("breaks the XML" in text for text in messages(S1, given=S1_GIVEN | {"dem": "/a&b.tif"}))
    names_only = check_graph(S1, 12, dict.fromkeys(S1_GIVEN))
    assert names_only == [], "a name without value is checked as ${name}"


def test_multilook_is_not_undone() -> None:
    coarse = (CONFS / "s1_grd_20m.xml").read_text()
    found = messages(broken(coarse, "<pixelSpacingInMeter>20.0<", "<pixelSpacingInMeter>10.0<"))
    assert any("10 is finer than the 20 m that Multilook leaves" in text for text in found)


def test_border_noise_after_subset() -> None:
    text = broken(S1, '<sourceProduct refid="ThermalNoiseRemoval"/>', '<sourceProduct refid="Subset"/>')
    text = broken(
        text, '<sourceProduct refid="Remove-GRD-Border-Noise"/>', '<sourceProduct refid="ThermalNoiseRemoval"/>'
    )
    assert any("the cut edges would be trimmed" in found for found in messages(text))


RESAMPLE = """<graph id="g"><version>1.0</version>
<node id="Read"><operator>Read</operator><sources/><parameters><file>x.zip</file></parameters></node>
<node id="R"><operator>Resample</operator><sources><sourceProduct refid="Read"/></sources><parameters>
<referenceBand>B2</referenceBand>{inner}</parameters></node>
<node id="W"><operator>Write</operator><sources><source refid="R"/></sources><parameters><file>y.dim</file></parameters></node>
</graph>"""


def test_band_resamplings() -> None:
    good = RESAMPLE.format(inner="<bandResamplings>B2:First:Bilinear,B8A:Mean:Bilinear</bandResamplings>")
    assert messages(good, given={}) == []
    bad = RESAMPLE.format(inner="<bandResamplings>B2,B3,B4,B8</bandResamplings>")
    assert messages(bad, given={}) == ["error: node R: bandResamplings 'B2' is not name:downsampling:upsampling"]
    assert messages(RESAMPLE.format(inner=""), given={}) == [
        "warning: node R: no bands are named: all bands are resampled, also those not wanted"
    ]


def test_nested_elements_and_intervals() -> None:
    mosaic = """<graph id="g"><version>1.0</version>
    <node id="Read"><operator>Read</operator><sources/><parameters><file>x.dim</file></parameters></node>
    <node id="M"><operator>Mosaic</operator><sources><sourceProducts refid="Read"/></sources><parameters>
    <variables><variable><name>a</name><formula>b</formula></variable></variables></parameters></node>
    <node id="W"><operator>Write</operator><sources><source refid="M"/></sources><parameters><file>y.dim</file></parameters></node>
    </graph>"""
    assert messages(mosaic, given={}) == ["error: node M: variables/variable has no element formula"]
    assert [snap.in_interval(v, "(1, 100]") for v in (1, 1.5, 100, 101)] == [False, True, True, False]
    assert [snap.in_interval(v, "[1, *)") for v in (0.9, 1, 1e9)] == [False, True, True]


def test_facts_cover_what_the_graphs_use() -> None:
    assert snap.known_versions() == (10, 11, 12, 13, 14, 15)
    assert len(snap.facts()["operators"]) == 25
    for name in SHIPPED:
        assert variables_of((CONFS / name).read_text()) == set(given_for(name)), name

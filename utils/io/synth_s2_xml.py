"""The XML files of a generated Sentinel-2 L2A product: product and tile metadata, and the manifest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from utils.io.synth_zip import add, add_all, data_object, xml_bytes
from utils.science.grid import Grid

QUANTIFICATION = 10000


_PHYSICAL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")


_RESOLUTION = (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20)


_CENTRE_NM = (442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1373.5, 1613.7, 2202.4)


_CLASSES = (
    "NODATA",
    "SATURATED_DEFECTIVE",
    "DARK_FEATURE_SHADOW",
    "CLOUD_SHADOW",
    "VEGETATION",
    "NOT_VEGETATED",
    "WATER",
    "UNCLASSIFIED",
    "CLOUD_MEDIUM_PROBA",
    "CLOUD_HIGH_PROBA",
    "THIN_CIRRUS",
    "SNOW_ICE",
)


_SHARES = {
    "DARK_FEATURES": 2,
    "CLOUD_SHADOW": 3,
    "VEGETATION": 4,
    "NOT_VEGETATED": 5,
    "WATER": 6,
    "UNCLASSIFIED": 7,
    "MEDIUM_PROBA_CLOUDS": 8,
    "HIGH_PROBA_CLOUDS": 9,
    "THIN_CIRRUS": 10,
    "SNOW_ICE": 11,
}


_PSD = "https://psd-14.sentinel2.eo.esa.int/PSD/"


@dataclass(frozen=True)
class L2aIdentity:
    """Who took the image and when. sensing is the datatake start in the name; baseline like "05.00"."""

    platform: str
    sensing: dt.datetime
    absolute_orbit: int
    relative_orbit: int
    tile: str
    baseline: str
    generated: dt.datetime
    sun_zenith_deg: float
    sun_azimuth_deg: float

    @property
    def offset_dn(self) -> int | None:
        """BOA_ADD_OFFSET: -1000 from baseline 04.00 on, no such element before."""
        return -1000 if tuple(int(p) for p in self.baseline.split(".")) >= (4, 0) else None

    @property
    def name(self) -> str:
        code = self.baseline.replace(".", "")
        return (
            f"{self.platform}_MSIL2A_{compact(self.sensing)}_N{code}_R{self.relative_orbit:03d}_T{self.tile}_"
            f"{compact(self.generated)}"
        )

    @property
    def granule(self) -> str:
        """Granule folder; its time is that of the tile, a little after the start of the datatake."""
        return f"L2A_T{self.tile}_A{self.absolute_orbit:06d}_{compact(self.tile_time)}"

    @property
    def tile_time(self) -> dt.datetime:
        return self.sensing + dt.timedelta(seconds=2)


def compact(time: dt.datetime) -> str:
    return time.strftime("%Y%m%dT%H%M%S")


def _iso(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


def _image_content(parent: Element, scl: NDArray[np.uint8], cloudy: bool) -> None:
    valid = max(int((scl > 0).sum()), 1)
    share = {name: 100.0 * float((scl == code).sum()) / valid for name, code in _SHARES.items()}
    values: dict[str, object] = {}
    if cloudy:
        values["CLOUDY_PIXEL_PERCENTAGE"] = f"{cloud_percentage(scl):.6f}"
        values["DEGRADED_MSI_DATA_PERCENTAGE"] = 0
    values |= {
        "NODATA_PIXEL_PERCENTAGE": f"{100.0 * float((scl == 0).mean()):.6f}",
        "SATURATED_DEFECTIVE_PIXEL_PERCENTAGE": "0.000000",
    }
    values |= {f"{name}_PERCENTAGE": f"{value:.6f}" for name, value in share.items()}
    add_all(add(parent, "Image_Content_QI"), values)


def cloud_percentage(scl: NDArray[np.uint8]) -> float:
    """Share of valid pixels with class 8, 9 or 10, percent."""
    valid = int((scl > 0).sum())
    return 100.0 * float(np.isin(scl, (8, 9, 10)).sum()) / max(valid, 1)


def _characteristics(parent: Element, identity: L2aIdentity) -> None:
    section = add(parent, "Product_Image_Characteristics")
    for text, index in (("NODATA", 0), ("SATURATED", 65535)):
        add_all(add(section, "Special_Values"), {"SPECIAL_VALUE_TEXT": text, "SPECIAL_VALUE_INDEX": index})
    add_all(add(section, "Image_Display_Order"), {"RED_CHANNEL": 3, "GREEN_CHANNEL": 2, "BLUE_CHANNEL": 1})
    values = add(section, "QUANTIFICATION_VALUES_LIST")
    add(values, "BOA_QUANTIFICATION_VALUE", QUANTIFICATION, unit="none")
    add(values, "AOT_QUANTIFICATION_VALUE", "1000.0", unit="none")
    add(values, "WVP_QUANTIFICATION_VALUE", "1000.0", unit="cm")
    if identity.offset_dn is not None:
        offsets = add(section, "BOA_ADD_OFFSET_VALUES_LIST")
        for number in range(len(_PHYSICAL)):
            add(offsets, "BOA_ADD_OFFSET", identity.offset_dn, band_id=str(number))
    spectra = add(section, "Spectral_Information_List")
    for number, (name, resolution, centre) in enumerate(zip(_PHYSICAL, _RESOLUTION, _CENTRE_NM, strict=True)):
        entry = add(spectra, "Spectral_Information", bandId=str(number), physicalBand=name)
        add(entry, "RESOLUTION", resolution)
        add(add(entry, "Wavelength"), "CENTRAL", centre, unit="nm")
    classes = add(section, "Scene_Classification_List")
    for index, text in enumerate(_CLASSES):
        add_all(
            add(classes, "Scene_Classification_ID"),
            {"SCENE_CLASSIFICATION_TEXT": f"SC_{text}", "SCENE_CLASSIFICATION_INDEX": index},
        )


def product_xml(
    identity: L2aIdentity, images: list[str], ring: list[tuple[float, float]], scl: NDArray[np.uint8]
) -> bytes:
    """MTD_MSIL2A.xml. images: IMAGE_FILE entries without .jp2; ring: closed, (latitude, longitude)."""
    root = Element(
        "n1:Level-2A_User_Product",
        {
            "xmlns:n1": f"{_PSD}User_Product_Level-2A.xsd",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{_PSD}User_Product_Level-2A.xsd",
        },
    )
    general = add(root, "n1:General_Info")
    info, start = add(general, "Product_Info"), _iso(identity.sensing)
    add_all(
        info,
        {
            "PRODUCT_START_TIME": start,
            "PRODUCT_STOP_TIME": start,
            "PRODUCT_URI": f"{identity.name}.SAFE",
            "PROCESSING_LEVEL": "Level-2A",
            "PRODUCT_TYPE": "S2MSI2A",
            "PROCESSING_BASELINE": identity.baseline,
            "GENERATION_TIME": _iso(identity.generated),
        },
    )
    take = f"G{identity.platform}_{compact(identity.sensing)}_{identity.absolute_orbit:06d}_N{identity.baseline}"
    add_all(
        add(info, "Datatake", datatakeIdentifier=take),
        {
            "SPACECRAFT_NAME": f"Sentinel-{identity.platform[1:]}",
            "DATATAKE_TYPE": "INS-NOBS",
            "DATATAKE_SENSING_START": start,
            "SENSING_ORBIT_NUMBER": identity.relative_orbit,
            "SENSING_ORBIT_DIRECTION": "DESCENDING",
        },
    )
    add(add(info, "Query_Options", completeSingleTile="true"), "PRODUCT_FORMAT", "SAFE_COMPACT")
    stamp, code = compact(identity.generated), identity.baseline
    granule = add(
        add(add(info, "Product_Organisation"), "Granule_List"),
        "Granule",
        imageFormat="JPEG2000",
        datastripIdentifier=f"{identity.platform}_OPER_MSI_L2A_DS_SYNT_{stamp}_S{compact(identity.tile_time)}_N{code}",
        granuleIdentifier=f"{identity.platform}_OPER_MSI_L2A_TL_SYNT_{stamp}_A{identity.absolute_orbit:06d}_T{identity.tile}_N{code}",
    )
    for image in images:
        add(granule, "IMAGE_FILE", image)
    _characteristics(general, identity)
    geometry = add(root, "n1:Geometric_Info")
    footprint = add(add(add(geometry, "Product_Footprint"), "Product_Footprint"), "Global_Footprint")
    add(footprint, "EXT_POS_LIST", " ".join(f"{lat:.12f} {lon:.12f}" for lat, lon in ring) + " ")
    reference = add(geometry, "Coordinate_Reference_System")
    add(reference, "GEO_TABLES", "EPSG", version="1")
    add(reference, "HORIZONTAL_CS_TYPE", "GEOGRAPHIC")
    quality = add(root, "n1:Quality_Indicators_Info")
    add(quality, "Cloud_Coverage_Assessment", f"{cloud_percentage(scl):.6f}")
    _image_content(quality, scl, cloudy=False)
    return xml_bytes(root)


def tile_xml(identity: L2aIdentity, grid: Grid, scl: NDArray[np.uint8]) -> bytes:
    """GRANULE/*/MTD_TL.xml; grid is the 10 m grid of the granule."""
    root = Element("n1:Level-2A_Tile_ID", {"xmlns:n1": f"{_PSD}S2_PDI_Level-2A_Tile_Metadata.xsd"})
    stamp = compact(identity.generated)
    general = add(root, "n1:General_Info")
    strip = f"{identity.platform}_OPER_MSI_L2A_DS_SYNT_{stamp}_S{compact(identity.tile_time)}_N{identity.baseline}"
    granule = f"{identity.platform}_OPER_MSI_L2A_TL_SYNT_{stamp}_A{identity.absolute_orbit:06d}_T{identity.tile}_N{identity.baseline}"
    add(general, "TILE_ID", granule, metadataLevel="Brief")
    add(general, "DATASTRIP_ID", strip, metadataLevel="Standard")
    add(general, "DOWNLINK_PRIORITY", "NOMINAL", metadataLevel="Standard")
    add(general, "SENSING_TIME", _iso(identity.tile_time), metadataLevel="Standard")
    geometry = add(root, "n1:Geometric_Info")
    coding = add(geometry, "Tile_Geocoding", metadataLevel="Brief")
    zone, side = grid.epsg % 100, "N" if grid.epsg < 32700 else "S"
    add_all(
        coding, {"HORIZONTAL_CS_NAME": f"WGS84 / UTM zone {zone:02d}{side}", "HORIZONTAL_CS_CODE": f"EPSG:{grid.epsg}"}
    )
    for step in (10, 20, 60):
        add_all(
            add(coding, "Size", resolution=str(step)),
            {"NROWS": grid.rows * 10 // step, "NCOLS": grid.cols * 10 // step},
        )
    for step in (10, 20, 60):
        add_all(
            add(coding, "Geoposition", resolution=str(step)),
            {"ULX": round(grid.x0), "ULY": round(grid.y0), "XDIM": step, "YDIM": -step},
        )
    angles = add(add(geometry, "Tile_Angles", metadataLevel="Standard"), "Mean_Sun_Angle")
    add(angles, "ZENITH_ANGLE", f"{identity.sun_zenith_deg:.12f}", unit="deg")
    add(angles, "AZIMUTH_ANGLE", f"{identity.sun_azimuth_deg:.12f}", unit="deg")
    _image_content(add(root, "n1:Quality_Indicators_Info", metadataLevel="Standard"), scl, cloudy=True)
    return xml_bytes(root)


def manifest_xml(identity: L2aIdentity, files: Mapping[str, bytes], ring: list[tuple[float, float]]) -> bytes:
    root = Element(
        "xfdu:XFDU",
        {
            "xmlns:gml": "http://www.opengis.net/gml",
            "xmlns:safe": "http://www.esa.int/safe/sentinel/1.1",
            "xmlns:xfdu": "urn:ccsds:schema:xfdu:1",
            "version": "esa/safe/sentinel/1.1/sentinel-2/msi/archive_l2a_user_product",
        },
    )
    unit = add(
        add(root, "informationPackageMap"),
        "xfdu:contentUnit",
        unitType="Product_Level-2A",
        textInfo="SENTINEL-2 MSI Level-2A User Product",
        pdiID="processing",
    )
    section, objects = add(root, "metadataSection"), Element("dataObjectSection")
    frame = add(section, "metadataObject", ID="measurementFrameSet", classification="DESCRIPTION", category="DMD")
    data = add(
        add(frame, "metadataWrap", mimeType="text/xml", vocabularyName="Sentinel-SAFE", textInfo="Frame Set"), "xmlData"
    )
    outline = add(add(data, "safe:frameSet"), "safe:footPrint", srsName="http://www.opengis.net/gml/srs/epsg.xml#4326")
    add(outline, "gml:coordinates", " ".join(f"{lat:.12f} {lon:.12f}" for lat, lon in ring))
    for number, (member, content) in enumerate(files.items()):
        name = f"object_{number:02d}_Data"
        add(
            add(unit, "xfdu:contentUnit", ID=f"{name}_Unit", unitType="Metadata Unit"),
            "dataObjectPointer",
            dataObjectID=name,
        )
        mime = "text/xml" if member.endswith(".xml") else "application/octet-stream"
        data_object(objects, name, "Metadata", member, content, mime)
    root.append(objects)
    return xml_bytes(root)

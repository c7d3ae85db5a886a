"""Write BEAM-DIMAP as SNAP does: .dim, and big-endian ENVI images in the .data folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from osgeo import osr

from utils.science.grid import Grid

_ENVI = {"uint8": (1, "uint8"), "int16": (2, "int16"), "float32": (4, "float32"), "uint16": (12, "uint16")}


def write_dimap(
    target: Path, grid: Grid, bands: Mapping[str, np.ndarray], attributes: Mapping[str, str], nodata: float | None = 0.0,
    scaling: Mapping[str, tuple[float, float]] | None = None,
) -> None:  # fmt: skip
    """scaling: band -> (factor, offset)."""
    data = target.with_suffix(".data")
    data.mkdir()
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(grid.epsg)
    files, infos = [], []
    for index, (name, values) in enumerate(bands.items()):
        code, kind = _ENVI[values.dtype.name]
        (data / f"{name}.img").write_bytes(values.astype(values.dtype.newbyteorder(">")).tobytes())
        rows, cols = values.shape
        (data / f"{name}.hdr").write_text(
            f"ENVI\ndescription = {{{name}}}\nsamples = {cols}\nlines = {rows}\nbands = 1\nheader offset = 0\n"
            f"file type = ENVI Standard\ndata type = {code}\ninterleave = bsq\nbyte order = 1\nband names = {{ {name} }}\n"
        )
        factor, offset = (scaling or {}).get(name, (1.0, 0.0))
        files.append(
            f'<Data_File><DATA_FILE_PATH href="{data.name}/{name}.hdr"/><BAND_INDEX>{index}</BAND_INDEX></Data_File>'
        )
        used = nodata is not None and values.dtype != np.uint8
        infos.append(
            f"<Spectral_Band_Info><BAND_INDEX>{index}</BAND_INDEX><BAND_NAME>{name}</BAND_NAME><DATA_TYPE>{kind}</DATA_TYPE>"
            f"<SCALING_FACTOR>{factor!r}</SCALING_FACTOR><SCALING_OFFSET>{offset!r}</SCALING_OFFSET><LOG10_SCALED>false</LOG10_SCALED>"
            f"<NO_DATA_VALUE_USED>{str(used).lower()}</NO_DATA_VALUE_USED><NO_DATA_VALUE>{nodata or 0.0}</NO_DATA_VALUE>"
            "</Spectral_Band_Info>"
        )
    meta = "".join(f'<MDATTR name="{key}" type="ascii">{escape(value)}</MDATTR>' for key, value in attributes.items())
    target.write_text(
        f'<?xml version="1.0" encoding="ISO-8859-1"?>\n<Dimap_Document name="{target.name}">\n'
        f'<Metadata_Id><METADATA_FORMAT version="2.12.1">DIMAP</METADATA_FORMAT></Metadata_Id>\n'
        f"<Dataset_Id><DATASET_NAME>{target.stem}</DATASET_NAME></Dataset_Id>\n"
        f"<Coordinate_Reference_System><WKT>\n{escape(reference.ExportToWkt())}\n</WKT></Coordinate_Reference_System>\n"
        f"<Geoposition><IMAGE_TO_MODEL_TRANSFORM>{grid.dx},0.0,0.0,{grid.dy},{grid.x0},{grid.y0}</IMAGE_TO_MODEL_TRANSFORM></Geoposition>\n"
        f"<Raster_Dimensions><NCOLS>{grid.cols}</NCOLS><NROWS>{grid.rows}</NROWS><NBANDS>{len(bands)}</NBANDS></Raster_Dimensions>\n"
        f"<Data_Access><DATA_FILE_FORMAT>ENVI</DATA_FILE_FORMAT>{''.join(files)}</Data_Access>\n"
        f"<Image_Interpretation>{''.join(infos)}</Image_Interpretation>\n"
        f'<Dataset_Sources><MDElem name="metadata"><MDElem name="Abstracted_Metadata">{meta}</MDElem></MDElem></Dataset_Sources>\n'
        "</Dimap_Document>\n",
        encoding="latin-1",
    )

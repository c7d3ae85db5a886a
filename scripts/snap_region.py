"""Grow areas for SNAP's Subset, which cuts in radar geometry: the rotated image and its filters need room.

FILE holds WKT polygons in EPSG:4326, longitude latitude, one a line; each comes back as the rectangle around it in the
given UTM zone, grown, again in longitude latitude. Empty lines and lines that begin with # are passed over.

Example  ./s2cr snap_region areas.txt --crs EPSG:32755 --grow 5000
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path

import click

from scripts._stage import guarded

_TEXT, _, _EXAMPLE = (__doc__ or "").partition("\n\nExample")


@click.command("snap_region", help=_TEXT, epilog="\b\nExample:" + ("\nExample" + _EXAMPLE).replace("\nExample", "\n"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--crs", required=True, help="UTM zone, EPSG:32755.")
@click.option("--grow", type=click.FloatRange(min=0), default=5000.0, show_default=True, help="Margin, m.")
def run(file: Path, crs: str, grow: float) -> None:
    import re

    from shapely import wkt
    from shapely.errors import ShapelyError
    from shapely.geometry import box

    from utils.io.footprint import geometry_wkt, to_lonlat, to_utm
    from utils.workflow.errors import ConfigError, InputError

    with guarded("snap_region"):
        match = re.fullmatch(r"EPSG:(32[67](?:0[1-9]|[1-5]\d|60))", crs)
        if match is None:
            raise ConfigError(f"{crs} is no UTM zone.", "Write it as EPSG:32755.")
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            try:
                area = wkt.loads(text)
            except ShapelyError as error:
                raise InputError(
                    f"{file}:{number}: not WKT ({error}).", "One POLYGON ((lon lat, ...)) a line."
                ) from error
            if area.geom_type not in ("Polygon", "MultiPolygon") or area.is_empty or abs(area.centroid.y) > 90:
                raise InputError(f"{file}:{number}: no polygon in degrees.", "One POLYGON ((lon lat, ...)) a line.")
            x0, y0, x1, y1 = to_utm(area, int(match[1])).bounds
            grown = box(x0 - grow, y0 - grow, x1 + grow, y1 + grow)
            click.echo(geometry_wkt(to_lonlat(grown, int(match[1]))))


if __name__ == "__main__":
    run()

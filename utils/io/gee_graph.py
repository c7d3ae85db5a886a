"""What is asked of Earth Engine: cloud masks of an image and the requests, as expressions of the client.

The arithmetic is that of utils/science/cloud_score.py, at 20 m in the UTM projection of the image; tests interpret the
expressions as they are sent and hold the two together. The client comes as the argument `ee`: utils/io/gee.py alone
imports it. Nothing here talks to a server.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

from utils.science import cloud_score as cs
from utils.science import gee_records
from utils.science.catalogue import Query
from utils.science.cloud import SCL_CLOUD, SCL_DEFECTIVE, SCL_SHADOW
from utils.science.gee_records import Found
from utils.science.indices import MIN_DENOMINATOR

S1_GRD = "COPERNICUS/S1_GRD"
# the plain collections carry +1000 DN from baseline 04.00 on; only the harmonised ones are used
S2 = {"L2A": "COPERNICUS/S2_SR_HARMONIZED", "L1C": "COPERNICUS/S2_HARMONIZED"}
CLOUD_SCORE_PLUS = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
CLOUD_PROBABILITY = "COPERNICUS/S2_CLOUD_PROBABILITY"
MAX_PIXELS, TILE_SCALE = 1e9, 4
EEObject = Any  # objects of the client have no types here
Client = Any


def toa_image(ee: Client, image: EEObject) -> EEObject:
    """The eight bands of the L1C image of the same system:index, as reflectance; masked where one is."""
    linked = image.linkCollection(ee.ImageCollection(S2["L1C"]), list(cs.TOA_BANDS)).select(list(cs.TOA_BANDS))
    return linked.updateMask(linked.mask().reduce(ee.Reducer.min())).divide(cs.DN_PER_UNIT)


def _ramp(value: EEObject, name: str) -> EEObject:
    low, high = cs.RAMPS[name]
    return value.subtract(low).divide(high - low)


def _ratio(first: EEObject, second: EEObject) -> EEObject:
    return first.subtract(second).divide(first.add(second))


def sen2cloudfree_image(ee: Client, image: EEObject) -> EEObject:
    """Bands cloudScore, shadowScore, quality: cloud_score.sen2cloudfree_scores on the server."""
    toa = toa_image(ee, image)
    b = {name: toa.select(name) for name in cs.TOA_BANDS}
    terms = {
        "blue": b["B2"], "aerosol": b["B1"], "cirrus": b["B1"].add(b["B10"]),
        "visible": b["B4"].add(b["B3"]).add(b["B2"]), "ndmi": _ratio(b["B8"], b["B11"]), "ndsi": _ratio(b["B3"], b["B11"]),
    }  # fmt: skip
    score = ee.Image.constant(1)
    for name, value in terms.items():
        score = score.min(_ramp(value, name))
    window = ee.Kernel.square(cs.WINDOW_PX // 2, "pixels")
    cloud = score.max(cs.LOWEST_SCORE).reduceNeighborhood(ee.Reducer.mean(), window).rename("cloudScore")
    dark = b["B8"].add(b["B11"]).add(b["B12"]).lt(cs.DARK_SUM)
    dark = dark.And(_ratio(b["B8"], b["B4"]).lt(cs.WATER_NDVI).Not()).And(cloud.gt(cs.CLOUD_THRESHOLD).Not())
    shadow = _cast(ee, cloud, image).multiply(dark).unmask(0, False)
    shadow = shadow.focalMin(cs.ERODE_PX, "circle", "pixels", cs.ROUNDS)
    shadow = shadow.focalMax(cs.DILATE_PX, "circle", "pixels", cs.ROUNDS)
    shadow = shadow.reduceNeighborhood(ee.Reducer.max(), ee.Kernel.square(1, "pixels"))
    shadow = shadow.updateMask(cloud.mask()).rename("shadowScore")
    quality = cloud.max(shadow).reduceNeighborhood(ee.Reducer.mean(), window).multiply(-1).rename("quality")
    return cloud.addBands(shadow).addBands(quality)


def _cast(ee: Client, cloud: EEObject, image: EEObject) -> EEObject:
    """Mean over the heights of the score where the casting cloud stands: cloud_score.cast_mean."""
    angle = ee.Number(image.get("MEAN_SOLAR_AZIMUTH_ANGLE")).add(180).multiply(math.pi / 180)
    slope = ee.Number(image.get("MEAN_SOLAR_ZENITH_ANGLE")).multiply(math.pi / 180).tan()
    utm = image.select("B11").projection()

    def at(height_m: EEObject) -> EEObject:
        reach = slope.multiply(height_m)
        east = ee.Image.constant(angle.sin().multiply(reach).multiply(-1))
        north = ee.Image.constant(angle.cos().multiply(reach).multiply(-1))
        # the vector is in metres of its own projection: without one it would be degrees of longitude and latitude
        return cloud.displace(east.addBands(north).setDefaultProjection(utm), "bilinear")

    return ee.ImageCollection.fromImages(ee.List(list(cs.HEIGHTS_M)).map(at)).mean()


def _sen2cloudfree(ee: Client, image: EEObject, level: str) -> EEObject:
    scores = sen2cloudfree_image(ee, image)
    cloud = scores.select("cloudScore").gt(cs.CLOUD_THRESHOLD)
    return cloud.addBands(scores.select("shadowScore").gt(cs.SHADOW_THRESHOLD).And(cloud.Not()))


def _cloud_score_plus(ee: Client, image: EEObject, level: str) -> EEObject:
    clear = image.linkCollection(ee.ImageCollection(CLOUD_SCORE_PLUS), ["cs"]).select("cs").gte(cs.CLEAR_CS)
    return clear.Not().addBands(clear.multiply(0))


def _with_l2a(ee: Client, image: EEObject, level: str, bands: Sequence[str]) -> EEObject:
    return image if level == "L2A" else image.linkCollection(ee.ImageCollection(S2["L2A"]), list(bands))


def _s2cloudless(ee: Client, image: EEObject, level: str) -> EEObject:
    linked = _with_l2a(ee, image, level, ("B8", "SCL"))
    linked = linked.linkCollection(ee.ImageCollection(CLOUD_PROBABILITY), ["probability"])
    nir, scl = linked.select("B8"), linked.select("SCL")
    raw = linked.select("probability").gt(cs.PROBABILITY_PERCENT)
    angle = ee.Number(90).subtract(ee.Number(image.get("MEAN_SOLAR_AZIMUTH_ANGLE")))
    block_m = cs.SCALE_M * cs.CAST_BLOCK_PX
    reach = raw.unmask(0, False).directionalDistanceTransform(angle, cs.CAST_PX)
    reach = reach.reproject(image.select("B11").projection(), None, block_m).select("distance").mask()
    valid = raw.mask().And(nir.mask()).And(scl.mask())
    shadow = reach.And(nir.divide(cs.DN_PER_UNIT).lt(cs.DARK_NIR)).And(scl.neq(cs.SCL_WATER))

    def grown(mask: EEObject) -> EEObject:
        return mask.unmask(0, False).focalMin(cs.CLEAN_PX, "circle", "pixels").focalMax(cs.GROW_PX, "circle", "pixels")

    raw = raw.updateMask(valid)
    cloud = grown(raw)
    both = grown(raw.Or(shadow)).And(cloud.Not())
    return cloud.addBands(both).updateMask(valid)


def _scl(ee: Client, image: EEObject, level: str) -> EEObject:
    scl = _with_l2a(ee, image, level, ("SCL",)).select("SCL")
    scl = scl.updateMask(scl.gt(SCL_DEFECTIVE))
    return scl.gte(min(SCL_CLOUD)).And(scl.lte(max(SCL_CLOUD))).addBands(scl.eq(SCL_SHADOW))


_METHODS = {"cloud_score_plus": _cloud_score_plus, "s2cloudless": _s2cloudless, "sen2cloudfree": _sen2cloudfree, "scl": _scl}  # fmt: skip


def masks(ee: Client, image: EEObject, method: str, level: str) -> EEObject:
    """Bands cloud and shadow of one image by one method, masked where it has no value or the image no data."""
    return _METHODS[method](ee, image, level).rename(["cloud", "shadow"]).updateMask(image.select("B11").mask())


def _counts(ee: Client, measured: EEObject, data: EEObject, area: EEObject, crs: EEObject) -> EEObject:
    """Dictionary of pixel counts over the area at 20 m; pixels count whole, by their centre."""
    valid = measured.select("cloud").mask().gt(0)  # a mask may be a fraction where pixels were averaged
    bands = [ee.Image.constant(1), data.gt(0), valid, measured.select("cloud"), measured.select("shadow")]  # fmt: skip
    image = ee.Image.cat(bands).rename(list(gee_records.COUNTS)).unmask(0, False)
    return _over(image, ee.Reducer.sum().unweighted(), area, crs)


def _over(image: EEObject, reducer: EEObject, area: EEObject, crs: EEObject) -> EEObject:
    return image.reduceRegion(
        reducer=reducer, geometry=area, crs=crs, scale=cs.SCALE_M, maxPixels=MAX_PIXELS, tileScale=TILE_SCALE
    )


def _milliseconds(time: dt.datetime) -> int:
    return round(time.timestamp() * 1000)


def _collection(ee: Client, query: Query, window: tuple[dt.datetime, dt.datetime]) -> EEObject:
    area = ee.Geometry(dict(query.geometry))
    name = S1_GRD if query.mission == "S1" else S2[query.s2_level]
    late = gee_records.TILE_DELAY if query.mission == "S2" else dt.timedelta()
    chosen = ee.ImageCollection(name).filterBounds(area)
    return chosen.filterDate(_milliseconds(window[0]), _milliseconds(window[1] + late))


def _feature(ee: Client, image: EEObject, names: Sequence[str]) -> EEObject:
    feature = ee.Feature(ee.Feature(None).copyProperties(image, list(names)))
    return feature.set("index", image.get("system:index")).set("footprint", image.get("system:footprint"))


def s1_request(ee: Client, query: Query, window: tuple[dt.datetime, dt.datetime]) -> EEObject:
    """All Sentinel-1 IW GRD images at 10 m that hold VV and VH: a feature list without geometry."""
    images = _collection(ee, query, window).filter(ee.Filter.eq("instrumentMode", "IW"))
    images = images.filter(ee.Filter.eq("resolution_meters", 10))
    for pol in ("VV", "VH"):
        images = images.filter(ee.Filter.listContains("transmitterReceiverPolarisation", pol))
    return ee.FeatureCollection(images.map(lambda image: _feature(ee, image, gee_records.S1_PROPERTIES)))


def s2_request(ee: Client, query: Query, window: tuple[dt.datetime, dt.datetime], method: str,
               only: Sequence[str] = ()) -> EEObject:  # fmt: skip
    """All Sentinel-2 images with their pixel counts over the area; `only` these indices where given."""
    area = ee.Geometry(dict(query.geometry))
    images = _collection(ee, query, window)
    if query.max_cloud_tile is not None:
        images = images.filter(ee.Filter.lte("CLOUDY_PIXEL_PERCENTAGE", query.max_cloud_tile))
    if only:
        images = images.filter(ee.Filter.inList("system:index", list(only)))

    def measured(image: EEObject) -> EEObject:
        utm = image.select("B11").projection()
        found = _counts(ee, masks(ee, image, method, query.s2_level), image.select("B11").mask(), area, utm)
        return _feature(ee, image, gee_records.S2_PROPERTIES).set(found)

    return ee.FeatureCollection(images.map(measured))


def scenes_request(ee: Client, query: Query, scenes: Sequence[Sequence[Found]]) -> EEObject:
    """Counts of scenes of several tiles, each mosaicked, so that overlaps count once; `scene` is the place in the list."""
    area, features = ee.Geometry(dict(query.geometry)), []
    for number, scene in enumerate(scenes):
        parts = []
        for method in sorted({item.method for item in scene}):
            names = [item.index for item in scene if item.method == method]
            images = ee.ImageCollection(S2[query.s2_level]).filter(ee.Filter.inList("system:index", names))
            parts.append(images.map(lambda image, method=method: masks(ee, image, method, query.s2_level)))
        merged = parts[0]
        for part in parts[1:]:
            merged = merged.merge(part)
        measured = merged.mosaic()
        crs = f"EPSG:{gee_records.utm_epsg(scene[0].product.tile)}"
        found = _counts(ee, measured, measured.select("cloud").mask(), area, crs)
        features.append(ee.Feature(None, {"scene": number}).set(found))
    return ee.FeatureCollection(features)


def catalogue_band(name: str) -> str:
    """Name of a band in Earth Engine: B02 is B2 there, B8A and B11 stay."""
    return f"B{name[2:]}" if name.startswith("B0") else name


def _index(ee: Client, name: str, image: EEObject) -> EEObject:
    """One index of reflectance, as in utils/science/indices.py: masked where the denominator is below 1e-6."""
    blue, red, nir = (image.select(band) for band in ("B2", "B4", "B8"))
    if name == "NDVI":
        red, nir = red.max(0), nir.max(0)
        top, bottom = nir.subtract(red), nir.add(red)
    else:
        top, bottom = nir.subtract(red).multiply(2.5), nir.add(red.multiply(6)).subtract(blue.multiply(7.5)).add(1)
    return top.divide(bottom).updateMask(bottom.abs().gte(MIN_DENOMINATOR))


def range_request(ee: Client, geometry: Mapping[str, Any], year: int, bands: Sequence[str], indices: Sequence[str],
                  clear_only: bool) -> EEObject:  # fmt: skip
    """Minimum and maximum over a year and an area at 20 m, a feature for each tile."""
    area, names = ee.Geometry(dict(geometry)), [*bands, *indices]
    begin, end = (_milliseconds(dt.datetime(y, 1, 1, tzinfo=dt.UTC)) for y in (year, year + 1))
    images = ee.ImageCollection(S2["L2A"]).filterBounds(area).filterDate(begin, end)
    used = sorted({*map(catalogue_band, bands), *(("B2", "B4", "B8") if indices else ())})

    def prepared(image: EEObject) -> EEObject:
        reflectance = image.select(used).divide(cs.DN_PER_UNIT)
        planes = [reflectance.select(catalogue_band(name)) for name in bands]
        planes += [_index(ee, name, reflectance) for name in indices]
        out = ee.Image.cat(planes).rename(names)
        return out.updateMask(masks(ee, image, "cloud_score_plus", "L2A").select("cloud").Not()) if clear_only else out

    def of_tile(tile: EEObject) -> EEObject:
        own = images.filter(ee.Filter.eq("MGRS_TILE", tile))
        all_year, utm = own.map(prepared), own.first().select("B11").projection()
        feature = ee.Feature(None, {"tile": tile, "images": own.size()})
        for end, image, reducer in (
            ("min", all_year.min(), ee.Reducer.min()),
            ("max", all_year.max(), ee.Reducer.max()),
        ):
            named = image.rename([f"{name}_{end}" for name in names])
            feature = feature.set(_over(named, reducer, area, utm))
        return feature

    return ee.FeatureCollection(images.aggregate_array("MGRS_TILE").distinct().sort().map(of_tile))

"""Functions of images of the Earth Engine interpreter.

Written apart from utils/science/cloud_score.py (sliding windows, spline reading, one pixel at a time), so that an error in
one does not repeat in the other. `world` is tests.fakes.ee_eval.World: the area and the size of the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from tests.fakes.ee_values import NATIVE_M, Array, Collection, Geometry, Image, Plane, Reducer

World = Any
Table = dict[str, tuple[Callable[..., Any], tuple[str, ...]]]


def _image(value: Any) -> Image:
    if not isinstance(value, Image):
        raise TypeError(f"not an image: {value!r}")
    return value


def _each(function: Callable[..., Array], *images: Image) -> Image:
    """Band by band; one band goes with every band of the others; names, properties and projection of the first."""
    first = _image(images[0])

    def at(pixel_m: int) -> dict[str, Plane]:
        planes = [image.at(pixel_m) for image in images]
        length = max(map(len, planes))
        names = next(list(p) for p in planes if len(p) == length) if len(planes[0]) != length else list(planes[0])
        out = {}
        for i, name in enumerate(names):
            parts = [list(p.values())[0 if len(p) == 1 else i] for p in planes]
            data = function(*(part.data for part in parts))
            outside = function(*(np.array(part.outside) for part in parts))
            out[name] = Plane(data, float(outside))
        return out

    return Image(at, dict(first.properties), first.crs)


def _masked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A pixel function whose result is masked where one input is."""

    def masked(world: World, *images: Image) -> Image:
        def planes(*data: Array) -> Array:
            good = np.logical_and.reduce([np.isfinite(d) for d in data])
            return np.where(good, function(*(np.where(good, d, 1.0) for d in data)), np.nan)

        return _each(planes, *images)

    return masked


def _constant(world: World, value: float) -> Image:
    def at(pixel_m: int) -> dict[str, Plane]:
        shape = world.inside.shape if pixel_m == NATIVE_M else tuple(math.ceil(n / 5) for n in world.inside.shape)
        return {"constant": Plane(np.full(shape, float(value)), float(value))}

    return Image(at)


def _select(world: World, image: Image, names: Sequence[str]) -> Image:
    return Image(lambda m: {name: image.at(m)[name] for name in names}, dict(image.properties), image.crs)


def _rename(world: World, image: Image, names: Sequence[str]) -> Image:
    def at(pixel_m: int) -> dict[str, Plane]:
        return dict(zip(names, image.at(pixel_m).values(), strict=True))

    return Image(at, dict(image.properties), image.crs)


def _add_bands(world: World, target: Image, source: Image) -> Image:
    def at(pixel_m: int) -> dict[str, Plane]:
        out = dict(target.at(pixel_m))
        for name, plane in source.at(pixel_m).items():
            while name in out:
                name += "_1"
            out[name] = plane
        return out

    return Image(at, dict(target.properties), target.crs)


def _link(world: World, image: Image, collection: Collection, names: Sequence[str]) -> Image:
    index = image.properties["system:index"]
    match = next((other for other in collection.items if other.properties["system:index"] == index), None)

    def at(pixel_m: int) -> dict[str, Plane]:
        out, shape = dict(image.at(pixel_m)), next(iter(image.at(pixel_m).values())).data.shape
        linked = match.at(pixel_m) if match else {name: Plane(np.full(shape, np.nan)) for name in names}
        out |= {name: linked[name] for name in names if name in linked}  # classes are known at 20 m only
        return out

    return Image(at, dict(image.properties), image.crs)


def _mask_of(world: World, image: Image) -> Image:
    return _each(lambda data: np.isfinite(data).astype(float), image)


def _update_mask(world: World, image: Image, mask: Image) -> Image:
    return _each(lambda data, m: np.where(np.isfinite(m) & (m != 0), data, np.nan), image, mask)


def _unmask(world: World, image: Image, value: Image, same_footprint: bool | None) -> Image:
    if same_footprint is not False:
        raise ValueError("unmask: only sameFootprint=False is known")
    return _each(lambda data, other: np.where(np.isfinite(data), data, other), image, value)


def _reduce_bands(world: World, image: Image, reducer: Reducer) -> Image:
    if reducer.name != "min":
        raise ValueError(f"Image.reduce by {reducer.name}")

    def at(pixel_m: int) -> dict[str, Plane]:
        planes = list(image.at(pixel_m).values())
        data = np.nanmin([plane.data for plane in planes], axis=0)
        return {"min": Plane(data, float(np.min([plane.outside for plane in planes])))}

    return Image(at, dict(image.properties), image.crs)


def _windows(plane: Plane, shape: Array) -> Array:
    """(H, W, n) values under a footprint around each pixel."""
    reach = shape.shape[0] // 2
    padded = np.pad(plane.data, reach, constant_values=plane.outside)
    return np.lib.stride_tricks.sliding_window_view(padded, shape.shape)[..., shape]


def _ignoring(function: Callable[..., Any], values: Array) -> Array:
    """Over the valid values of the last axis; masked where there is none."""
    some = np.isfinite(values).any(axis=-1)
    filled = np.where(some[..., None], values, 0.0)
    return np.where(some, function(filled, axis=-1), np.nan)


_NAN = {"mean": np.nanmean, "max": np.nanmax, "min": np.nanmin}


def _reduce_neighborhood(world: World, image: Image, reducer: Reducer, kernel: Array) -> Image:
    def at(pixel_m: int) -> dict[str, Plane]:
        out = {}
        for name, plane in image.at(pixel_m).items():
            data = _ignoring(_NAN[reducer.name], _windows(plane, kernel))
            out[f"{name}_{reducer.name}"] = Plane(np.where(np.isfinite(plane.data), data, np.nan), plane.outside)
        return out

    return Image(at, dict(image.properties), image.crs)


def _focal(which: str) -> Callable[..., Image]:
    def focal(world: World, image: Image, radius: float, kind: str, units: str, iterations: int | None) -> Image:
        if (kind, units) != ("circle", "pixels"):
            raise ValueError(f"focal: {kind} in {units}")
        reach = int(radius)
        shape = np.array([[math.hypot(i, j) <= radius for j in range(-reach, reach + 1)] for i in range(-reach, reach + 1)])  # fmt: skip

        def at(pixel_m: int) -> dict[str, Plane]:
            out = {}
            for name, plane in image.at(pixel_m).items():
                for _ in range(iterations or 1):
                    plane = Plane(_ignoring(_NAN[which], _windows(plane, shape)), plane.outside)
                out[name] = plane
            return out

        return Image(at, dict(image.properties), image.crs)

    return focal


def _displace(world: World, image: Image, vectors: Image, mode: str) -> Image:
    if mode != "bilinear":
        raise ValueError(f"displace: mode {mode}")
    if not vectors.crs:
        raise ValueError("displace: the vectors have no projection, their unit would be degrees")

    def at(pixel_m: int) -> dict[str, Plane]:
        east, north = (plane.data for plane in vectors.at(pixel_m).values())
        out = {}
        for name, plane in image.at(pixel_m).items():
            rows, cols = np.indices(plane.data.shape).astype(float)
            places = np.array([rows - north / pixel_m, cols + east / pixel_m])
            valid = np.isfinite(plane.data)
            beyond = 0.0 if math.isnan(plane.outside) else plane.outside
            kwargs = {"order": 1, "mode": "grid-constant", "prefilter": False}
            data = ndimage.map_coordinates(np.where(valid, plane.data, 0), places, cval=beyond, **kwargs)
            share = ndimage.map_coordinates(
                valid.astype(float), places, cval=float(math.isfinite(plane.outside)), **kwargs
            )
            out[name] = Plane(np.where(share > 1 - 1e-6, data, np.nan), plane.outside)
        return out

    return Image(at, dict(image.properties), image.crs)


def _directional(world: World, image: Image, angle: float, reach: int) -> Image:
    def at(pixel_m: int) -> dict[str, Plane]:
        (plane,) = image.at(pixel_m).values()
        out = np.full(plane.data.shape, np.nan)
        for row, col in np.ndindex(*out.shape):
            for step in range(reach + 1):
                i = round(row - step * math.sin(math.radians(angle)))
                j = round(col + step * math.cos(math.radians(angle)))
                inside = 0 <= i < out.shape[0] and 0 <= j < out.shape[1]
                if inside and np.isfinite(plane.data[i, j]) and plane.data[i, j] != 0:
                    out[row, col] = step
                    break
        return {"distance": Plane(out)}

    return Image(at, dict(image.properties), image.crs)


def _reproject(world: World, image: Image, crs: str, scale: float) -> Image:
    def at(pixel_m: int) -> dict[str, Plane]:
        fixed = image.at(int(scale))
        if pixel_m == scale:
            return fixed
        assert (int(scale), pixel_m) == (100, NATIVE_M), (scale, pixel_m)
        rows, cols = world.inside.shape
        return {name: Plane(np.kron(p.data, np.ones((5, 5)))[:rows, :cols], p.outside) for name, p in fixed.items()}

    return Image(at, dict(image.properties), crs)


def _reduce_region(world: World, image: Image, reducer: Reducer, geometry: Geometry, scale: float, crs: str,
                   max_pixels: float, tile_scale: float) -> dict[str, Any]:  # fmt: skip
    if geometry.coordinates != world.area or crs != world.crs or scale != NATIVE_M or reducer.weighted:
        raise ValueError(f"reduceRegion over {geometry} in {crs} at {scale} m, weighted {reducer.weighted}")
    out: dict[str, Any] = {}
    for name, plane in image.at(NATIVE_M).items():
        values = plane.data[world.inside & np.isfinite(plane.data)]
        function = {"sum": np.sum, "min": np.min, "max": np.max}[reducer.name]
        out[name] = float(function(values)) if values.size or reducer.name == "sum" else None
    return out


def _over_images(function: Callable[..., Any]) -> Callable[..., Any]:
    """One value a pixel from all images that have one there; bands by name."""

    def reduced(world: World, collection: Collection) -> Image:
        def at(pixel_m: int) -> dict[str, Plane]:
            out = {}
            for name in collection.items[0].at(pixel_m):
                planes = [image.at(pixel_m)[name] for image in collection.items]
                data = _ignoring(function, np.stack([plane.data for plane in planes], axis=-1))
                outside = _ignoring(function, np.array([plane.outside for plane in planes]))
                out[name] = Plane(data, float(outside))
            return out

        return Image(at)

    return reduced


def _last(values: Array, axis: int) -> Array:
    """The last valid value: a mosaic puts later images on top."""
    out = values[..., 0]
    for i in range(values.shape[-1]):
        out = np.where(np.isfinite(values[..., i]), values[..., i], out)
    return out


def _unit(value: Any) -> Any:
    if value != "pixels":
        raise ValueError(f"kernel in {value}")


def _square(world: World, radius: float, units: str) -> Array:
    _unit(units)
    return np.ones((2 * int(radius) + 1,) * 2, bool)


def _divide(a: Array, b: Array) -> Array:
    return np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b))


_TWO = ("image1", "image2")
_FOCAL = ("image", "radius", "kernelType", "units", "iterations")
PIXELS: Table = {
    "Image.add": (_masked(lambda a, b: a + b), _TWO),
    "Image.subtract": (_masked(lambda a, b: a - b), _TWO),
    "Image.multiply": (_masked(lambda a, b: a * b), _TWO),
    "Image.divide": (_masked(_divide), _TWO),
    "Image.min": (_masked(np.minimum), _TWO),
    "Image.max": (_masked(np.maximum), _TWO),
    "Image.lt": (_masked(lambda a, b: a < b), _TWO),
    "Image.lte": (_masked(lambda a, b: a <= b), _TWO),
    "Image.gt": (_masked(lambda a, b: a > b), _TWO),
    "Image.gte": (_masked(lambda a, b: a >= b), _TWO),
    "Image.eq": (_masked(lambda a, b: a == b), _TWO),
    "Image.neq": (_masked(lambda a, b: a != b), _TWO),
    "Image.and": (_masked(lambda a, b: (a != 0) & (b != 0)), _TWO),
    "Image.or": (_masked(lambda a, b: (a != 0) | (b != 0)), _TWO),
    "Image.abs": (_masked(np.abs), ("value",)),
    "Image.not": (_masked(lambda a: a == 0), ("value",)),
    "Image.constant": (_constant, ("value",)),
    "Image.select": (_select, ("input", "bandSelectors")),
    "Image.rename": (_rename, ("input", "names")),
    "Image.addBands": (_add_bands, ("dstImg", "srcImg")),
    "Image.linkCollection": (_link, ("input", "imageCollection", "linkedBands")),
    "Image.mask": (_mask_of, ("image",)),
    "Image.updateMask": (_update_mask, ("image", "mask")),
    "Image.unmask": (_unmask, ("input", "value", "sameFootprint")),
    "Image.reduce": (_reduce_bands, ("image", "reducer")),
    "Image.reduceNeighborhood": (_reduce_neighborhood, ("image", "reducer", "kernel")),
    "Image.focalMin": (_focal("min"), _FOCAL),
    "Image.focalMax": (_focal("max"), _FOCAL),
    "Image.displace": (_displace, ("image", "displacement", "mode")),
    "Image.directionalDistanceTransform": (_directional, ("source", "angle", "maxDistance")),
    "Image.reproject": (_reproject, ("image", "crs", "scale")),
    "Image.projection": (lambda world, image: image.crs, ("image",)),
    "Image.setDefaultProjection": (
        lambda world, image, crs: Image(image.bands, image.properties, crs),
        ("image", "crs"),
    ),
    "Image.reduceRegion": (
        _reduce_region,
        ("image", "reducer", "geometry", "scale", "crs", "maxPixels", "tileScale"),
    ),
    "ImageCollection.mosaic": (_over_images(_last), ("collection",)),
    "reduce.mean": (_over_images(np.nanmean), ("collection",)),
    "reduce.min": (_over_images(np.nanmin), ("collection",)),
    "reduce.max": (_over_images(np.nanmax), ("collection",)),
    "Kernel.square": (_square, ("radius", "units")),
    "Reducer.mean": (lambda world: Reducer("mean"), ()),
    "Reducer.min": (lambda world: Reducer("min", False), ()),
    "Reducer.max": (lambda world: Reducer("max", False), ()),
    "Reducer.sum": (lambda world: Reducer("sum"), ()),
    "Reducer.unweighted": (lambda world, reducer: Reducer(reducer.name, False), ("reducer",)),
}

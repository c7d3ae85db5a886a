"""Interpreter of Earth Engine expressions on small NumPy images: what was sent is computed, not what was meant.

Strict: an unknown function, argument, unit, mode or reducer is an error. Written apart from utils/science/cloud_score.py
(sliding windows, spline reading, one pixel at a time), so that an error in one does not repeat in the other.

An image is a function of the pixel size (20 or 100 m) to planes; a plane is an array with NaN = masked, and one value for
everything outside it (NaN = masked; constants and unmask(v, sameFootprint=False) have a value everywhere).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

NATIVE_M = 20
Array = np.ndarray


@dataclass
class Plane:
    data: Array
    outside: float = math.nan


@dataclass
class Image:
    """bands: pixel size in m -> planes by name;  crs: name, empty for an image without default projection."""

    bands: Callable[[int], dict[str, Plane]]
    properties: dict[str, Any] = field(default_factory=dict)
    crs: str = ""
    _seen: dict[int, dict[str, Plane]] = field(default_factory=dict)

    def at(self, pixel_m: int) -> dict[str, Plane]:
        if pixel_m not in self._seen:
            self._seen[pixel_m] = self.bands(pixel_m)
        return self._seen[pixel_m]


@dataclass
class Feature:
    properties: dict[str, Any]


@dataclass
class Geometry:
    coordinates: Any


@dataclass
class Reducer:
    name: str
    weighted: bool = True


@dataclass
class World:
    """collections: id -> images;  inside: which pixels the area covers;  area: its GeoJSON coordinates."""

    collections: dict[str, list[Image]]
    inside: Array
    area: Any
    crs: str = "EPSG:32755"

    def answer(self, expression: Mapping[str, Any]) -> Any:
        """The JSON result of an expression."""
        return _json(Evaluation(self, expression["values"]).value(expression["result"], {}))


def source_image(properties: Mapping[str, Any], bands: Mapping[str, Array], crs: str = "EPSG:32755") -> Image:
    """An image of the data catalogue, with 20 m planes; at 100 m the mean of 5 x 5 valid pixels (SCL has none)."""

    def at(pixel_m: int) -> dict[str, Plane]:
        if pixel_m == NATIVE_M:
            return {name: Plane(np.asarray(data, float)) for name, data in bands.items()}
        assert pixel_m == 100, pixel_m
        return {name: Plane(_blocks(np.asarray(data, float))) for name, data in bands.items() if name != "SCL"}

    return Image(at, dict(properties), crs)


def _blocks(data: Array) -> Array:
    out = np.full((math.ceil(data.shape[0] / 5), math.ceil(data.shape[1] / 5)), np.nan)
    for i, j in np.ndindex(*out.shape):
        part = data[5 * i : 5 * i + 5, 5 * j : 5 * j + 5]
        if np.isfinite(part).any():
            out[i, j] = np.nanmean(part)
    return out


def _json(value: Any) -> Any:
    if isinstance(value, Feature):
        return {"type": "Feature", "geometry": None, "properties": _json(value.properties)}
    if isinstance(value, Image):
        return {"bands": {name: plane.data.tolist() for name, plane in value.at(NATIVE_M).items()}}
    if isinstance(value, list) and value and isinstance(value[0], Feature):
        return {"type": "FeatureCollection", "features": [_json(item) for item in value]}
    if isinstance(value, Collection):
        return {"type": "FeatureCollection", "features": [_json(item) for item in value.items]}
    if isinstance(value, dict):
        return {name: _json(item) for name, item in value.items() if item is not None}
    if isinstance(value, np.floating | np.integer):
        return value.item()
    return value


@dataclass
class Collection:
    items: list[Any]


class Evaluation:
    """One expression: its table of values, with results kept by the arguments that they depend on."""

    def __init__(self, world: World, table: Mapping[str, Any]) -> None:
        self.world, self.table = world, table
        self._kept: dict[Any, Any] = {}
        self._alive: list[Any] = []
        self._free: dict[str, frozenset[str]] = {}

    def value(self, reference: str, arguments: Mapping[str, Any]) -> Any:
        used = tuple((name, id(arguments[name])) for name in sorted(self._free_of(reference)))
        if (reference, used) not in self._kept:
            self._alive.append(arguments)
            self._kept[reference, used] = self.node(self.table[reference], arguments)
        return self._kept[reference, used]

    def _free_of(self, reference: str) -> frozenset[str]:
        if reference not in self._free:
            self._free[reference] = self._free_in(self.table[reference])
        return self._free[reference]

    def _free_in(self, node: Any) -> frozenset[str]:
        if isinstance(node, list):
            return frozenset().union(*map(self._free_in, node))
        if not isinstance(node, dict):
            return frozenset()
        if "valueReference" in node:
            return self._free_of(node["valueReference"])
        if "argumentReference" in node:
            return frozenset({node["argumentReference"]})
        if "functionDefinitionValue" in node:
            definition = node["functionDefinitionValue"]
            return self._free_of(definition["body"]) - set(definition["argumentNames"])
        return frozenset().union(*map(self._free_in, node.values()))

    def node(self, node: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        if len(node) != 1:
            raise ValueError(f"a node of {sorted(node)}")
        kind, content = next(iter(node.items()))
        if kind == "constantValue":
            return content
        if kind == "valueReference":
            return self.value(content, arguments)
        if kind == "argumentReference":
            return arguments[content]
        if kind == "arrayValue":
            return [self.node(item, arguments) for item in content["values"]]
        if kind == "dictionaryValue":
            return {name: self.node(item, arguments) for name, item in content["values"].items()}
        if kind == "functionDefinitionValue":
            return lambda *given: self.value(
                content["body"], {**arguments, **dict(zip(content["argumentNames"], given, strict=True))}
            )
        if kind == "functionInvocationValue":
            return self.call(content["functionName"], content.get("arguments", {}), arguments)
        raise ValueError(f"unknown kind of node {kind}")

    def call(self, name: str, nodes: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        if name not in FUNCTIONS:
            raise ValueError(f"unknown function {name}")
        function, allowed = FUNCTIONS[name]
        unknown = set(nodes) - set(allowed)
        if unknown:
            raise ValueError(f"{name}: unknown argument {sorted(unknown)}")
        values = [self.node(nodes[key], arguments) if key in nodes else None for key in allowed]
        return function(self.world, *values)


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


def _get(world: World, element: Any, name: str) -> Any:
    return element.properties.get(name)


def _with(element: Any, more: Mapping[str, Any]) -> Any:
    properties = {**element.properties, **more}
    return Feature(properties) if isinstance(element, Feature) else Image(element.bands, properties, element.crs)


def _copy_properties(world: World, target: Any, source: Any, names: Sequence[str]) -> Any:
    return _with(target, {name: source.properties[name] for name in names if name in source.properties})


def _boxes_meet(first: Any, second: Any) -> bool:
    def flat(value: Any) -> Array:
        return np.array(value, float).reshape(-1, 2)

    a, b = flat(first), flat(second)
    return bool((a.min(0) <= b.max(0)).all() and (b.min(0) <= a.max(0)).all())


def _filter(test: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    """Filter of a property on the left and a value on the right."""
    return lambda world, name, value: lambda item: test(item.properties.get(name), value)


def _intersects(world: World, name: str, value: Any) -> Any:
    if name != ".all":
        raise ValueError(f"intersects on {name}")
    area = value.properties["geometry"].coordinates
    return lambda item: _boxes_meet(item.properties["system:footprint"]["coordinates"], area)


def _list_contains(world: World, left: str | None, value: Any, left_value: Any, right: str | None) -> Any:
    if left is not None:
        return lambda item: value in (item.properties.get(left) or [])
    return lambda item: item.properties.get(right) in left_value


def _date_contains(world: World, dates: tuple[float, float], name: str) -> Any:
    return lambda item: dates[0] <= item.properties[name] < dates[1]


def _map(world: World, collection: Any, function: Any, drop: bool | None) -> Any:
    items = collection.items if isinstance(collection, Collection) else collection
    out = [function(item) for item in items]
    return Collection(out) if isinstance(collection, Collection) else out


def _load(world: World, name: str) -> Collection:
    if name not in world.collections:
        raise ValueError(f"no collection {name}")
    return Collection(world.collections[name])


def _unit(value: Any) -> Any:
    if value != "pixels":
        raise ValueError(f"kernel in {value}")


def _square(world: World, radius: float, units: str) -> Array:
    _unit(units)
    return np.ones((2 * int(radius) + 1,) * 2, bool)


def _feature(world: World, geometry: Geometry | None, metadata: Mapping[str, Any] | None) -> Feature:
    return Feature({**(metadata or {}), **({"geometry": geometry} if geometry else {})})


def _divide(a: Array, b: Array) -> Array:
    return np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b))


_TWO, _NUMBERS = ("image1", "image2"), ("left", "right")
_FOCAL = ("image", "radius", "kernelType", "units", "iterations")
_FIELD = ("leftField", "rightValue")
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
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
    "Projection": (lambda world, crs: crs, ("crs",)),
    "Image.setDefaultProjection": (
        lambda world, image, crs: Image(image.bands, image.properties, crs),
        ("image", "crs"),
    ),
    "Image.reduceRegion": (
        _reduce_region,
        ("image", "reducer", "geometry", "scale", "crs", "maxPixels", "tileScale"),
    ),
    "ImageCollection.load": (_load, ("id",)),
    "ImageCollection.fromImages": (lambda world, images: Collection(list(images)), ("images",)),
    "ImageCollection.mosaic": (_over_images(_last), ("collection",)),
    "ImageCollection.merge": (lambda world, a, b: Collection(a.items + b.items), ("collection1", "collection2")),
    "reduce.mean": (_over_images(np.nanmean), ("collection",)),
    "reduce.min": (_over_images(np.nanmin), ("collection",)),
    "reduce.max": (_over_images(np.nanmax), ("collection",)),
    "Collection": (lambda world, features: Collection(list(features)), ("features",)),
    "Collection.filter": (lambda world, c, f: Collection([i for i in c.items if f(i)]), ("collection", "filter")),
    "Collection.map": (_map, ("collection", "baseAlgorithm", "dropNulls")),
    "Collection.size": (lambda world, c: len(c.items), ("collection",)),
    "Collection.first": (lambda world, c: c.items[0], ("collection",)),
    "AggregateFeatureCollection.array": (
        lambda world, c, name: [item.properties[name] for item in c.items],
        ("collection", "property"),
    ),
    "List.map": (_map, ("list", "baseAlgorithm", "dropNulls")),
    "List.distinct": (lambda world, values: list(dict.fromkeys(values)), ("list",)),
    "List.sort": (lambda world, values: sorted(values), ("list",)),
    "Dictionary.combine": (lambda world, a, b: {**a, **b}, ("first", "second")),
    "Element.get": (_get, ("object", "property")),
    "Element.set": (lambda world, element, name, value: _with(element, {name: value}), ("object", "key", "value")),
    "Element.setMulti": (lambda world, element, values: _with(element, values), ("object", "properties")),
    "Element.copyProperties": (_copy_properties, ("destination", "source", "properties")),
    "Feature": (_feature, ("geometry", "metadata")),
    "GeometryConstructors.Polygon": (lambda world, coordinates: Geometry(coordinates), ("coordinates",)),
    "DateRange": (lambda world, start, end: (start, end), ("start", "end")),
    "Filter.equals": (_filter(lambda left, right: left == right), _FIELD),
    "Filter.greaterThan": (_filter(lambda left, right: left is not None and left > right), _FIELD),
    "Filter.intersects": (_intersects, _FIELD),
    "Filter.dateRangeContains": (_date_contains, ("leftValue", "rightField")),
    "Filter.listContains": (_list_contains, ("leftField", "rightValue", "leftValue", "rightField")),
    "Filter.not": (lambda world, f: lambda item: not f(item), ("filter",)),
    "Kernel.square": (_square, ("radius", "units")),
    "Number.add": (lambda world, a, b: a + b, _NUMBERS),
    "Number.subtract": (lambda world, a, b: a - b, _NUMBERS),
    "Number.multiply": (lambda world, a, b: a * b, _NUMBERS),
    "Number.sin": (lambda world, a: math.sin(a), ("input",)),
    "Number.cos": (lambda world, a: math.cos(a), ("input",)),
    "Number.tan": (lambda world, a: math.tan(a), ("input",)),
    "Reducer.mean": (lambda world: Reducer("mean"), ()),
    "Reducer.min": (lambda world: Reducer("min", False), ()),
    "Reducer.max": (lambda world: Reducer("max", False), ()),
    "Reducer.sum": (lambda world: Reducer("sum"), ()),
    "Reducer.unweighted": (lambda world, reducer: Reducer(reducer.name, False), ("reducer",)),
}

"""Interpreter of Earth Engine expressions on small NumPy images: what was sent is computed, not what was meant.

Strict: an unknown function, argument, unit, mode or reducer is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.fakes.ee_pixels import PIXELS, Table
from tests.fakes.ee_values import NATIVE_M, Array, Collection, Feature, Geometry, Image, source_image

__all__ = ["Collection", "Image", "World", "source_image"]


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


def _feature(world: World, geometry: Geometry | None, metadata: Mapping[str, Any] | None) -> Feature:
    return Feature({**(metadata or {}), **({"geometry": geometry} if geometry else {})})


_NUMBERS = ("left", "right")
_FIELD = ("leftField", "rightValue")
FUNCTIONS: Table = PIXELS | {
    "Projection": (lambda world, crs: crs, ("crs",)),
    "ImageCollection.load": (_load, ("id",)),
    "ImageCollection.fromImages": (lambda world, images: Collection(list(images)), ("images",)),
    "ImageCollection.merge": (lambda world, a, b: Collection(a.items + b.items), ("collection1", "collection2")),
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
    "Number.add": (lambda world, a, b: a + b, _NUMBERS),
    "Number.subtract": (lambda world, a, b: a - b, _NUMBERS),
    "Number.multiply": (lambda world, a, b: a * b, _NUMBERS),
    "Number.sin": (lambda world, a: math.sin(a), ("input",)),
    "Number.cos": (lambda world, a: math.cos(a), ("input",)),
    "Number.tan": (lambda world, a: math.tan(a), ("input",)),
}

"""From YAML to the strict models: `extends`, all errors at once as file:line, cross checks, paths."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from utils.workflow import yaml_rules
from utils.workflow.errors import ConfigError
from utils.workflow.layout import Layout
from utils.workflow.schema import Conf, Hpc
from utils.workflow.yaml_rules import Document, Loc

ROOT = Path(__file__).resolve().parents[2]
M = TypeVar("M", bound=BaseModel)


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> Conf:
    """Read, merge and check a configuration.

    overrides  dotted key -> value of the command line; checked like the values of the file
    raises  ConfigError (exit 65): every problem on its own line as file:line
    """
    own = yaml_rules.read(path)
    document = _merged(_parent(own), _profile(own), own)
    for dotted, value in (overrides or {}).items():
        _override(document, dotted, value)
    conf = _validate(document, Conf)
    problems = _cross_checks(conf, document)
    if problems:
        raise ConfigError("\n".join(problems), "Correct these lines.")
    return conf


def load_yaml_model(path: Path, model: type[M]) -> M:
    """Read any other YAML (model.yaml, train.yaml) into its strict model; the same errors as `load`."""
    return _validate(yaml_rules.read(path), model)


def load_hpc() -> Hpc:
    """Section hpc for commands without a configuration: the file that S2CR_HPC names, else the defaults."""
    profile = _profile(Document(ROOT / "S2CR_HPC", {}))
    return _validate(profile, Conf).hpc if profile else Hpc()


def _parent(document: Document) -> Document | None:
    """The file that `extends` names, one level deep; the key is taken out of `document`."""
    name = document.data.pop("extends", None)
    if name is None:
        return None
    where = document.where(("extends",))
    parent_path = document.path.parent / str(name)
    if not parent_path.is_file():
        raise ConfigError(f"{where}: {name} does not exist beside this file.", "Name a file of the same folder.")
    parent = yaml_rules.read(parent_path)
    if "extends" in parent.data:
        raise ConfigError(
            f"{where}: {name} extends another file; one level is allowed.", "Extend default.yaml directly."
        )
    return parent


def _profile(document: Document) -> Document | None:
    """The file of S2CR_HPC, else of hpc.profile: a section hpc that lies between the defaults and `document`."""
    hpc = document.data.get("hpc")
    name, where = os.environ.get("S2CR_HPC"), "S2CR_HPC"
    if not name and isinstance(hpc, dict):
        name, where = hpc.get("profile"), document.where(("hpc", "profile"))
    if not name:
        return None
    path = ROOT / Path(str(name)).expanduser()
    if not path.is_file():
        raise ConfigError(f"{where}: {path}: no such file.", "Name a file such as confs/hpc/slurm.yaml.")
    profile = yaml_rules.read(path)
    if set(profile.data) != {"hpc"} or not isinstance(profile.data["hpc"], dict):
        raise ConfigError(f"{path.name}:1: holds more or less than a section hpc.", "Keep only hpc: with its keys.")
    if "profile" in profile.data["hpc"]:
        raise ConfigError(
            f"{profile.where(('hpc', 'profile'))}: names another profile; one level is allowed.", "Delete the line."
        )
    return profile


def _merged(*layers: Document | None) -> Document:
    """Later layers win, sections merge key by key; a line is reported in the file that holds it."""
    present = [layer for layer in layers if layer is not None]
    out = Document(present[-1].path, {})
    for layer in present:
        out.data, out.lines = _merge(out.data, layer.data), {**out.lines, **layer.lines}
    return out


def _override(document: Document, dotted: str, value: Any) -> None:
    """Set one key; messages about it then name the command line in place of a line of the file."""
    *sections, last = dotted.split(".")
    inner = document.data
    for name in sections:
        if not isinstance(inner.get(name), dict):
            inner[name] = {}
        inner = inner[name]
    inner[last] = value
    document.lines[tuple(dotted.split("."))] = "command line"


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        out[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def _validate(document: Document, model: type[M]) -> M:
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        lines = [_explain(item, document, model) for item in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines), "Correct these lines; ./s2cr conf explain KEY describes a key.") from error


def _explain(item: Any, document: Document, model: type[BaseModel]) -> str:
    loc: Loc = tuple(item["loc"])
    where, dotted = document.where(loc), ".".join(str(part) for part in loc)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(loc[-1]), _fields_at(model, loc[:-1]), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"{where}: unknown key '{loc[-1]}'{hint}"
    if item["type"] == "missing":
        return f"{where}: missing key '{dotted}'"
    return f"{where}: {dotted}: {item['msg'][:1].lower()}{item['msg'][1:]} (got {item['input']!r})"


def _submodel(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as Section, tuple[Section, ...] or Annotated[...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _submodel(inner)
        if found is not None:
            return found
    return None


def _fields_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Key names that are known at `loc`."""
    current: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int) or current is None:
            continue
        field = current.model_fields.get(part) or next(
            (f for f in current.model_fields.values() if f.alias == part), None
        )
        current = _submodel(field.annotation) if field else None
    if current is None:
        return []
    return [field.alias or name for name, field in current.model_fields.items()]


def _cross_checks(conf: Conf, document: Document) -> list[str]:
    """Relations between keys that no single field can check."""
    problems: list[str] = []

    def need(ok: bool, loc: Loc, text: str) -> None:
        if not ok:
            problems.append(f"{document.where(loc)}: {text}")

    need(
        conf.tiling.overlap_px < conf.tiling.size_px,
        ("tiling", "overlap_px"),
        "tiling.overlap_px must be less than tiling.size_px",
    )
    need(
        abs(sum(conf.split.shares) - 1) < 1e-6,
        ("split", "shares"),
        f"split.shares add up to {sum(conf.split.shares):g}, not 1",
    )
    need(
        len(set(conf.dataset.optical)) == len(conf.dataset.optical),
        ("dataset", "extra_bands"),
        "a band is listed twice",
    )
    names = [run.name for run in conf.train.runs]
    need(bool(names), ("train", "runs"), "train.runs is empty")
    need(len(set(names)) == len(names), ("train", "runs"), "two runs have the same name")
    need(not {"truth", "hidden"} & set(names), ("train", "runs"), "the run names truth and hidden are taken")
    utm = conf.scene.epsg // 100 in (326, 327) and 1 <= conf.scene.epsg % 100 <= 60
    need(
        utm or not conf.scene.enabled, ("scene", "epsg"), f"scene.epsg {conf.scene.epsg} is no UTM zone (326zz, 327zz)"
    )
    need(
        conf.report.synthetic or not conf.scene.enabled,
        ("scene", "enabled"),
        "scene.enabled generates the data: report.synthetic must be true, so that no page passes them for observed ones",
    )
    series = conf.preprocess.multitemporal
    need(
        series.window % 2 == 1, ("preprocess", "multitemporal", "window"), "preprocess.multitemporal.window must be odd"
    )
    need(
        conf.source != "search" or not series.enabled or conf.preprocess.speckle.filter == "none",
        ("preprocess", "multitemporal", "enabled"),
        "preprocess.multitemporal.enabled filters speckle over the dates: preprocess.speckle.filter must be none, or it is filtered twice",
    )
    _check_clouds(conf, need)
    if conf.source == "search":
        _check_dates(conf, need)
        _check_search(conf, need)
        _check_bands(conf, need)
    return problems


def _check_clouds(conf: Conf, need: Any) -> None:
    named = conf.preprocess.cloud_classes.model_dump().values()
    classes = [number for numbers in named for number in numbers]
    need(
        len(set(classes)) == len(classes),
        ("preprocess", "cloud_classes"),
        "preprocess.cloud_classes: a class has two meanings",
    )


def _check_bands(conf: Conf, need: Any) -> None:
    """What the stages after preprocess_s2 read must be written by it."""
    bands = conf.preprocess.s2_bands
    need(len(set(bands)) == len(bands), ("preprocess", "s2_bands"), "preprocess.s2_bands: a band is listed twice")
    absent = [band for band in conf.dataset.optical if bands and band not in bands]
    need(
        not absent,
        ("preprocess", "s2_bands"),
        f"preprocess.s2_bands lacks {', '.join(absent)}, which section dataset uses",
    )


def _check_search(conf: Conf, need: Any) -> None:
    """What each provider cannot do without."""
    search = conf.search
    for name, address in search.endpoints.model_dump().items():
        ok = address is None or address.startswith(("https://", "http://"))
        need(
            ok,
            ("search", "endpoints", name),
            f"search.endpoints.{name}: {address!r} does not start with https:// or http://",
        )
    if search.provider == "gee":
        need(
            search.download_from in ("sara", "cdse"),
            ("search", "download_from"),
            "provider gee serves no products: set search.download_from to sara or cdse",
        )
        need(bool(search.gee_project), ("search", "gee_project"), "provider gee needs search.gee_project")


def _check_dates(conf: Conf, need: Any) -> None:
    t0, t1 = conf.dates.t0, conf.dates.t1
    for name, window in (("t0", t0), ("t1", t1)):
        loc = ("dates", name, "end")
        if window.start is None or window.end is None:
            need(False, loc, f"dates.{name} needs start and end (source: search)")
            return
        need(window.start < window.end, loc, f"dates.{name}.end {window.end} is not after its start {window.start}")
    assert t0.end is not None and t1.start is not None
    need(t0.end <= t1.start, ("dates", "t1", "start"), f"dates.t1 starts {t1.start}, before dates.t0 ends {t0.end}")


def layout_of(conf: Conf) -> Layout:
    """The work directory's layout; a relative work path starts at the repository."""
    work = Path(conf.work).expanduser()
    return Layout(work if work.is_absolute() else ROOT / work)


def scene_dir(conf: Conf) -> Path:
    """Folder of the generated scene; a relative path starts at the work directory."""
    folder = Path(conf.scene.dir).expanduser()
    return folder if folder.is_absolute() else layout_of(conf).work / folder


def resolve(conf: Conf, text: str) -> Path:
    """An input path of the configuration: absolute, starting with {scene}, or relative to the repository."""
    if text.startswith("{scene}"):
        return scene_dir(conf) / text.removeprefix("{scene}").lstrip("/")
    path = Path(text).expanduser()
    return path if path.is_absolute() else ROOT / path


def value_at(conf: BaseModel, dotted: str) -> Any:
    """The value of a dotted key, as plain JSON data."""
    value: Any = conf
    for part in dotted.split("."):
        value = getattr(value, part)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value if isinstance(value, str | int | float | bool | None) else str(value)

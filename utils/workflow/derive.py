"""Configurations made from configurations: complete, so that they stand alone in any folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from utils.workflow import config
from utils.workflow.schema import Conf


class _Quoted(yaml.SafeDumper):
    """Text is always quoted: the rules for bare words differ from those of YAML 1.1."""


_Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def to_yaml(conf: Conf) -> str:
    """All keys of a configuration as YAML; config.load of it gives an equal configuration."""
    return str(yaml.dump(_plain(conf.model_dump()), Dumper=_Quoted, sort_keys=False, allow_unicode=True, width=120))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def with_scene_files(conf: Conf) -> Conf:
    """The same configuration reading the generated scene as ordinary files, so that it can have another work folder."""

    def fixed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fixed(item) for key, item in value.items()}
        if isinstance(value, str) and value.startswith("{scene}"):
            path = config.resolve(conf, value)
            return str(path.relative_to(config.ROOT) if path.is_relative_to(config.ROOT) else path)
        return value

    data = fixed(conf.model_dump())
    data["scene"]["enabled"] = False
    return Conf.model_validate(data)


def changed(conf: Conf, changes: dict[str, Any]) -> Conf:
    """A checked copy with other values; changes maps dotted keys to values."""
    data = conf.model_dump()
    for dotted, value in changes.items():
        *sections, last = dotted.split(".")
        inner = data
        for name in sections:
            inner = inner[name]
        inner[last] = value
    return Conf.model_validate(data)


def below(conf: Conf, *names: str) -> str:
    """`work` of a configuration that lives below the work directory of another."""
    return str(Path(conf.work).joinpath(*names))

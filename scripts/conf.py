"""Check, show and explain configurations.

Example  ./s2cr conf check confs/demo.yaml
Example  ./s2cr conf explain split.buffer_m
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path

import click

from scripts._options import CONF
from scripts._stage import guarded


@click.group("conf", help=__doc__.split("\n\nExample")[0], epilog="\b\nExample:\n  ./s2cr conf explain split.buffer_m")
def run() -> None:
    pass


@run.command("check", epilog="\b\nExample:\n  ./s2cr conf check confs/demo.yaml")
@CONF
def check(conf: Path) -> None:
    """Read a configuration and report every error as file:line."""
    from utils.workflow import config

    with guarded("conf"):
        config.load(conf)
        click.echo(f"{conf}: correct")


@run.command("show", epilog="\b\nExample:\n  ./s2cr conf show confs/demo.yaml")
@CONF
def show(conf: Path) -> None:
    """Print a configuration with all defaults filled in."""
    import yaml

    from utils.workflow import config

    with guarded("conf"):
        click.echo(yaml.safe_dump(config.load(conf).model_dump(mode="json"), sort_keys=False))


@run.command("explain", epilog="\b\nExample:\n  ./s2cr conf explain split.buffer_m")
@click.argument("key")
def explain(key: str) -> None:
    """Say what a key (or the keys of a section) mean, with default and unit."""
    from utils.workflow import pages
    from utils.workflow.errors import UsageError
    from utils.workflow.schema import Conf

    with guarded("conf"):
        found = [(name, field) for name, field, _ in pages.fields(Conf) if name == key or name.startswith(f"{key}.")]
        if not found:
            raise UsageError(f"There is no key {key}.", "docs/config.md lists all keys.")
        for name, field in found:
            unit = pages.unit_of(field)
            click.echo(f"{name}: {field.description}{f' [{unit}]' if unit else ''} Default: {field.default!r}")

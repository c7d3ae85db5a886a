"""List the models of the registry with parameters and cost.

Reads   nothing; --bands sets the number of optical bands
Writes  a table to stdout: name, parameters, multiply-accumulates of a 256 x 256 tile, scaler mode, what it is
Example  ./s2cr models
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401

import click

from scripts._stage import guarded

_DEFAULTS = {"dsen2cr": {"nb_resnet_blocs": 16}}


@click.command(
    "models", help="List the models of the registry with parameters and cost.", epilog="\b\nExample:\n  ./s2cr models"
)
@click.option("--bands", type=click.IntRange(1, 13), default=4, show_default=True, help="Optical bands.")
def run(bands: int) -> None:
    with guarded("models"):
        from models import backend

        backend.start()
        from models import registry
        from models.config import ModelConf

        click.echo(f"{'model':14} {'parameters':>12} {'GMAC a tile':>12}  {'scaler':9} what it is")
        for name, spec in registry.REGISTRY.items():
            conf = ModelConf(model=name, **_DEFAULTS.get(name, {}))  # type: ignore[arg-type]
            if spec.trees:
                click.echo(f"{name:14} {'trees':>12} {'-':>12}  {'-':9} {spec.summary}")
                continue
            network = registry.build(conf, bands)
            cost = registry.macs_per_pixel(network) * 256**2 / 1e9
            click.echo(f"{name:14} {network.count_params():12,d} {cost:12.1f}  {spec.scaler:9} {spec.summary}")

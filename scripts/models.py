"""List the models of the registry with parameters and cost, and the rivals that are no networks.

Reads   nothing; --bands sets the number of optical bands
Writes  a table to stdout: name, parameters of the network that predicts and of all that train with it, multiply-
        accumulates and floating point operations of all convolutions for a 256 x 256 tile, scaler mode, what it is
Example  ./s2cr models
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401

import click

from scripts._stage import guarded

TILE_PX = 256
_DEFAULTS = {"dsen2cr": {"nb_resnet_blocs": 16}}
RULES = ("vh_logratio", "all_burned", "none_burned")  # burned-area rules: no image
RIVALS = {
    "copy_t0": "S2(t0) as it is: the zero of the change skill",
    "linear_gain": "gain and offset of S2(t0) for each band",
    "ridge_ctx": "ridge regression of the change on S1, S2(t0) and their neighbourhood",
    "histgbm_ctx": "boosted trees of the change on the same",
    "no_s1": "the same trees without S1",
    "s1_frozen": "the trees shown S1(t1) := S1(t0): what is left does not come from the radar",
    "season_only": "boosted trees on S2(t0) and the calendar, without S1",
    "histgbm_res": "boosted trees on guided-filtered S1, S2(t0) and the calendar",
    "vh_logratio": "burned where the mean VH change is below a threshold of the train set",
    "all_burned": "every pixel burned: what F1 is worth",
    "none_burned": "no pixel burned: what overall agreement is worth",
}


@click.command(
    "models",
    help="List the models of the registry with parameters and cost, and the rivals that are no networks.",
    epilog="\b\nExample:\n  ./s2cr models",
)
@click.option("--bands", type=click.IntRange(1, 13), default=4, show_default=True, help="Optical bands.")
def run(bands: int) -> None:
    with guarded("models"):
        from models import backend

        backend.start()
        from models import registry
        from models.config import ModelConf
        from utils.science import baselines

        columns = f"{'parameters':>11} {'in training':>12} {'GMAC a tile':>12} {'GFLOP':>8}"
        click.echo(f"{'network':14} {columns}  {'scaler':9} what it is")
        for name, spec in registry.REGISTRY.items():
            conf = ModelConf(model=name, **_DEFAULTS.get(name, {}))  # type: ignore[arg-type]
            if spec.trees:
                click.echo(f"{name:14} {'trees':>11} {'-':>12} {'-':>12} {'-':>8}  {'-':9} {spec.summary}")
                continue
            network = registry.build(conf, bands)
            own = network.count_params()
            training = own + sum(helper.count_params() for helper in registry.helpers(conf, bands, TILE_PX))
            gmac = registry.macs_per_pixel(network) * TILE_PX**2 / 1e9
            counts = f"{own:11,d} {training:12,d} {gmac:12.1f} {2 * gmac:8.1f}"
            click.echo(f"{name:14} {counts}  {spec.scaler:9} {spec.summary}")
        click.echo(f"\n{'rival':14} what it is; fitted by ./s2cr evaluate on the train set")
        for name in (*baselines.NAMES, *RULES):
            click.echo(f"{name:14} {RIVALS.get(name, '')}".rstrip())


if __name__ == "__main__":
    run()

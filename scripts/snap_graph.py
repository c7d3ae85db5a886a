"""Print a variant of the shipped Sentinel-1 graph: every choice is made in the graph, none by an option of gpt.

The usual variants are in snap-confs/ already; gpt.sh takes either.

Example  ./s2cr snap_graph --orbit annotation --heights ellipsoid > my_graph.xml
Example  ./s2cr snap_graph --spacing 20 --no-noise > coarse.xml
"""

if not __package__:
    import _direct  # noqa: F401
from typing import Any

import click

from scripts._stage import guarded

_TEXT, _, _EXAMPLE = (__doc__ or "").partition("\n\nExample")


@click.command("snap_graph", help=_TEXT, epilog="\b\nExample:" + ("\nExample" + _EXAMPLE).replace("\nExample", "\n"))
@click.option("--orbit", type=click.Choice(["poeorb", "resorb", "annotation"]), default="poeorb", show_default=True,
              help="Precise or restituted orbit file, or no orbit node at all.")  # fmt: skip
@click.option("--heights", type=click.Choice(["geoid", "ellipsoid"]), default="geoid", show_default=True,
              help="What the heights of the DEM refer to; above a geoid SNAP adds EGM96.")  # fmt: skip
@click.option("--spacing", type=click.Choice(["10", "20"]), default="10", show_default=True, help="Pixel size, m.")
@click.option("--noise/--no-noise", default=True, help="Thermal noise removal.")
@click.option("--border-noise/--no-border-noise", default=True, help="Border noise removal.")
@click.option("--nearest", is_flag=True, help="Nearest neighbour instead of bilinear.")
@click.option("--incidence", is_flag=True, help="Also the local incidence angle.")
@click.option("--per-polarisation", is_flag=True, help="One polarisation a run: variable pol.")
@click.option("--window", type=int, default=7, show_default=True, help="Window of the speckle filter, pixels.")
@click.option("--sigma", type=float, default=0.9, show_default=True, help="Sigma of the Lee sigma filter.")
def run(orbit: Any, heights: str, spacing: str, **choices: Any) -> None:
    from utils.io import snap_graph
    from utils.workflow import config
    from utils.workflow.errors import ConfigError

    with guarded("snap_graph"):
        choice = snap_graph.S1Choice(
            orbit=orbit, spacing_m=20 if spacing == "20" else 10, ellipsoid=heights == "ellipsoid", **choices
        )
        base = (config.ROOT / "snap-confs/s1_grd.xml").read_text(encoding="utf-8")
        try:
            click.echo(snap_graph.s1_graph(base, choice), nl=False)
        except ValueError as error:
            raise ConfigError(f"{error}.", "Choose one of those.") from error


if __name__ == "__main__":
    run()

"""Check a gpt graph, the variables it gets and the product it reads, without SNAP.

GRAPH is an XML file; each VAR is NAME or NAME=VALUE as it would follow -P. One line a finding; exit 65 when an error is
among them. With --input also the product: complete, of the right kind, sizes as its manifest says (exit 66).

Example  ./s2cr snap_check snap-confs/s2_l2a.xml --version 12 input output aoi_wkt bands=B2,B3,B4,B8
Example  ./s2cr snap_check my_graph.xml --version 13 --input S1A_IW_GRDH_....zip --pol VV input output
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path

import click

from scripts._stage import guarded

_TEXT, _, _EXAMPLE = (__doc__ or "").partition("\n\nExample")


@click.command("snap_check", help=_TEXT, epilog="\b\nExample:" + ("\nExample" + _EXAMPLE).replace("\nExample", "\n"))
@click.argument("graph", type=click.Path(path_type=Path))
@click.argument("variables", nargs=-1, metavar="[VAR]...")
@click.option("--version", type=int, required=True, help="Major version of SNAP, 10 to 15.")
@click.option("--input", "product", type=click.Path(path_type=Path), help="Product to check: zip or .SAFE folder.")
@click.option("--pol", "pols", multiple=True, type=click.Choice(["VV", "VH"]), help="Polarisation it must hold.")
@click.option("--band", "bands", multiple=True, help="Sentinel-2 band it must hold, such as B02.")
@click.option("--verify", type=click.Choice(["size", "md5", "off"]), default="size", show_default=True,
              help="How files inside the product are checked.")  # fmt: skip
def run(
    graph: Path, variables: tuple[str, ...], version: int, product: Path | None, pols: tuple[str, ...],
    bands: tuple[str, ...], verify: str,
) -> None:  # fmt: skip
    from scripts import _snap_input
    from utils.io import snap
    from utils.workflow.errors import ConfigError, InputError

    with guarded("snap_check"):
        try:
            text = graph.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{graph}: not a text file ({error}).", "Give a graph: an XML file.") from error
        given = {name: (value if sign else None) for name, sign, value in (v.partition("=") for v in variables)}
        found = snap.check_graph(text, version, given)
        for finding in found:
            click.echo(f"{graph}: {finding}")
        errors = [finding for finding in found if finding.level == "error"]
        if errors:
            raise ConfigError(
                f"{graph}: {len(errors)} errors; the first: {errors[0]}.",
                "Correct the graph, or the variables that are given to it.",
            )
        if product is not None:
            _snap_input.check(product, pols, bands, verify)


if __name__ == "__main__":
    run()

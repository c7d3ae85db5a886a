"""Prove that gpt did what it was asked: exit status 0 alone proves nothing.

Parses the .dim, compares the size of every image with its header, looks for the wanted bands, and, for Sentinel-1, reads
which orbit file was applied: its name must be of the allowed kind, of the mission, and cover the scene. Exit 70.

Example  ./s2cr snap_verify out/X.dim --band Gamma0_VV --band Gamma0_VH --orbit poeorb --input X.zip
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path

import click

from scripts._stage import guarded

_TEXT, _, _EXAMPLE = (__doc__ or "").partition("\n\nExample")


@click.command("snap_verify", help=_TEXT, epilog="\b\nExample:" + ("\nExample" + _EXAMPLE).replace("\nExample", "\n"))
@click.argument("dim", type=click.Path(path_type=Path))
@click.option("--band", "bands", multiple=True, help="Band that must be there.")
@click.option("--orbit", type=click.Choice(["poeorb", "resorb", "annotation", "any"]), default="any", show_default=True,
              help="The orbit that must have been applied; any = do not look.")  # fmt: skip
@click.option("--input", "product", type=click.Path(path_type=Path), help="The product, for mission and times.")
def run(dim: Path, bands: tuple[str, ...], orbit: str, product: Path | None) -> None:
    from utils.io import dimap
    from utils.io.safe import open_product
    from utils.workflow.errors import ExternalError, InputError, UsageError

    with guarded("snap_verify"):
        try:
            opened = dimap.open_dimap(dim)
            dimap.check_bands(opened, bands or list(opened.bands))
        except InputError as error:
            raise ExternalError(f"gpt ended with 0, but {error.message}", "See its log; run it again.") from error
        if orbit == "any":
            return
        if product is None:
            raise UsageError("--orbit needs --input.", "Name the product that gpt read.")
        with open_product(product.parent if product.name == "manifest.safe" else product) as opened_product:
            manifest = opened_product.manifest()
        import numpy as np

        times = [np.datetime64(text.removesuffix("Z"), "ns") for text in (manifest.start, manifest.stop)]
        allowed = {"poeorb": ("POEORB",), "resorb": ("POEORB", "RESORB"), "annotation": ()}[orbit]
        fault = dimap.orbit_fault(dimap.orbit_used(opened), allowed, manifest.platform, times[0], times[1])
        if fault:
            raise ExternalError(
                f"gpt ended with 0, but the wanted orbit was not applied: {fault}.",
                "Fetch the orbit (./s2cr fetch_orbits CONF), or set preprocess.orbit: annotation.",
            )


if __name__ == "__main__":
    run()

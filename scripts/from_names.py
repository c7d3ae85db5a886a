"""Search and download for fixed Sentinel-2 products: two dates (t0 t1) or three (t0 t1 t2), in order of time.

Reads   CONF for everything but the dates; names of level L2A products, several tiles of one datatake are one date
Writes  <work>/from_names/<day>_<day>/conf.yaml and, beside it, what find_images and download write
        three dates make two pairs, (t0, t1) and (t1, t2), each with its own folder
Fails   2 malformed name or wrong order; else the code of the stage that failed, 71 when the other pair is done
Example  ./s2cr from_names CONF S2B_MSIL2A_..._t0 S2B_MSIL2A_..._t1
"""

if not __package__:
    import _direct  # noqa: F401
import datetime as dt
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts._options import CONF
from scripts._stage import guarded

if TYPE_CHECKING:
    from utils.science.fixed_names import FixedDate
    from utils.workflow.schema import Conf

_HELP = (__doc__ or "").split("\nExample")[0].replace("\n\n", "\n\n\b\n", 1)
_EXAMPLE = '\b\nExample:\n  ./s2cr from_names CONF S2B_MSIL2A_..._t0 S2B_MSIL2A_..._t1\n  make download_images_from_s2name NAMES="t0 t1 t2" CONF=...'


@click.command("from_names", help=_HELP, epilog=_EXAMPLE)
@CONF
@click.argument("names", nargs=-1, required=True, metavar="NAME NAME [NAME]")
@click.option("--dry-run", is_flag=True, help="Write the configurations; run no stage.")
def run(conf: Path, names: tuple[str, ...], dry_run: bool) -> None:
    from utils.science import fixed_names
    from utils.workflow import config
    from utils.workflow.errors import ConfigError, PartialError, UsageError

    with guarded("from_names") as log:
        base = config.load(conf)
        if base.source != "search":
            raise ConfigError(f"{conf}: source is {base.source}.", "Names are searched: set source: search.")
        try:
            pairs = fixed_names.pairs_of(fixed_names.dates_of(names))
        except ValueError as error:
            raise UsageError(
                f"{error}.", 'Correct it: NAMES="t0 t1" or NAMES="t0 t1 t2", separated by blanks.'
            ) from error
        paths = [_derive(base, before, after) for before, after in pairs]
        codes = [0 if dry_run else _stages(path) for path in paths]
        for number, (path, code) in enumerate(zip(paths, codes, strict=True), start=1):
            log.info(
                "pair %d of %d: %s, %s", number, len(paths), path.parent.name, f"failed with {code}" if code else "done"
            )
            click.echo(path)
        if any(codes) and not all(codes):
            failed = [path for path, code in zip(paths, codes, strict=True) if code]
            raise PartialError(f"{len(failed)} of {len(paths)} pairs failed.", f"Run: ./s2cr find_images {failed[0]}")
    if any(codes):
        raise SystemExit(codes[0])


def _derive(base: "Conf", before: "FixedDate", after: "FixedDate") -> Path:
    """Write the configuration of one pair and return its path."""
    from utils.workflow import config, derive
    from utils.workflow.files import atomic_text

    day = dt.timedelta(days=1)
    name = f"{before.day:%Y%m%d}_{after.day:%Y%m%d}"
    conf = derive.changed(
        derive.with_scene_files(base),
        {
            "work": derive.below(base, "from_names", name),
            "dates.t0": {"start": before.day, "end": before.day + day},
            "dates.t1": {"start": after.day, "end": after.day + day},
            "search.s2_t0": before.names,
            "search.s2_t1": after.names,
        },
    )
    path = config.layout_of(conf).work / "conf.yaml"
    atomic_text(path, derive.to_yaml(conf))
    return path


def _stages(path: Path) -> int:
    """Run find_images, then download; the first exit code that is not 0."""
    from utils.workflow.config import ROOT

    for stage in ("find_images", "download"):
        code = subprocess.run([ROOT / "s2cr", stage, path], check=False, stdout=subprocess.DEVNULL).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    run()

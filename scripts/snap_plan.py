"""List the gpt runs that a configuration still needs; preprocess_s1.sh and preprocess_s2.sh read this list.

One record a product, ended by a NUL byte, one fact a line: id, input, graph, out, env:NAME=VALUE, option:WORD,
var:NAME=VALUE; or skip=WHY, fail=WHY and code=EXIT. Products that are done under the current settings are left out.

Example  ./s2cr snap_plan confs/nsw_south_coast.yaml --sensor s1 | tr '\\0' '\\n'
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts._options import CONF, PartType
from scripts._stage import Context, guarded

if TYPE_CHECKING:
    from utils.science.grid import Grid

_TEXT, _, _EXAMPLE = (__doc__ or "").partition("\n\nExample")


@click.command("snap_plan", help=_TEXT, epilog="\b\nExample:" + ("\nExample" + _EXAMPLE).replace("\nExample", "\n"))
@CONF
@click.option("--sensor", type=click.Choice(["s1", "s2"]), required=True, help="Which products.")
@click.option("--part", type=PartType(), metavar="i/N", help="Every N-th product, starting with the i-th.")
@click.option("--check", is_flag=True, help="End as the stage would on a login node or with stale products.")
def run(conf: Path, sensor: str, part: tuple[int, int] | None, check: bool) -> None:
    from scripts import _snap, _snap_s2, _stage
    from scripts._context import Options
    from scripts._snap_run import check_engine
    from utils.io.download_lock import products_of
    from utils.io.safe_l1c import without_auxiliary
    from utils.workflow import config

    with guarded("snap_plan") as log:
        settings = config.load(conf)
        ctx = Context(f"preprocess_{sensor}", settings, conf, Options(part=part), log)
        if check:
            _stage.refuse(ctx.stage, settings, conf)
        check_engine(ctx)
        paths = products_of(ctx.layout.raw, sensor.upper())
        paths = without_auxiliary(paths) if sensor == "s2" else paths
        index, count = part or (1, 1)
        done = _done(ctx)
        names = [name for name in list(paths)[index - 1 :: count] if name not in done]
        grid = (_snap if sensor == "s1" else _snap_s2).target_grid(ctx)
        for name in names:
            click.echo("\n".join([f"id={name}", *_record(ctx, sensor, name, paths[name], grid)]) + "\0", nl=False)


def _done(ctx: Context) -> set[str]:
    """Products whose files are in place under the current key, in any ledger of the stage."""
    from utils.workflow import freshness, ledger

    stage = ctx.stage.name
    ledgers = [ctx.layout.ledger(stage), *sorted(ctx.layout.items.glob(f"{stage}.part-*.jsonl"))]
    return {
        name
        for path in ledgers
        for name, entry in ledger.read(path).items()
        if entry.key == ctx.key
        and entry.status in ("done", "skipped")
        and freshness.outputs_intact(ctx.layout, dict(entry.outputs)) is None
    }


def _record(ctx: Context, sensor: str, name: str, path: Path, grid: "Grid") -> list[str]:
    """Lines of one product; a broken product becomes a line, so that the others still run."""
    from scripts import _snap, _snap_s2
    from utils.io import safe_s2
    from utils.io.safe import open_product
    from utils.workflow.errors import InputError

    try:
        with open_product(path) as product:
            if sensor == "s1":
                share = _snap.coverage(product, grid)
                planned: Any = _snap.plan_s1
            else:
                meta = safe_s2.metadata(product)
                safe_s2.check_grid(meta, grid)
                share, planned = safe_s2.grid_overlap(meta, grid), _snap_s2.plan_s2
            if share == 0 or share < ctx.conf.preprocess.min_overlap:
                return [f"skip=outside: it covers {100 * share:.1f} % of the area"]
            one = planned(ctx, name, path, product, grid)
    except InputError as error:
        return [f"fail={' '.join(str(error).split())}", f"code={error.exit_code}"]
    words = one.arguments()
    options = words[: words.index(str(one.graph))]
    return [
        f"input={path.resolve()}", f"graph={one.graph}", f"out={one.out}",
        *(f"env:{key}={value}" for key, value in one.env(ctx).items()), *(f"option:{word}" for word in options),
        *(f"var:{key}={value}" for key, value in one.variables.items()),
    ]  # fmt: skip


if __name__ == "__main__":
    run()

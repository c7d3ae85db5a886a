"""Say which stages are fresh, which are stale, and why; runs nothing.

Exit 0; with --check exit 10 when something would run.

Example  ./s2cr plan confs/demo.yaml
Example  ./s2cr plan confs/demo.yaml --until train
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path

import click

from scripts._options import CONF
from scripts._stage import guarded


@click.command(
    "plan", help=__doc__.split("\n\nExample")[0], epilog="\b\nExample:\n  ./s2cr plan confs/demo.yaml --until train"
)
@CONF
@click.option("--until", default="report", show_default=True, metavar="STAGE", help="Last stage of the chain.")
@click.option("--check", is_flag=True, help="Print nothing when all is fresh; exit 10 when something would run.")
def run(conf: Path, until: str, check: bool) -> None:
    from utils.workflow import config, freshness
    from utils.workflow.stages import STAGES

    with guarded("plan"):
        if until not in STAGES:
            raise click.UsageError(f"no stage {until!r}; stages are {', '.join(STAGES)}")
        configuration = config.load(conf)
        states = freshness.plan(configuration, config.layout_of(configuration), until)
        stale = [state for state in states if not state.fresh]
        if not check or stale:
            for state in states:
                click.echo(f"{'fresh' if state.fresh else 'run  '}  {state.stage:<14} {state.reason}", err=check)
        if check and stale:
            raise SystemExit(10)

"""Print the scores of a finished run beside copy-t0, and where its report lies.

Example  ./s2cr scores confs/demo.yaml
Example  ./s2cr scores confs/demo.yaml --strata
"""

if not __package__:
    import _direct  # noqa: F401
import json
from pathlib import Path

import click

from scripts._options import CONF
from scripts._stage import guarded


@click.command(
    "scores", help=__doc__.split("\n\nExample")[0], epilog="\b\nExample:\n  ./s2cr scores confs/demo.yaml --strata"
)
@CONF
@click.option("--strata", is_flag=True, help="Also the table of all strata, and sigma judged.")
def run(conf: Path, strata: bool) -> None:
    from utils.science import score_table, strata_table
    from utils.workflow import config
    from utils.workflow.errors import InputError

    with guarded("scores"):
        layout = config.layout_of(config.load(conf))
        path = layout.reports / "evaluate.json"
        if not path.is_file():
            raise InputError(f"{path}: there are no scores yet.", f"Run: make report CONF={conf}")
        table = json.loads(path.read_text(encoding="utf-8"))
        for line in [*score_table.lines(table), *(strata_table.lines(table) if strata else [])]:
            click.echo(line)
        page = layout.reports / "report.html"
        click.echo(f"report: {page}" if page.is_file() else f"no report yet; run: make report CONF={conf}")

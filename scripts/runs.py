"""List and compare the runs of a work folder: model, parameters, steps, validation and test figures with 95 % intervals.

Reads   runs/*/model_card.json (or the newest checkpoint of an unfinished run), reports/evaluate.json
Writes  a table to stdout, best change skill first (of the test set where it was judged, else of validation); below the
        runs the rivals of the test set, copy_t0 first. --json prints the same as data, --card one run's card in full.
Example  ./s2cr runs confs/demo.yaml
Example  ./s2cr runs confs/demo.yaml --json
Example  ./s2cr runs confs/demo.yaml --card resunet > resunet.md
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401

import json
from pathlib import Path

import click

from scripts._options import CONF
from scripts._stage import guarded

_TEXT, _, _EXAMPLES = (__doc__ or "").partition("Example")
_FIRST, _, _REST = _TEXT.partition("\n\n")
_EPILOG = "\b\nExamples:\n" + "\n".join(
    f"  {x.removeprefix('Example').strip()}" for x in _EXAMPLES.strip().splitlines()
)


@click.command("runs", help=f"{_FIRST}\n\n\b\n{_REST.strip()}", epilog=_EPILOG)
@CONF
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one record a run.")
@click.option("--card", metavar="RUN", help="Print the model card of this run, with its test scores, as Markdown.")
def run(conf: Path, as_json: bool, card: str | None) -> None:
    from utils.workflow import config, freshness
    from utils.workflow.errors import InputError

    with guarded("runs"):
        from models import card as cards
        from models import listing
        from models.run import RunFolder, load_card

        loaded = config.load(conf)
        layout = config.layout_of(loaded)
        test = listing.load_test(layout.reports)
        if card is not None:
            click.echo(cards.text(load_card(RunFolder(layout.run(card))), test), nl=False)
            return
        stale = test is not None and not freshness.state(loaded, layout, "evaluate").fresh
        rows = listing.collect(layout.runs, layout.reports, stale)
        if as_json:
            click.echo(json.dumps(rows, indent=1, sort_keys=True))
            return
        if not rows:
            raise InputError(f"{layout.runs}: there are no runs yet.", f"Run: make train CONF={conf}")
        for line in listing.lines(rows, test):
            click.echo(line)

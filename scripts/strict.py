"""Judge the models on unseen ground AND unseen season of small places with many dates, both ways.

Reads   import_data.root of each CONF, layouts belgium and finland
Writes  <work>/strict/<place>/<fold>-s<seed>.json  sums of one fold, written at once: a stopped run goes on
        <work>/strict/<place>/<fold>-<network>-s<seed>.json  the same of a network
        <work>/reports/strict.json, strict.png     figures with intervals over t1 dates and blocks, goals beside them
        --page: a page with the table of all CONF between two marks, and its plot beside it
Networks of strict.networks (or --networks) are trained on every fold as well; a GPU is used where there is one. One trained
elsewhere enters with --predictions NAME=DIR: DIR/<fold>/<t0>_<t1>.npy, (rows, columns, bands) reflectance float32 of every
test pair, and DIR/about.txt, whose first line the page shows. --folds lists the folds with their pairs.
Fails   65 no many dates, 66 data or predictions missing, a fold that leaks
Example  ./s2cr strict confs/strict_belgium.yaml confs/strict_finland.yaml --places --page docs/results.md
Example  ./s2cr strict confs/strict_finland.yaml --networks published_gan,dsen2cr,resunet --steps 2000
Example  ./s2cr strict confs/strict_belgium.yaml --seeds 1,2,3 --predictions resunet=work/pred_resunet
"""

if not __package__:
    import _direct  # noqa: F401
import json
from pathlib import Path
from typing import Any

import click

from scripts._options import PartType
from scripts._stage import guarded

_TEXT, *_EXAMPLES = __doc__.split("\nExample")
_HEAD, _, _REST = _TEXT.partition("\n\n")


@click.command(
    "strict",
    help=f"{_HEAD}\n\n\b\n{_REST.strip()}",
    epilog="\b\nExample:\n" + "\n".join(f"  {line.strip()}" for line in _EXAMPLES),
)
@click.argument("confs", nargs=-1, required=True, metavar="CONF...", type=click.Path(path_type=Path))
@click.option("--seeds", metavar="A,B", help="Instead of strict.seeds.")
@click.option("--networks", metavar="A,B", help="Instead of strict.networks; none = no network.")
@click.option("--steps", type=click.IntRange(min=1), help="Instead of strict.network_steps.")
@click.option("--folds", is_flag=True, help="List the folds as JSON and stop.")
@click.option("--reduced", is_flag=True, help="A quick look: a tenth of the pixels, clear dates, left to right only.")
@click.option("--predictions", multiple=True, metavar="NAME=DIR", help="Also judge predictions from files.")
@click.option("--part", type=PartType(), metavar="i/N", help="Only a part of the folds, and no report.")
@click.option("--places", is_flag=True, help="Also leave whole places out.")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Page to write the table into.")
def run(
    confs: tuple[Path, ...],
    seeds: str | None,
    networks: str | None,
    steps: int | None,
    folds: bool,
    reduced: bool,
    predictions: tuple[str, ...],
    part: tuple[int, int] | None,
    places: bool,
    page: Path | None,
) -> None:
    with guarded("strict") as log:
        from scripts import _strict_report
        from utils.workflow.errors import UsageError

        if bad := [text for text in predictions if "=" not in text]:
            raise UsageError(f"--predictions {bad[0]}: not NAME=DIR.", "Write --predictions resunet=work/pred_resunet.")
        given = {name: Path(folder) for name, _, folder in (text.partition("=") for text in predictions)}
        changes = _strict_report.overrides(seeds, reduced, networks, steps)
        runs = [_strict_report.PlaceRun(path, changes, reduced, log) for path in confs]
        _strict_report.check_given(given, runs)
        if folds:
            click.echo(json.dumps([fold for one in runs for fold in one.folds()], indent=1))
            return
        if part is not None:
            for one in runs:
                one.fit_part(part)
            return
        reports: list[dict[str, Any]] = []
        for one in runs:
            reports.append(one.report(given))
            for line in _strict_report.lines(reports[-1]):
                click.echo(line)
        cases = _strict_report.places(runs, log) if places else []
        for row in _strict_report.place_lines(cases):
            click.echo(row)
        if page is not None:
            given_words = {"--seeds": seeds, "--networks": networks, "--steps": steps}
            words = [*map(str, confs), *(f"{option} {value}" for option, value in given_words.items() if value)]
            words += ["--places"] if cases else []
            words += [f"--predictions {name}=DIR" for name in given]
            _strict_report.write_page(page, reports, words, cases)
            click.echo(page)

"""Judge the models on unseen ground AND unseen season of small places with many dates, both ways.

Reads   import_data.root, layouts belgium and finland
Writes  <work>/strict/<place>/<fold>-s<seed>.json  sums of one fold, written at once: a stopped run goes on
        <work>/reports/strict.json  figures with intervals over t1 dates and blocks, goals beside them
Example  ./s2cr strict confs/strict_belgium.yaml confs/strict_finland.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path

import click

from scripts._stage import guarded


@click.command("strict", help=__doc__)
@click.argument("confs", nargs=-1, required=True, type=click.Path(path_type=Path))
def run(confs: tuple[Path, ...]) -> None:
    from scripts import _strict
    from utils.workflow import config

    with guarded("strict") as log:
        for path in confs:
            conf = config.load(path)
            layout = config.layout_of(conf)
            place = _strict.chosen_place(conf, _strict.load_places(conf))
            judged = _strict.Strict(conf, place, layout.work / "strict" / place.name, log)
            for fold, seed, _ in judged.results(conf.strict.seeds):
                log.info("%s seed %d: done", fold.name, seed)

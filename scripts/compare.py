"""Put t0, radar change, simulated image, truth and error of each run side by side in one picture per pair.

Reads   preprocessed/, mosaic/<run>/<pair>/, the hidden t1 where evaluate.truth_dir is set
Writes  reports/compare/<pair>.png
Items   <pair>; the first report.max_pairs pairs with test samples

Example  ./s2cr compare confs/demo.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
from typing import Any

from scripts._stage import Context, Report, stage

CELL_PX = 640


@stage("compare")
def run(ctx: Context) -> Report:
    from scripts._layers import PairViews, sheet_path
    from utils.io import pictures

    pairs = [name for name, item in ctx.results("mosaic_truth").items() if item["status"] == "done"]
    for item in ctx.todo(pairs, unit="picture"):
        with item:
            views = PairViews(ctx, item.id, CELL_PX)
            mark = "  (synthetic)" if ctx.conf.report.synthetic else ""
            title = f"{ctx.conf.report.title}: {item.id}, {views.pair.t0} to {views.pair.t1}{mark}"
            pictures.contact_sheet(item.output(sheet_path(ctx, item.id)), _rows(ctx, views), title)
    return ctx.report(summary=f"{len(pairs)} pairs")


def _rows(ctx: Context, views: Any) -> list[list[tuple[str, Any]]]:
    """First row: inputs and truth; then a row a run: simulated, error, infrared where there is B12."""

    def cell(view: Any) -> tuple[str, Any]:
        return view.name, view.picture

    found = {view.key: view for view in views.inputs()}
    rows = [[cell(found[key]) for key in ("t0", "s1_change", "observed", "hidden") if key in found]]
    if "t0_ir" in found:
        rows.append([cell(found[key]) for key in ("t0_ir", "s1_t1", "observed_ir", "hidden_ir") if key in found])
    for run in ctx.conf.train.runs:
        made = {view.key: view for view in views.results(run.name)}
        keys = (f"sim:{run.name}", f"err:{run.name}", "err:copy_t0", f"sim:{run.name}_ir")
        if made:
            rows.append([cell(made[key]) for key in keys if key in made])
    return rows

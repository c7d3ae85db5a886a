"""Write one self-contained page: maps to swipe and zoom, scores with intervals beside the rivals, hectares, limits, provenance.

Reads   everything above, as far as it exists; the manifests of all stages, the model cards
Writes  reports/report.html   no external request; pictures embedded, at most report.max_mb
Items   page

Example  ./s2cr report confs/demo.yaml
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
from scripts._stage import Context, Report, stage


@stage("report")
def run(ctx: Context) -> Report:
    from scripts import _page
    from utils.io import html
    from utils.workflow.files import atomic_bytes

    path = ctx.layout.reports / "report.html"
    for item in ctx.todo(["page"], unit="page"):
        with item:
            mark = "synthetic data" if ctx.conf.report.synthetic else ""
            content = html.page(ctx.conf.report.title, _page.parts(ctx), mark)
            atomic_bytes(item.output(path), content)
            item.data["bytes"] = len(content)
    return ctx.report(summary=str(path))

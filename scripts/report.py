"""Write one self-contained page: maps to look at, scores beside the rivals, split, provenance, limits.

Reads   everything above; the manifests of all stages
Writes  reports/report.html   no external request; pictures embedded
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

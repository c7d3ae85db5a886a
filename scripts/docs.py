"""Write the generated pages: docs/stages.md, docs/config.md, confs/default.yaml; or check them.

Example  ./s2cr docs
Example  ./s2cr docs --check
"""

if not __package__:
    import _direct  # noqa: F401
import click

from scripts._stage import guarded


@click.command("docs", help=__doc__.split("\n\nExample")[0], epilog="\b\nExample:\n  ./s2cr docs --check")
@click.option("--check", is_flag=True, help="Write nothing; exit 66 when a page is not current.")
def run(check: bool) -> None:
    from utils.workflow import pages
    from utils.workflow.config import ROOT
    from utils.workflow.errors import InputError
    from utils.workflow.files import atomic_text

    with guarded("docs") as log:
        stale = []
        for name, text in pages.all_pages().items():
            path = ROOT / name
            if path.is_file() and path.read_text(encoding="utf-8") == text:
                continue
            stale.append(name)
            if not check:
                atomic_text(path, text)
                log.info("wrote %s", name)
        if check and stale:
            raise InputError(
                f"Generated pages are not current: {', '.join(stale)}.", "Run: make docs, and commit the result."
            )

"""Say what this machine has and lacks, with a remedy for each gap.

Exit 77 when something that the default chain needs is missing.

Example  ./s2cr doctor
Example  ./s2cr doctor --env
"""

if not __package__:
    import _direct  # noqa: F401
import click

from scripts._stage import guarded


@click.command("doctor", help=__doc__.split("\n\nExample")[0], epilog="\b\nExample:\n  ./s2cr doctor --env")
@click.option(
    "--env", "env_only", is_flag=True, help="Only the Python environment: imports, projections, a raster round trip."
)
def run(env_only: bool) -> None:
    from utils.io import health
    from utils.workflow.errors import BrokenEnvironmentError

    with guarded("doctor"):
        checks = health.environment_checks() + ([] if env_only else health.machine_checks())
        for check in checks:
            mark = "ok  " if check.ok else "note" if check.optional else "FAIL"
            click.echo(f"{mark}  {check.name:<24} {check.found}{'' if check.ok else '  -> ' + check.remedy}")
        broken = [check for check in checks if not (check.ok or check.optional)]
        if broken:
            raise BrokenEnvironmentError(f"Missing: {', '.join(check.name for check in broken)}.", broken[0].remedy)

"""The command ./s2cr: one verb per stage, loaded only when called."""

from __future__ import annotations

import importlib

import click

OTHERS = {
    "area": "the area, the chosen footprints and the search, to look at",
    "compare_engines": "native rasters against those of SNAP, in figures and a picture",
    "conf": "check, show and explain a configuration",
    "docs": "write or check the generated pages",
    "doctor": "what this machine lacks, with remedies",
    "fetch_dem": "height tiles of the area into raw/dem",
    "fetch_orbits": "precise orbits of the pairs into raw/orbits",
    "fires": "burned-area maps of real fires against perimeters and dNBR",
    "from_names": "search and download for fixed Sentinel-2 products",
    "models": "list the models with parameters and cost",
    "plan": "stages fresh or stale, and why",
    "runs": "list and compare the runs of a work folder",
    "s2_minmax": "yearly range of Sentinel-2 bands and indices",
    "scores": "scores of a finished run, and its report",
    "strict": "judge models on unseen ground and season of small places",
    "snap_check": "check a gpt graph and its variables, without SNAP",
    "snap_graph": "print a variant of the Sentinel-1 graph of SNAP",
    "snap_plan": "the gpt runs that a configuration asks for",
    "snap_region": "areas grown for SNAP's Subset",
    "snap_verify": "prove what gpt did from the product that it wrote",
    "submit": "stages to batch jobs",
    "tile_check": "first tiles to a scratch folder",
}
ALIASES = {"import": "import_data"}


class Lazy(click.Group):
    """Commands are modules of this package; only the called one is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from utils.workflow.stages import STAGES

        return [*STAGES, *OTHERS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"scripts.{name}").run
        if not isinstance(command, click.Command):
            raise TypeError(f"scripts.{name}.run is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], [*self.list_commands(ctx), *ALIASES], n=1)
            if not near or args[0].startswith("-"):
                raise
            raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from utils.workflow.stages import STAGES

        with formatter.section("Stages, in order"):
            formatter.write_dl([(name, facts.summary) for name, facts in STAGES.items()])
        with formatter.section("Tools"):
            formatter.write_dl(list(OTHERS.items()))


@click.command(
    cls=Lazy,
    epilog="\b\nExamples:\n  ./s2cr plan confs/demo.yaml\n  ./s2cr tile confs/demo.yaml --dry-run\n  ./s2cr train --help",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option("0.1.0", prog_name="s2cr")
def main() -> None:
    """Simulate the cloud-free Sentinel-2 image of a date from Sentinel-1 and an earlier clear Sentinel-2.

    Every stage reads and writes files below the work directory of a configuration: ./s2cr STAGE CONF. It resumes
    after an interruption and does nothing when it is up to date. `make help` lists the targets that chain stages.
    """


if __name__ == "__main__":
    main(prog_name="s2cr")

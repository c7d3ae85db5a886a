"""Options that every stage shares."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class PartType(click.ParamType[tuple[int, int]]):
    """`i/N`, i from 1."""

    name = "i/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        match = re.fullmatch(r"(\d+)/(\d+)", str(value))
        if match is None or not 1 <= int(match.group(1)) <= int(match.group(2)):
            self.fail(f"{value!r} is not i/N with 1 <= i <= N, for example 2/8", param, ctx)
        return int(match.group(1)), int(match.group(2))


CONF = click.argument("conf", type=click.Path(path_type=Path))

_SHARED = (
    click.option("-v", "--verbose", count=True, help="More log."),
    click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors."),
    click.option("--force", is_flag=True, help="Run although up to date; existing outputs are replaced."),
    click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing."),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Do at most N items, then stop (find_images: keep N ranked pairs).",
    ),
    click.option(
        "--part", type=PartType(), metavar="i/N", help="Do every N-th item, starting with the i-th (array jobs)."
    ),
    click.option("--finalise", is_flag=True, help="Merge the parts and complete the stage."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first failed item."),
)


adopt = click.option(
    "--adopt", multiple=True, metavar="X.dim", type=click.Path(path_type=Path),
    help="Take this result of SNAP's gpt for its product, whatever the backend; repeat it. The others stay to be done.",
)  # fmt: skip
outside_only = click.option(
    "--outside-only", is_flag=True,
    help="Only record the products that lie outside the area, which need no gpt; the others stay to be done.",
)  # fmt: skip


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options to a command function."""
    for option in reversed(_SHARED):
        function = option(function)
    return function


def optional_conf(
    command: click.Command, name: str, direct: Callable[[dict[str, Any], logging.Logger], None]
) -> click.Command:
    """Let a stage command be called without CONF; then `direct` gets the values of its own options and the log."""
    from scripts._stage import guarded, refuse_direct

    with_conf = command.callback
    for param in command.params:
        if param.name == "conf":
            param.required = False

    def callback(conf: Path | None = None, **values: Any) -> Any:
        if conf is not None and with_conf is not None:
            return with_conf(conf=conf, **values)
        with guarded(name, values["verbose"], values["quiet"]) as log:
            refuse_direct(name)
            direct(values, log)

    command.callback = callback
    return command

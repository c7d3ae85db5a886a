"""The decorator `stage`: from a function of a Context to a command with lock, freshness, ledger, manifest, exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

import models
import utils
from scripts import _batch
from scripts._context import Context, Options, Report
from scripts._options import CONF, shared
from utils.workflow import config, freshness
from utils.workflow.errors import (
    BrokenEnvironmentError,
    Error,
    InputError,
    Interrupted,
    RefusedError,
    UsageError,
    from_os_error,
)
from utils.workflow.files import remove_leftovers, remove_leftovers_of
from utils.workflow.lock import Lock
from utils.workflow.schema import Conf
from utils.workflow.stages import STAGES, Stage, folders_of

__all__ = ["Context", "Report", "guarded", "refuse", "refuse_direct", "stage"]

_AGAIN_S = 0.2


def stage(
    name: str,
    options: Sequence[Callable[..., Any]] = (),
    always: Callable[[dict[str, Any]], bool] | None = None,
    overrides: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> Callable[[Callable[[Context], Report]], click.Command]:
    """Make the command of a stage.

    options  further click options; their values are in ctx.extra
    always   given the extra options, True when the call must run although the stage is up to date (a pure look)
    overrides  given all options, the configuration keys that they replace: dotted key -> value. They enter the stage's
               key and manifest like values of the file
    """
    facts = STAGES[name]

    def decorate(function: Callable[[Context], Report]) -> click.Command:
        @shared
        @CONF
        def command(conf: Path, **values: Any) -> None:
            changes = overrides(values) if overrides else {}
            shared_values = {key: values.pop(key) for key in list(values) if key in Options.__dataclass_fields__}
            chosen = Options(**shared_values)
            with guarded(name, chosen.verbose, chosen.quiet) as log:
                _run(facts, function, conf, chosen, values, changes, log, bool(always and always(values)))

        for option in reversed(options):
            command = option(command)
        return click.command(name, help=_help(function), epilog=_example(function))(command)

    return decorate


def _doc(function: Callable[..., Any]) -> str:
    return sys.modules[function.__module__].__doc__ or ""


def _help(function: Callable[..., Any]) -> str:
    lines = [line for line in _doc(function).strip().splitlines() if not line.startswith("Example")]
    return lines[0] + "\n\n\b\n" + "\n".join(lines[1:]).strip() if lines else ""


def _example(function: Callable[..., Any]) -> str:
    lines = [line.removeprefix("Example").strip() for line in _doc(function).splitlines() if line.startswith("Example")]
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""


class _Stop(BaseException):
    """A signal came. No Exception: code of others catches those, and the signal would be lost."""


@contextmanager
def guarded(name: str, verbose: int = 0, quiet: bool = False) -> Iterator[logging.Logger]:
    """Logging, signals and the one place where exceptions become exit codes."""
    log = logging.getLogger("s2cr")
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, _interrupt)
    try:
        yield log
    except _Stop as stop:
        _fail(name, Interrupted(f"Stopped by {stop}.", "Run the same command again: it resumes."))
    except Error as error:
        _fail(name, error)
    except click.ClickException:
        raise
    except OSError as error:
        _fail(name, from_os_error(error))
    except Exception:
        from utils.io.redact import SECRETS

        click.echo(SECRETS.text(traceback.format_exc()), err=True)  # the text of a client's error may hold an address
        click.echo(f"s2cr {name}: this is a bug. Please report the lines above with your configuration.", err=True)
        sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Stop where that is safe: an import may swallow whatever is raised in it, so the signal comes again after it."""
    if _importing(frame):
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        return
    raise _Stop(signal.Signals(number).name)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _fail(name: str, error: Error) -> None:
    click.echo(f"s2cr {name}: {error.message}\n{error.remedy}", err=True)
    sys.exit(error.exit_code)


def _check_origin() -> None:
    """utils and models must come from this checkout: an installed package may ship folders of the same name."""
    for module in (utils, models):
        folder = Path(module.__file__ or "").resolve().parent
        if folder.parent != config.ROOT:
            raise BrokenEnvironmentError(
                f"{module.__name__} comes from {folder}, not from {config.ROOT}.", "Start the project with ./s2cr."
            )


def _guard(facts: Stage, conf: Conf, conf_path: Path, state: freshness.State) -> None:
    """Refuse heavy work on login nodes, and heavy work repeated as a mere prerequisite; network stages in jobs without."""
    if facts.weight == "network":
        _batch.refuse_without_network(facts.name, conf, conf_path)
    if facts.weight != "heavy":
        return
    if not conf.hpc.allow_login and _batch.on_login_node(conf.hpc):
        raise RefusedError(
            f"{facts.name} is heavy and this is a login node.",
            f"Submit it as a batch job: make submit STAGES={facts.name} CONF={conf_path}, or set hpc.allow_login: true.",
        )
    goals = os.environ.get("S2CR_GOALS")
    named = {facts.name, *facts.published, "demo", "dataset", "all"}
    if (
        state.had_result
        and goals is not None
        and not named & set(goals.split())
        and os.environ.get("S2CR_ALLOW") != "all"
    ):
        raise RefusedError(
            f"{facts.name} is finished but stale ({state.reason}); it is heavy and is not repeated as a mere prerequisite.",
            f"Name it: make {facts.name} CONF={conf_path}, or allow all: make ... ALLOW=all.",
        )


def refuse_direct(name: str) -> None:
    """The same for a heavy stage without a configuration; hpc.allow_login is that of S2CR_HPC."""
    if STAGES[name].weight != "heavy" or os.environ.get("S2CR_SUBMIT") == "no":
        return
    hpc = config.load_hpc()
    if not hpc.allow_login and _batch.on_login_node(hpc):
        raise RefusedError(
            f"{name} is heavy and this is a login node.",
            f"gan_{name}.sh submits it as a batch job; S2CR_SUBMIT=no runs it here.",
        )


def _run(
    facts: Stage,
    function: Callable[[Context], Report],
    conf_path: Path,
    options: Options,
    extra: dict[str, Any],
    changes: dict[str, Any],
    log: logging.Logger,
    look: bool,
) -> None:
    _check_origin()
    conf = config.load(conf_path, changes)
    for dotted, value in changes.items():
        log.info("command line: %s = %s; later stages read %s, set it there", dotted, value, conf_path)
    layout = config.layout_of(conf)
    if not facts.enabled(conf):
        log.info("%s: not part of this configuration (source: %s)", facts.name, conf.source)
        return
    if options.part and not facts.splittable:
        raise UsageError(f"{facts.name} cannot be divided into parts.", "Leave --part out.")
    state = freshness.state(conf, layout, facts.name)
    if state.key is None:
        raise InputError(state.reason, state.remedy.replace("CONF=...", f"CONF={conf_path}"))
    if state.fresh and not (options.force or options.part or look):
        _check_upstream(facts, conf, conf_path)
        log.info("%s: up to date", facts.name)
        click.echo(layout.manifest(facts.name))
        return
    _guard(facts, conf, conf_path, state)
    _check_upstream(facts, conf, conf_path)
    if not options.dry_run:
        layout.work.mkdir(parents=True, exist_ok=True)
    part = f".part-{options.part[0]}" if options.part else ""
    with Lock(layout.locks / f"{facts.name}{part}.lock"):
        if not options.part and not options.dry_run:
            for folder in folders_of(facts, conf):
                remove_leftovers(layout.work / folder)
            for file in facts.files:
                remove_leftovers_of(layout.work / file)
        context = Context(facts.name, conf, conf_path, options, log)
        context.extra = extra
        with context.open_ledger():
            report = function(context)
            path, line = context.finish(report)
    log.info("%s", line)
    click.echo(path)


def refuse(facts: Stage, conf: Conf, conf_path: Path) -> None:
    """End as the stage itself would, before heavy work that a script does for it: login node, stale upstream stages."""
    layout = config.layout_of(conf)
    _guard(facts, conf, conf_path, freshness.state(conf, layout, facts.name))
    _check_upstream(facts, conf, conf_path)


def _check_upstream(facts: Stage, conf: Conf, conf_path: Path) -> None:
    """Never compute from results that no longer belong to this configuration."""
    layout = config.layout_of(conf)
    for item in freshness.plan(conf, layout, facts.name)[:-1]:
        if not item.fresh:
            raise InputError(
                f"{facts.name} needs {item.stage}, which is not up to date ({item.reason}).",
                f"Run: make {facts.name} CONF={conf_path}",
            )

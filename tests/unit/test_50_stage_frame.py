"""What the frame promises to every stage, shown on a toy stage that writes small files."""

import importlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from scripts import _stage
from scripts._context import Context, Report
from utils.workflow.errors import DiskError, InputError
from utils.workflow.files import atomic_text

CALLS: list[str] = []
ANNOUNCED: list[list[str]] = []
BROKEN: dict[str, Exception] = {}
HOOKS: dict[str, Callable[[Context], None]] = {}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def toy(ctx: Context) -> Report:
    for item in ctx.todo([f"i{n}" for n in range(6)], unit="thing", announce=ANNOUNCED.append):
        with item:
            CALLS.append(item.id)
            HOOKS.get(item.id, lambda ctx: None)(ctx)
            if item.id in BROKEN:
                raise BROKEN[item.id]
            if item.id == "i5":
                item.skip("too small")
            atomic_text(
                item.output(ctx.layout.work / "scene" / f"{item.id}.txt"), f"{item.id} seed {ctx.conf.scene.seed}\n"
            )
            item.data["length"] = len(item.id)
    if not ctx.partial:
        atomic_text(ctx.output(ctx.layout.work / "scene" / "index.txt"), "all\n")
    return ctx.report(metrics={"n": 5}, summary="5 things")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    CALLS.clear()
    BROKEN.clear()
    command: click.Command = _stage.stage("make_scene")(toy)

    def call(*arguments: str, seed: int = 1, extra: str = "") -> Any:
        conf = tmp_path / "c.yaml"
        conf.write_text(
            f"source: import\nwork: {tmp_path}/w\nscene: {{enabled: true, seed: {seed}}}\nreport: {{synthetic: true}}\n{extra}"
        )
        CALLS.clear()
        ANNOUNCED.clear()
        return CliRunner().invoke(command, [str(conf), *arguments])

    yield call


def manifest(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "w/manifests/make_scene.json").read_text())  # type: ignore[no-any-return]


def test_what_will_come_is_announced_and_no_more(run: Callable[..., Any]) -> None:
    assert run("--limit", "2").exit_code == 0 and ANNOUNCED == [["i0", "i1"]] == [CALLS]
    assert run("--dry-run").exit_code == 0 and ANNOUNCED == []
    assert run().exit_code == 0 and ANNOUNCED == [["i2", "i3", "i4", "i5"]]
    assert run().exit_code == 0 and ANNOUNCED == []


def test_first_run_then_nothing(run: Callable[..., Any], tmp_path: Path) -> None:
    first = run()
    assert first.exit_code == 0, first.output
    facts = manifest(tmp_path)
    assert facts["counts"] == {"done": 5, "skipped": 1} and facts["status"] == "complete"
    assert facts["items"]["i5"]["reason"] == "too small" and facts["items"]["i0"]["data"] == {"length": 2}
    assert set(facts["outputs"]) == {f"scene/i{n}.txt" for n in range(5)} | {"scene/index.txt"}
    second = run()
    assert second.exit_code == 0 and CALLS == []


def test_a_failed_item_does_not_stop_the_others_and_is_tried_again(run: Callable[..., Any], tmp_path: Path) -> None:
    BROKEN["i2"] = InputError("i2 is broken.", "Mend it.")
    result = run()
    assert result.exit_code == 71 and "1 of 6 items failed" in result.output and len(CALLS) == 6
    assert manifest(tmp_path)["status"] == "failed"
    del BROKEN["i2"]
    assert run().exit_code == 0 and CALLS == ["i2"]
    assert manifest(tmp_path)["counts"] == {"done": 5, "skipped": 1}


def test_all_failed_for_one_cause_gives_that_code(run: Callable[..., Any]) -> None:
    BROKEN.update({f"i{n}": InputError("gone.", "Find it.") for n in range(6)})
    assert run().exit_code == 66


def test_fail_fast_and_tolerance(run: Callable[..., Any]) -> None:
    BROKEN["i2"] = InputError("i2 is broken.", "Mend it.")
    assert run("--fail-fast").exit_code == 66 and CALLS == ["i0", "i1", "i2"]
    assert run(extra="max_failed: 1\n").exit_code == 0


def test_a_full_disk_stops_at_once(run: Callable[..., Any]) -> None:
    BROKEN["i1"] = DiskError("full.", "Free some.")
    result = run()
    assert result.exit_code == 69 and CALLS == ["i0", "i1"] and "Traceback" not in result.output


def test_a_lost_output_is_made_again(run: Callable[..., Any], tmp_path: Path) -> None:
    run()
    (tmp_path / "w/scene/i3.txt").unlink()
    assert run().exit_code == 0 and CALLS == ["i3"]


def test_changed_configuration_starts_anew_and_removes_orphans(run: Callable[..., Any], tmp_path: Path) -> None:
    run()
    stray = tmp_path / "w/scene/mine.txt"
    stray.write_text("not the stage's file")
    BROKEN["i4"] = InputError("x.", "y.")
    run(seed=2, extra="max_failed: 1\n")
    assert not (tmp_path / "w/scene/i4.txt").exists(), "an output of the old configuration was left behind"
    assert stray.exists() and (tmp_path / "w/scene/i0.txt").read_text() == "i0 seed 2\n"


def test_limit_and_dry_run_complete_nothing(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run("--dry-run").exit_code == 0 and CALLS == [] and not (tmp_path / "w/scene").exists()
    assert run("--limit", "2").exit_code == 0 and CALLS == ["i0", "i1"]
    assert not (tmp_path / "w/manifests").exists()
    assert run().exit_code == 0 and CALLS == ["i2", "i3", "i4", "i5"]


def test_three_parts_equal_one(run: Callable[..., Any], tmp_path: Path) -> None:
    for index in (1, 2, 3):
        assert run("--part", f"{index}/3").exit_code == 0
    assert CALLS == ["i2", "i5"]
    assert run("--finalise").exit_code == 0 and CALLS == []
    digest = manifest(tmp_path)["outputs_digest"]
    assert run("--force").exit_code == 0 and len(CALLS) == 6
    assert manifest(tmp_path)["outputs_digest"] == digest


def test_finalise_refuses_while_a_part_is_missing(run: Callable[..., Any]) -> None:
    run("--part", "1/3")
    result = run("--finalise")
    assert result.exit_code == 66 and "4 of 6 things are not done" in result.output


def test_a_bug_is_called_a_bug(run: Callable[..., Any]) -> None:
    BROKEN["i0"] = ZeroDivisionError("x")
    result = run()
    assert result.exit_code == 1 and "this is a bug" in result.output


def test_a_changed_time_causes_no_work(run: Callable[..., Any], tmp_path: Path) -> None:
    run()
    for path in (tmp_path / "w/scene").iterdir():
        path.touch()
    assert run().exit_code == 0 and CALLS == []


def test_leftovers_of_a_killed_run_are_removed(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "w/scene").mkdir(parents=True)
    (tmp_path / "w/scene/i0.s2cr-tmp.1.abcd.txt").write_text("half")
    run()
    assert sorted(p.name for p in (tmp_path / "w/scene").iterdir()) == [
        "i0.txt",
        "i1.txt",
        "i2.txt",
        "i3.txt",
        "i4.txt",
        "index.txt",
    ]


SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(1000):
        pass
except BaseException:
    pass
"""


def test_a_signal_while_a_library_is_loaded_is_not_lost(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library swallows whatever is raised while it is imported; the stage stops before its next item is done."""
    (tmp_path / "swallows_signals.py").write_text(SWALLOWS)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}

    def load(ctx: Context) -> None:
        importlib.import_module("swallows_signals")
        for _ in range(200):
            time.sleep(0.05)

    monkeypatch.setitem(HOOKS, "i1", load)
    try:
        result = run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert result.exit_code == 75 and "Stopped by SIGUSR1" in result.output
    assert CALLS == ["i0", "i1"]
    HOOKS.clear()
    assert run().exit_code == 0 and CALLS == ["i1", "i2", "i3", "i4", "i5"]


def test_a_part_with_failed_items_says_so(run: Callable[..., Any], tmp_path: Path) -> None:
    BROKEN["i2"] = InputError("i2 is broken.", "Mend it.")
    assert [run("--part", f"{i}/3").exit_code for i in (1, 2, 3)] == [0, 0, 71], "the job record of part 3 shows it"
    assert [run("--part", f"{i}/2").exit_code for i in (1, 2)] == [71, 0], "i0 and i4 of that part are done"
    assert run("--part", "3/3", extra="max_failed: 1\n").exit_code == 0
    assert run("--finalise").exit_code == 71 and not CALLS

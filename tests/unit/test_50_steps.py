"""Seconds by step and peak memory of an item."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts import _stage, _steps
from scripts._context import Context, Report
from scripts._steps import Steps, peak_mib
from utils.workflow.files import atomic_text

ROOT = Path(__file__).parents[2]


class Clock:
    """Time goes on only when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(_steps.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_step_within_a_step_counts_for_itself_only(clock: Clock) -> None:
    steps = Steps()

    def parts() -> Iterator[int]:
        for number in range(3):
            clock.now += 5
            yield number
        clock.now += 0.5

    with steps("heights"):
        clock.now += 2
    clock.now += 1000  # between steps: counts for none
    with steps("write"):
        clock.now += 1
        for _ in steps.each("map", parts()):
            clock.now += 0.25
    steps.move(4, "map", "lines")
    assert steps.seconds == {"heights": 2.0, "write": 1.75, "map": 11.5, "lines": 4.0}
    with pytest.raises(ZeroDivisionError), steps("heights"):
        clock.now += 3
        raise ZeroDivisionError
    clock.now += 7
    assert steps.seconds["heights"] == 5.0


def test_peak_memory_is_that_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmPeak:\t  999999 kB\nVmHWM:\t  524800 kB\nVmRSS:\t  1024 kB\n")
    assert peak_mib(tmp_path / "status") == 512.5
    assert peak_mib(tmp_path / "none") == 0.0


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc here")  # noqa: PTH110
def test_peak_memory_grows_with_what_is_held() -> None:
    code = (
        "from scripts._steps import peak_mib; a = peak_mib(); held = b'1' * 2**26; b = peak_mib(); del held; "
        "print(a, b, peak_mib())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before, held, after = map(float, done.stdout.split())
    assert 63 < held - before < 70 and abs(after - held) < 1  # the kernel counts in batches


def test_they_are_in_ledger_and_manifest_and_change_no_digest(clock: Clock, tmp_path: Path) -> None:
    took = [1.0]

    def toy(ctx: Context) -> Report:
        for item in ctx.todo(["one"]):
            with item:
                with item.steps("read"):
                    clock.now += took[0]
                atomic_text(item.output(ctx.layout.work / "scene" / "one.txt"), "the same\n")
        return ctx.report()

    command, conf = _stage.stage("make_scene")(toy), tmp_path / "c.yaml"
    conf.write_text(f"source: import\nwork: {tmp_path}/w\nscene: {{enabled: true}}\nreport: {{synthetic: true}}\n")
    digests, keys = set(), set()
    for seconds in (1.0, 40.0):
        took[0] = seconds
        done = CliRunner().invoke(command, [str(conf), "--force"])
        assert done.exit_code == 0, done.output
        manifest = json.loads((tmp_path / "w/manifests/make_scene.json").read_text())
        line = json.loads((tmp_path / "w/items/make_scene.jsonl").read_text().splitlines()[-1])
        for found in (manifest["items"]["one"], line):
            assert found["steps"] == {"read": seconds} and found["peak_mib"] > 10 and found["data"] == {}
        digests.add(manifest["outputs_digest"])
        keys.add(manifest["key"])
    assert len(digests) == len(keys) == 1

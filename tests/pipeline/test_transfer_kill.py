"""SIGKILL at 200 random moments of downloads: no partial file under a final name, and the same tree in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.hub import Hub
from tests.fakes.products import product, s2_name

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_hundred_kills(tmp_path: Path) -> None:
    made = [product(s2_name(number), 1_000_000) for number in range(5)]
    with Hub() as hub:
        hub.pace_s = 0.003
        for one in made:
            hub.put(f"/{one.name}.zip", one.data)
        job = {
            "url": hub.url, "folder": str(tmp_path / "raw"), "kills": 200, "seed": 5,
            "products": [[m.name, len(m.data), m.md5, f"date{1 + n % 2}"] for n, m in enumerate(made)],
        }  # fmt: skip
        result = subprocess.run(
            [sys.executable, "-m", "tests.pipeline.kill_child"], input=json.dumps(job) + "\n", cwd=ROOT, text=True,
            capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300, check=False,
        )  # fmt: skip
        ranged = sum(bool(entry.range) for entry in hub.log)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    print(figures["moments"], f"{figures['finished']} runs ended before their kill, {ranged} resumed requests")
    assert figures["kills"] == 200 and figures["last"] == 0 and figures["partial"] == []
    assert len(set(figures["trees"])) == 1, "a killed and resumed run left another tree than an undisturbed one"
    assert figures["moments"]["bytes or verification"] >= 20 and ranged >= 20, "the kills missed the transfers"
    files = {p.relative_to(tmp_path / "raw").as_posix() for p in (tmp_path / "raw").rglob("*") if p.is_file()}
    assert files == {f"date{1 + n % 2}/{m.name}.zip" for n, m in enumerate(made)} | {"downloads.lock.json"}

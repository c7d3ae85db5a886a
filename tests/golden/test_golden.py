"""Figures and texts that must not change unseen; `python -m tests.golden.make` writes them again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.golden import make

AGAIN = "if this is meant: python -m tests.golden.make"


def stored(name: str) -> Any:
    text = (make.DATA / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else text


def test_every_golden_file_has_its_maker() -> None:
    assert {path.name for path in make.DATA.iterdir()} == set(make.GOLDEN)


@pytest.mark.parametrize("name", ["help.txt", "make_help.txt", "jobs.txt", "snap_nodes.json"])
def test_texts_and_graphs(name: str) -> None:
    assert make.GOLDEN[name]() == stored(name), AGAIN


def test_indices() -> None:
    ours, golden = make.index_values(), stored("indices.json")
    assert set(ours) == set(golden), AGAIN
    for name, values in golden.items():
        assert ours[name] == pytest.approx(values, abs=1e-8, nan_ok=True), f"{name}: {AGAIN}"


def test_gamma0_of_the_native_chain() -> None:
    """0.002 dB: other libraries of mathematics may round differently, nothing else may differ."""
    ours, golden = make.gamma0_blocks(), stored("gamma0_blocks.json")
    for pol, plane in golden.items():
        worst = float(np.abs(np.array(ours[pol]) - np.array(plane)).max())
        print(f"{pol}: at most {worst:.5f} dB off")
        assert worst < 0.002, AGAIN


def test_seams() -> None:
    ours, golden = make.seam_figures(), stored("seams.json")
    assert ours == pytest.approx(golden, rel=1e-4), AGAIN
    assert abs(ours["blended"] - 1) < 0.1 < ours["hard"] - 1

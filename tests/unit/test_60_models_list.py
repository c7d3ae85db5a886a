"""./s2cr models: every name with its counts."""

from __future__ import annotations

import subprocess

import pytest

from utils.science import baselines
from utils.workflow.config import ROOT


@pytest.fixture(scope="module")
def lines() -> dict[str, list[str]]:
    done = subprocess.run([ROOT / "s2cr", "models"], capture_output=True, text=True, check=True)
    return {words[0]: words for words in map(str.split, done.stdout.splitlines()) if words}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("published_gan", ["11,407,748", "14,841,285", "745.9", "1491.8", "standard"]),  # + 3,433,537
        ("cyclegan", ["11,407,748", "29,663,242", "745.9", "1491.8", "standard"]),
        ("resunet", ["3,298,084", "3,298,084", "11.9", "23.7", "fixed"]),
        ("resunet_gan", ["3,298,084", "6,730,662", "11.9", "23.7", "fixed"]),
        ("dsen2cr", ["18,910,468", "18,910,468", "1238.8", "2477.5", "standard"]),
    ],
)
def test_networks_with_parameters_and_cost(lines: dict[str, list[str]], name: str, counts: list[str]) -> None:
    assert lines[name][1:6] == counts


def test_rivals_are_listed_with_a_sentence(lines: dict[str, list[str]]) -> None:
    for name in (*baselines.NAMES, "vh_logratio"):
        assert len(lines[name]) > 3, name


def test_more_bands_make_larger_networks() -> None:
    done = subprocess.run([ROOT / "s2cr", "models", "--bands", "5"], capture_output=True, text=True, check=True)
    words = {row[0]: row for row in map(str.split, done.stdout.splitlines()) if row}
    # by hand: one more channel into 32 filters of 3 x 3, one more out of 32
    assert words["resunet"][1] == f"{3_298_084 + 9 * 32 + 9 * 32 + 1:,d}"

"""Threads of preprocess_s2: the first failing image, in their order, is the one that is told; the others end."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from scripts._sentinel2 import _go_on, run_all
from utils.io import acquisitions
from utils.io.s2_convert import Converted
from utils.science.grid import Grid
from utils.workflow.errors import InputError, Interrupted


def done(number: int) -> Converted:
    return Converted({"n": number}, np.zeros((1, 1)))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_by_name(workers: int) -> None:
    found = run_all({str(n): (lambda n=n: done(n)) for n in range(6)}, workers, threading.Event())
    assert {name: result.counts["n"] for name, result in found.items()} == {str(n): n for n in range(6)}


def test_an_error_ends_the_others_between_strips() -> None:
    stop, strips = threading.Event(), []

    def long() -> Any:
        for number in range(1000):
            _go_on(stop)
            strips.append(number)
            time.sleep(0.005)

    def broken() -> Any:
        time.sleep(0.05)
        raise InputError("B03 is broken.", "Replace it.")

    begin = time.monotonic()
    with pytest.raises(InputError, match="B03 is broken"):
        run_all({"B02": long, "B03": broken, "B04": long}, 2, stop)
    assert time.monotonic() - begin < 2 and 0 < len(strips) < 500


def test_of_two_errors_the_first_image_is_told() -> None:
    def fail(name: str, wait_s: float) -> Any:
        time.sleep(wait_s)
        raise InputError(f"{name} is broken.", "")

    both = {"B02": lambda: fail("B02", 0.1), "B03": lambda: fail("B03", 0.05)}
    with pytest.raises(InputError, match="B02 is broken"):
        run_all(both, 2, threading.Event())


def test_a_signal_ends_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception of a signal handler comes up in the main thread while it waits."""
    import signal

    stop = threading.Event()

    def long() -> Any:
        while True:
            _go_on(stop)
            time.sleep(0.005)

    def stopped(*_: object) -> None:
        raise Interrupted("Stopped.", "Again.")

    before = signal.signal(signal.SIGALRM, stopped)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Interrupted):
            run_all({"B02": long, "B03": long}, 2, stop)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert stop.is_set()


def test_rank_is_the_depth_inside_a_tile() -> None:
    grid = Grid(32755, 0.0, 50.0, 10.0, -10.0, 5, 6)
    core = Grid(32755, 20.0, 40.0, 10.0, -10.0, 3, 2)
    assert acquisitions.rank(core, grid).tolist() == [
        [-3, -2, -1, -1, -2, -3], [-2, -1, 0, 0, -1, -2], [-2, -1, 0, 0, -1, -2], [-2, -1, 0, 0, -1, -2], [-3, -2, -1, -1, -2, -3],
    ]  # fmt: skip
    assert not acquisitions.rank(None, grid).any()

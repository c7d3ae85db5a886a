"""Networks exported to other runtimes: equal to TensorFlow in reflectance, or refused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench._scene import make_run
from models.runtime import LIMIT, Runtime, verify
from scripts._scene import load_run
from utils.workflow.config import ROOT
from utils.workflow.errors import BrokenEnvironmentError, VerificationError

HERE = all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnx", "tf2onnx"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runtime") / "run", 64)


def check_equal(run: Path, kind: str) -> None:
    plain, exported = load_run(run, 2, "tf"), load_run(run, 2, kind)
    x = np.random.default_rng(1).normal(0, 0.6, (2, 64, 64, 11)).astype(np.float32)
    difference = np.abs(exported.windows(x) - plain.windows(x)).max() * np.abs(plain.scene_units()[0]).max()
    print(f"{kind}: {difference:.2g} reflectance (limit {LIMIT:g}); on load {exported._windows.difference:.2g}")
    assert difference <= LIMIT and 0 <= exported._windows.difference <= LIMIT
    assert not np.array_equal(exported.windows(x), x[..., :4])  # it does something
    small = x[:, :32, :40]  # another size is another export
    assert np.abs(exported.windows(small) - plain.windows(small)).max() * 0.25 <= LIMIT


def test_tflite_equals_tensorflow(run: Path) -> None:
    check_equal(run, "tflite")


@pytest.mark.skipif(not HERE, reason="the extra onnx is not installed")
def test_onnx_equals_tensorflow(run: Path) -> None:
    check_equal(run, "onnx")


@pytest.mark.skipif(HERE, reason="onnx is installed")
def test_onnx_names_the_packages_that_are_missing(run: Path) -> None:
    with pytest.raises(BrokenEnvironmentError, match=r"extra onnx: .*requirements-onnx\.txt") as error:
        load_run(run, 1, "onnx").windows(np.zeros((1, 64, 64, 11), np.float32))
    assert error.value.exit_code == 77


@pytest.mark.parametrize(("slip", "refused"), [(0.9e-4, False), (1.1e-4, True), (np.nan, True)])
def test_an_export_that_differs_is_refused(slip: float, refused: bool) -> None:
    """Differences count in reflectance: network units times the scale of the band."""
    scale = np.array([0.25, 0.5])

    def exported(x: Any) -> Any:
        wrong = x.astype(np.float64)
        wrong[0, 3, 4, 1] += slip / 0.5
        return wrong

    arguments = (exported, lambda x: x, (1, 8, 8, 2), scale, "tflite")
    if not refused:
        assert verify(*arguments) == pytest.approx(slip, rel=1e-3)
        return
    with pytest.raises(VerificationError, match="--runtime tf") as error:
        verify(*arguments)
    assert error.value.exit_code == 78


def test_every_shape_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import models.runtime as module

    seen = []
    monkeypatch.setattr(module, "verify", lambda *arguments: seen.append(arguments[2]) or 1e-6)
    one = Runtime(lambda x: 2.0 * x, "tflite")
    for shape in ((1, 8, 8, 2), (1, 8, 8, 2), (2, 4, 4, 2)):
        assert np.array_equal(one(np.ones(shape, np.float32)), np.full(shape, 2, np.float32))
    assert seen == [(1, 8, 8, 2), (2, 4, 4, 2)]


def test_tensorflow_starts_without_packages_that_nobody_asked_for() -> None:
    """They double the time of the import; whoever wants one afterwards has it."""
    code = (
        "import sys; from models import backend; backend.start()\n"
        "assert not set(backend._EXTRAS) & set(sys.modules), set(backend._EXTRAS) & set(sys.modules)\n"
        "import pandas, sklearn.ensemble, matplotlib.pyplot\n"
        "assert pandas.DataFrame({'a': [1]}).a[0] == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

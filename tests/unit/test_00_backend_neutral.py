"""Networks and losses know no backend: they run wherever Keras does."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEUTRAL = (
    "layers", "resunet", "generator", "discriminator", "dsen2cr", "cyclegan", "losses", "uncertainty", "registry", "config",
)  # fmt: skip
BACKENDS = {"tensorflow", "jax", "torch"}

FORWARD = """
import numpy as np
from models import losses, registry
from models.config import ModelConf
from models.uncertainty import build_head, feature_network
tiny = dict(param_before_resnet=((8, 3),), dim_resnet=8, nb_resnet_blocs=1, param_after_resnet=((8, 3),), widths=(8,),
            encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, dict_discri_archi={1: (1, 2, 4, 4), 2: (1, 1, 4, 1)})
for name, spec in registry.REGISTRY.items():
    if getattr(spec, "trees", False):
        continue
    network = registry.build(ModelConf(model=name, **tiny), 4)
    x = np.random.default_rng(0).normal(size=(1, 16, 16, network.input_shape[-1])).astype("float32")
    features, y = feature_network(network)(x)
    assert tuple(y.shape) == (1, 16, 16, 4), name
    sigma = build_head(int(features.shape[-1]), 4)(features)
    loss = losses.gaussian_nll(y, y + 1, sigma, np.ones((1, 16, 16), "float32"))
    assert abs(float(loss) - 0.5) < 1e-5, name
    for helper in registry.helpers(ModelConf(model=name, **tiny), 4, 16):
        helper(np.zeros((1, 16, 16, helper.input_shape[-1]), "float32"), training=True)
"""


def names_used(path: Path) -> set[str]:
    """First words of all imports and of all dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Name):
            found.add(node.id)
    return found


@pytest.mark.parametrize("name", NEUTRAL)
def test_no_backend_is_named(name: str) -> None:
    assert not names_used(ROOT / "models" / f"{name}.py") & (BACKENDS | {"tf", "jnp"})


@pytest.mark.parametrize("name", NEUTRAL)
def test_nothing_that_they_import_names_one_when_it_loads(name: str) -> None:
    """Modules of the project that they import at module level, and so on."""
    waiting, seen = [f"models.{name}"], set()
    while waiting:
        module = waiting.pop()
        path = ROOT / f"{module.replace('.', '/')}.py"
        if module in seen or not path.is_file():
            continue
        seen.add(module)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & BACKENDS, path
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.split(".")[0] not in BACKENDS, path
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    assert f"models.{name}" in seen


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_networks_run_on_another_backend(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", FORWARD], cwd=ROOT, env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_same_program_runs_on_tensorflow() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORWARD], cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "tensorflow"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

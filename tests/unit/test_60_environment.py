"""The environment files name every package that the code imports."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DISTRIBUTION = {
    "yaml": "pyyaml", "sklearn": "scikit-learn", "osgeo": "gdal", "osgeo_utils": "gdal", "skimage": "scikit-image", "cv2": "opencv-python-headless",
    "tensorflow": "tensorflow", "ee": "earthengine-api", "google": "google-auth", "googleapiclient": "google-api-python-client",
    "pystac_client": "pystac-client", "flask_cors": "flask-cors", "netCDF4": "netcdf4", "PIL": "pillow",
}  # fmt: skip
OWN = {"utils", "models", "scripts", "tests", "bench", "_direct"}


def imported(*folders: str) -> set[str]:
    """Third-party packages imported anywhere below the folders."""
    names: set[str] = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                    names.add(node.module.split(".")[0])
    return {DISTRIBUTION.get(name, name).lower() for name in names - OWN - set(sys.stdlib_module_names)}


def listed(path: Path) -> set[str]:
    """Package names of a conda file, its pip part included, or of a requirements file."""
    if path.suffix == ".txt":
        entries = [entry for entry in path.read_text().splitlines() if entry and not entry.startswith("#")]
    else:
        entries = []
        for entry in yaml.safe_load(path.read_text())["dependencies"]:
            entries += entry["pip"] if isinstance(entry, dict) else [entry]
    names = {re.split(r"[=<>\[ ]", entry)[0].lower().replace("_", "-") for entry in entries}
    return {"tensorflow" if name == "tensorflow-cpu" else name for name in names}


EXTRAS = {"onnxruntime", "tf2onnx"}  # env/requirements-onnx.txt: another runtime of predict, named where it is missing


def test_requirements_cover_the_code() -> None:
    assert listed(ROOT / "env/requirements-onnx.txt") >= EXTRAS
    missing = imported("utils", "models", "scripts", "bench", "tests") - listed(ROOT / "env/requirements.txt")
    assert missing <= {"gdal", "buzzard"} | EXTRAS, missing  # these two follow in bash_scripts/env.sh
    script = (ROOT / "bash_scripts/env.sh").read_text()
    assert "GDAL==$version" in script and "requirements-nodeps.txt" in script
    assert listed(ROOT / "env/requirements-nodeps.txt") == {"buzzard"}


def test_clean_env_covers_the_code() -> None:
    missing = imported("utils", "models", "scripts", "bench", "tests") - listed(ROOT / "env/clean_env.yml")
    assert missing <= {"buzzard"} | EXTRAS


def test_training_env_covers_the_code() -> None:
    """Every stage loads there; tests and benchmarks are not for a training node. buzzard is optional, see footprint.py."""
    assert imported("utils", "models", "scripts") - listed(ROOT / "env/training_env.yaml") <= {"buzzard"} | EXTRAS


@pytest.mark.parametrize("name", ["clean_env.yml", "training_env.yaml"])
def test_conda_files_name_buzzard_and_pin_everything(name: str) -> None:
    path = ROOT / "env" / name
    assert re.search(r"^# buzzard==0\.6\.5 ", path.read_text(), re.MULTILINE)
    for entry in yaml.safe_load(path.read_text())["dependencies"]:
        for line in entry["pip"] if isinstance(entry, dict) else [entry]:
            assert line in ("pip", "make", "git") or re.search(r"[^=]==?[0-9]", line), f"{name}: {line} has no version"


def test_conda_and_venv_pins_agree() -> None:
    """Same versions on both routes, for every package that both name."""
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "env/requirements.txt").read_text().splitlines()
        if "==" in line
    )
    for name in ("clean_env.yml", "training_env.yaml"):
        for entry in yaml.safe_load((ROOT / "env" / name).read_text())["dependencies"]:
            for line in entry["pip"] if isinstance(entry, dict) else [entry]:
                package, _, version = re.sub(r"\[.*\]", "", line).lower().replace("==", "=").partition("=")
                if package in pins:
                    assert pins[package] == version, f"{name}: {line}, but requirements.txt has {pins[package]}"


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-gpu.txt", "requirements-nodeps.txt", "requirements-onnx.txt"]
)
def test_requirements_are_exact_pins_from_the_registry(name: str) -> None:
    for line in (ROOT / "env" / name).read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[A-Za-z0-9_.\-]+(\[[a-z-]+\])?==[A-Za-z0-9.]+", line), line


def test_gpu_requirements_differ_in_tensorflow_only() -> None:
    cpu, gpu = (set((ROOT / "env" / n).read_text().splitlines()) for n in ("requirements.txt", "requirements-gpu.txt"))
    changed = {line for line in cpu ^ gpu if not line.startswith("#")}
    assert {re.split(r"[=\[]", line)[0] for line in changed} == {"tensorflow_cpu", "tensorflow"}

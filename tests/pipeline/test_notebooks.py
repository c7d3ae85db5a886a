"""The notebooks, executed on a small demo scene; stripped of outputs in the repository, thin, and right in what they show."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.chain_tools import Chain
from utils.io import samples, tile_views

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebooks_are_stripped_and_thin(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    lines = [len(cell["source"]) for cell in code]
    print(f"{path.name}: {sum(lines)} lines of code, longest cell {max(lines)}")
    assert max(lines) <= 25, "work belongs into the package"


def execute(name: str, **values: object) -> list[dict[str, Any]]:
    """Run a notebook with other values in its first code cell; returns the outputs of all cells."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    first = next(cell for cell in book.cells if cell.cell_type == "code")
    known = {line.split(" = ")[0] for line in first.source.splitlines()}
    assert set(values) <= known, f"{name} has no parameter {set(values) - known}"
    first.source += "".join(f"\n{key} = {value!r}" for key, value in values.items())
    client = NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "notebooks")}}
    )
    client.execute()
    return [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]


def texts(outputs: list[dict[str, Any]]) -> str:
    return "\n".join(str(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in outputs)


def pngs(outputs: list[dict[str, Any]]) -> list[Any]:
    from PIL import Image

    found = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")) for png in found]


@pytest.mark.slow
def test_dataset_tiles(finished: Chain) -> None:
    outputs = execute("1.0-dataset-tiles.ipynb", CONF=str(finished.conf), TILES=3)
    split_map, tiles = pngs(outputs)
    for colour in tile_views.SET_RGB[:3]:
        assert (np.abs(split_map.astype(int) - colour).max(axis=-1) < 3).sum() > 200, (
            "train, val and test are on the map"
        )
    assert tiles.std() > 20 and tiles.shape[1] > tiles.shape[0] * 0.9
    index = samples.load_index(finished.work / "dataset/train")
    assert f"'train': {len(index.samples)}" in texts(outputs)


@pytest.mark.slow
def test_training_is_watched(finished: Chain, tmp_path: Path) -> None:
    """A training that starts in the notebook: it is looked at while it runs, then its images are those of the run."""
    work = tmp_path / "work"
    shutil.copytree(finished.work, work)
    for stale in ("runs", "manifests/train.json", "items/train.jsonl"):
        path = work / stale
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("default.yaml", "train_resunet.yaml", "train_gan.yaml"):
        shutil.copy(finished.conf.parent / name, tmp_path)
    conf = tmp_path / "mini.yaml"
    conf.write_text(finished.conf.read_text().replace(str(finished.work), str(work)))
    outputs = execute("2.0-training.ipynb", CONF=str(conf), TILES=2, LOOK_S=1.0)
    said = texts(outputs)
    looks = int(said.split(" looks while it ran; exit code 0")[0].split()[-1])
    print(f"{looks} looks at the training")
    assert looks >= 2 and "'parameters'" in said
    assert len(pngs(outputs)) == 3, "curves, images of the training, images of the exported network"
    assert (work / "runs/resunet_tiny/model.keras").is_file()
    again = texts(execute("2.0-training.ipynb", CONF=str(conf), TILES=1, LOOK_S=1.0))
    assert "exit code 0" in again and (work / "manifests/train.json").is_file()


def frames(outputs: list[dict[str, Any]]) -> list[str]:
    """Pages inside the frames that cells show."""
    found = [str(output.get("data", {}).get("text/html", "")) for output in outputs]
    return [html.unescape(page) for text in found for page in re.findall(r'<iframe [^>]*srcdoc="([^"]*)"', text)]


def widgets(outputs: list[dict[str, Any]]) -> list[str]:
    """Kinds of output that need a running kernel or a script of somebody else."""
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    return sorted(kind for kind in kinds if "widget" in kind or kind == "application/javascript")


@pytest.mark.slow
def test_predictions_are_looked_at(finished: Chain) -> None:
    outputs = execute("3.0-predictions.ipynb", CONF=str(finished.conf), TILES=2)
    said, table = texts(outputs), json.loads((finished.work / "reports/evaluate.json").read_text())
    figures = table["methods"]["resunet_tiny"]["observed"]["strata"]
    # the notebook and evaluate score the same pixels the same way
    counted = re.search(r"'changed': \{'pixels': (\d+), 'resunet_tiny': ([\d.]+), 'copy_t0': ([\d.]+)\}", said)
    assert counted, said
    assert int(counted.group(1)) == figures["changed"]["pixels"]
    assert float(counted.group(2)) == pytest.approx(figures["changed"]["mae"], rel=2e-3)
    rows, histograms = pngs(outputs)
    assert rows.std() > 20 and rows.shape[0] > rows.shape[1] * 0.5 and histograms.shape[1] > 900
    tile, whole = frames(outputs)
    assert "t1 simulated" in tile and "error of copying t0" in tile and ">synthetic</span>" in tile
    assert whole.count("data:image/webp") == 2 and not re.search(r"https?://", tile + whole)
    assert widgets(outputs) == []


@pytest.mark.slow
def test_burned_area_from_a_prediction(finished: Chain) -> None:
    outputs = execute("4.0-burned-area.ipynb", CONF=str(finished.conf))
    said = texts(outputs)
    item = json.loads((finished.work / "manifests/burned.json").read_text())["items"]["resunet_tiny/p001"]["data"]
    stored = item["dnbr"]["burned_ha"]
    shown = float(re.search(r"^burned +([\d.]+) ha", said, re.M).group(1))
    print(f"burned {shown} ha in the notebook, {stored} by the stage")
    assert shown == pytest.approx(stored, abs=0.06)
    same = float(re.search(r"^([\d.]+) of \d+ pixels have the same class", said, re.M).group(1))
    print(f"{same} of the pixels have the class of the stage (limit 0.999)")
    assert same >= 0.999
    assert re.search(r"corrected on test ground: [\d.]+ ha \[[\d.]+, [\d.]+\] \(synthetic\)|no interval: ", said)
    for rival in ("copy_t0", "vh_logratio", "all_burned", "resunet_tiny"):
        assert re.search(rf"^{rival} ", said, re.M), rival
    assert len(pngs(outputs)) == 1 and "severity, true" in frames(outputs)[0] and widgets(outputs) == []


@pytest.mark.slow
def test_a_saved_notebook_is_readable_without_a_kernel(finished: Chain, tmp_path: Path) -> None:
    """What the README says for a remote machine: execute to one HTML file, which shows pictures and figures by itself."""
    source = (ROOT / "notebooks/4.0-burned-area.ipynb").read_text().replace("confs/demo.yaml", str(finished.conf))
    (tmp_path / "book.ipynb").write_text(source)
    (tmp_path / "s2cr").symlink_to(ROOT / "s2cr")  # the notebook takes the folder above it that holds s2cr
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    environment |= {"BROWSER": "/bin/false", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", str(tmp_path / "book.ipynb")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path / "book.html").read_text()
    assert "data:image/png;base64" in text and "all_burned" in text and "srcdoc=" in text

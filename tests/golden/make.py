"""Write the golden values: `python -m tests.golden.make`. Look at the difference before committing it.

Golden values say that a figure has changed, not that it is right: right is what tests/unit holds against hand
computation, invariants and oracles. Small text files, so that a change can be read in the commit.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"


def help_text() -> str:
    """What ./s2cr --help prints."""
    return subprocess.run([ROOT / "s2cr", "--help"], capture_output=True, text=True, check=True).stdout


def make_help() -> str:
    """What `make help` prints."""
    return subprocess.run(["make", "-s", "help"], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def job_texts() -> str:
    """Files and command lines of a chain with parts and segments, for both batch systems."""
    from utils.workflow import scheduler
    from utils.workflow.schema import Conf, Hpc
    from utils.workflow.schema_hpc import PartedJob, Resources, TrainJob

    gpu = {"slurm": "--gres=gpu:1", "pbs": "-l ngpus=1"}
    out: list[str] = []
    kinds: tuple[scheduler.Kind, ...] = ("slurm", "pbs")
    for kind in kinds:
        hpc = Hpc(
            transfer_queue="data", modules=("gdal",), job=Resources(queue="main", walltime="1:00:00", memory_gib=7.5, cpus=2),
            tile=PartedJob(parts=3), train=TrainJob(queue="gpu", walltime="12:00:00", segments=2, options=(gpu[kind],)),
        )  # fmt: skip
        jobs = scheduler.chain_jobs(Conf(hpc=hpc), Path("/data/c.yaml"), ["download", "tile", "train"])
        ids = {job.name: f"<{job.name}>" for job in jobs}
        for job in jobs:
            file = Path(f"/data/work/jobs/0001/{job.name}.sh")
            text = scheduler.job_text(job, kind, hpc, file.parent, Path("/opt/s2cr"), {"S2CR_DATA": "/data/in"})
            out += [f"== {file}", text, f"$ {' '.join(scheduler.command_line(job, kind, file, ids))}", ""]
    return "\n".join(out)


def snap_nodes() -> dict[str, Any]:
    """graph file -> list of [node, operator, sources, parameters]."""
    found = {}
    for path in sorted((ROOT / "snap-confs").glob("*.xml")):
        nodes = []
        for node in ElementTree.parse(path).getroot().iter("node"):
            sources = [source.get("refid") for source in node.findall("sources/*")]
            parameters = {child.tag: (child.text or "").strip() for child in node.findall("parameters/*")}
            nodes.append([node.get("id"), node.findtext("operator"), sources, parameters])
        found[path.name] = nodes
    return found


def index_values() -> dict[str, list[float]]:
    """Every index of eight seeded pixels; the last has a negative reflectance."""
    from utils.science import indices

    rng = np.random.default_rng(20191106)
    bands = {
        name: rng.uniform(0.01, 0.5, 8) for name in ("B02", "B03", "B04", "B06", "B07", "B08", "B8A", "B11", "B12")
    }
    bands["B08"][-1] = -0.02
    return {name: [round(float(v), 9) for v in indices.compute(name, bands)] for name in sorted(indices.INDICES)}


def gamma0_blocks() -> dict[str, list[list[float]]]:
    """gamma0 in dB of a generated product with speckle and noise after the native chain, means of 16 x 16 px."""
    from tests.s1_stage import convert
    from utils.io.synth_products import SceneProducts
    from utils.workflow.schema import Scene

    with tempfile.TemporaryDirectory() as folder:
        products = SceneProducts(Scene(size_px=128, decoys=False))
        products.write_ground(Path(folder) / "scene", {})
        archive = products.write_s1("s1_t0", Path(folder) / "scene/archive")
        gamma0 = convert(Path(folder), archive)[0]
    means = gamma0.reshape(2, 8, 16, 8, 16).mean(axis=(2, 4))
    return {pol: np.round(10 * np.log10(plane), 4).tolist() for pol, plane in zip(("VV", "VH"), means, strict=True)}


def seam_figures() -> dict[str, float]:
    """Seams of biased windows when blended and when cut hard: the second must stand out."""
    from utils.science.blend import Blender, seam_ratio

    rng = np.random.default_rng(3)
    image = rng.normal(0.2, 0.005, (1, 64, 64)).astype(np.float32)
    blender, hard = Blender(64, 64, 1), image.copy()
    for row in range(-16, 64, 16):
        for col in range(-16, 64, 16):
            part = np.full((1, 32, 32), np.nan, np.float32)
            rows, cols = slice(max(row, 0), min(row + 32, 64)), slice(max(col, 0), min(col + 32, 64))
            bias = np.float32(rng.normal(0, 0.02))
            part[:, rows.start - row : rows.stop - row, cols.start - col : cols.stop - col] = (
                image[:, rows, cols] + bias
            )
            blender.add(part, row, col)
            if row >= 0 and col >= 0:
                hard[:, row : row + 16, col : col + 16] = image[:, row : row + 16, col : col + 16] + bias
    pictures, borders = {"blended": blender.result()[0], "hard": hard[0]}, [16, 32, 48]
    return {name: round(seam_ratio(picture, image[0], borders, 16), 6) for name, picture in pictures.items()}


GOLDEN: dict[str, Callable[[], Any]] = {
    "help.txt": help_text,
    "make_help.txt": make_help,
    "jobs.txt": job_texts,
    "snap_nodes.json": snap_nodes,
    "indices.json": index_values,
    "gamma0_blocks.json": gamma0_blocks,
    "seams.json": seam_figures,
}


def main() -> None:
    """Write every file of tests/golden/data."""
    DATA.mkdir(exist_ok=True)
    for name, function in GOLDEN.items():
        value = function()
        text = value if isinstance(value, str) else json.dumps(value, indent=1, sort_keys=True) + "\n"
        (DATA / name).write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()

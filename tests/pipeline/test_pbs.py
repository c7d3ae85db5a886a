"""Batch jobs on PBS Professional: a stand-in that refuses what the server refuses, and runs what it has taken."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import qsub
from tests.pipeline.test_import_chain import STAGES, Toy, make_inputs

ROOT = Path(__file__).parents[2]
HPC = """\
hpc:
  transfer_queue: copyq
  job: {queue: normal, walltime: 0:30:00, memory_gib: 0.5, cpus: 1, options: [-P ab12]}
  max_array: 2
  tile: {parts: 2}
  build_dataset: {parts: 3}
"""


@dataclass
class Pbs:
    """The stand-in in a folder, first on the path."""

    folder: Path

    def __post_init__(self) -> None:
        self.programs = qsub.install(self.folder)

    def call(self, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "PBS_", "S2CR_HPC"))}
        path = (
            f"{self.programs}:/usr/bin:/bin"
            if not shutil.which("sbatch", path="/usr/bin:/bin")
            else f"{self.programs}:{self.without()}"
        )
        env = {**clean, "PATH": path, "FAKE_PBS": str(self.folder), **more}
        return subprocess.run(
            [str(w) for w in words], capture_output=True, text=True, check=False, env=env, timeout=300
        )

    def without(self) -> Path:
        """A folder with links to the programs of this machine but those of Slurm."""
        folder = self.folder / "usr"
        if not folder.exists():
            folder.mkdir()
            for name in (
                "sh",
                "bash",
                "env",
                "readlink",
                "dirname",
                "basename",
                "cat",
                "python3",
                "make",
                "awk",
                "git",
            ):
                found = shutil.which(name)
                if found:
                    (folder / name).symlink_to(found)
        return folder

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        return qsub.load(self.folder)["jobs"]  # type: ignore[no-any-return]


@pytest.fixture
def pbs(tmp_path: Path) -> Pbs:
    folder = tmp_path / "pbs"
    folder.mkdir()
    return Pbs(folder)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    make_inputs(folder)
    return folder


@pytest.fixture
def toy(tmp_path: Path, inputs: Path) -> Toy:
    made = Toy(tmp_path, more=HPC)
    shutil.copytree(inputs, made.inputs, dirs_exist_ok=True)
    return made


@pytest.mark.slow
def test_a_chain_runs_in_the_bare_environment_of_pbs_and_gives_the_same_bytes(pbs: Pbs, toy: Toy) -> None:
    """Two elements as an array; three parts are beyond max_array, so single jobs; the first job held and released."""
    toy.conf.write_text(toy.conf.read_text().replace(str(toy.inputs), "${TOY_INPUTS}"))
    done = pbs.call(ROOT / "s2cr", "submit", toy.conf, *STAGES, TOY_INPUTS=str(toy.inputs))
    assert done.returncode == 0, done.stderr
    by_name = {
        name: number for number, name in re.findall(r"^(\d+(?:\[\])?\.pbs)\s+(\d\d-\S+)", done.stdout, re.MULTILINE)
    }
    assert len(by_name) == len(pbs.jobs) == 1 + 2 + 4 + 2
    assert by_name["02-tile"].endswith("[].pbs") and pbs.jobs[by_name["02-tile"]]["elements"] == 2
    first, tile, end = (pbs.jobs[by_name[name]] for name in ("01-import_data", "02-tile", "02-tile.finalise"))
    assert first["state"] == "Q" and first["depend"] == [], "held, then released"
    assert tile["depend"] == [["afterok", by_name["01-import_data"]]]
    assert end["depend"] == [["afterok", by_name["01-import_data"]], ["afterany", by_name["02-tile"]]]
    joined = pbs.jobs[by_name["03-build_dataset.finalise"]]["depend"]
    assert joined[1] == ["afterany", *(by_name[f"03-build_dataset.{i}"] for i in range(1, 4))]
    codes = qsub.run_all(pbs.folder, {})
    assert [code for element in codes.values() for code in element] == [0] * (1 + 2 + 1 + 3 + 1 + 2), logs(toy)
    by_jobs = toy.bytes()
    shutil.rmtree(toy.work)
    os.environ["TOY_INPUTS"] = str(toy.inputs)
    try:
        assert toy.all().bytes() == by_jobs
    finally:
        del os.environ["TOY_INPUTS"]


def logs(toy: Toy) -> str:
    return "\n".join(
        path.read_text() for path in (toy.work / "jobs").rglob("*") if path.suffix == ".log" or ".o" in path.name
    )


def test_a_failed_stage_deletes_what_follows(pbs: Pbs, toy: Toy) -> None:
    assert pbs.call(ROOT / "s2cr", "submit", toy.conf, *STAGES).returncode == 0
    (toy.inputs / "s1_d0.tif").unlink()
    codes = qsub.run_all(pbs.folder, {})
    assert list(codes.values()) == [[71]], codes


def test_a_refusal_takes_back_what_was_registered(pbs: Pbs, toy: Toy) -> None:
    done = pbs.call(ROOT / "s2cr", "submit", toy.conf, *STAGES, FAKE_PBS_MAX_JOBS="4")
    assert done.returncode == 70 and "per-user limit" in done.stderr and pbs.jobs == {}
    toy.conf.write_text(toy.conf.read_text().replace("queue: normal", "queue: nowhere"))
    done = pbs.call(ROOT / "s2cr", "submit", toy.conf, "import_data")
    assert done.returncode == 70 and "Unknown queue" in done.stderr


def test_one_part_and_one_job(pbs: Pbs, toy: Toy) -> None:
    toy.conf.write_text(toy.conf.read_text().replace("parts: 2", "parts: 1"))
    assert toy.run("import_data").returncode == 0
    done = pbs.call(ROOT / "s2cr", "submit", toy.conf, "tile")
    assert done.returncode == 0 and len(pbs.jobs) == 1, done.stderr
    (job,) = pbs.jobs.values()
    assert job["elements"] is None and job["script"].rstrip().endswith(f"exec ./s2cr tile {toy.conf}")


def test_dry_run_shows_and_keeps_nothing(pbs: Pbs, toy: Toy) -> None:
    done = pbs.call(ROOT / "s2cr", "submit", toy.conf, *STAGES, "--dry-run")
    assert done.returncode == 0 and "$ qsub -h " in done.stdout and "$ qrls <01-import_data>" in done.stdout
    assert pbs.jobs == {} and not toy.work.exists()


def test_gan_train_submits_itself_with_its_files_in_the_job(pbs: Pbs, tmp_path: Path) -> None:
    from tests.unit.tiny_sets import write_work

    write_work(tmp_path)
    profile = tmp_path / "hpc.yaml"
    profile.write_text("hpc: {train: {queue: gpuvolta, walltime: 1:00:00, segments: 2, options: [-l ngpus=1]}}\n")
    words = (ROOT / "gan_train.sh", tmp_path / "model.yaml", tmp_path / "train.yaml")
    done = pbs.call(*words, S2CR_HPC=str(profile))
    assert done.returncode == 0, done.stderr
    folder = Path(re.search(r"files and logs: (.+)", done.stderr).group(1))  # type: ignore[union-attr]
    try:
        one, two = pbs.jobs
        assert pbs.jobs[two]["depend"] == [["afterany", one]] and pbs.jobs[one]["options"]["l"] == [
            "walltime=1:00:00",
            "ngpus=1",
        ]
        assert pbs.call("qdel", two).returncode == 0  # one start of TensorFlow is enough here
        assert qsub.run_all(pbs.folder, {}) == {one: [0]}
        assert (tmp_path / "runs/small/model_card.json").is_file()
    finally:
        shutil.rmtree(folder)
    wrong = pbs.call(words[0], tmp_path / "train.yaml", tmp_path / "train.yaml")
    assert wrong.returncode == 65 and len(pbs.jobs) == 1, "found before it waits in a queue"


def test_another_qsub_is_refused(pbs: Pbs, toy: Toy) -> None:
    (pbs.programs / "qsub").write_text("#!/bin/sh\necho 'Version: 6.1.2' >&2\n")
    done = pbs.call(ROOT / "s2cr", "submit", toy.conf, "import_data")
    assert done.returncode == 77 and "not that of PBS Professional or OpenPBS: 'Version: 6.1.2'" in done.stderr


# -- the stand-in itself -----------------------------------------------------------------------------------------------

GOOD = "#!/bin/bash\n#PBS -S /bin/bash\n#PBS -N tile\n#PBS -j oe\n{more}\ntrue\n"


@pytest.mark.parametrize(
    ("more", "words", "message"),
    [
        ("", ("argument",), "arguments of a script are not taken"),
        ("#PBS -J 1-1", (), "illegal -J value"),
        ("#PBS -J 1-11", (), "Array job exceeds"),
        ("#PBS --array=1-3", (), "invalid option"),
        ("#PBS -l memory=4gb", (), "Unknown resource: memory"),
        ("#PBS -l mem=4GiB", (), "Illegal attribute or resource value"),
        ("#PBS -l select=1:ncpus=2\n#PBS -l ncpus=2", (), "cannot be used with"),
        ("#PBS -N a_name_longer_than_fifteen", (), "illegal -N value"),
        ("#PBS -q somewhere", (), "Unknown queue"),
        ("#PBS -o /no/such/folder/x.log", (), "no such folder"),
        ("#PBS -W depend=afterok:1.pbs", (), "Unknown Job Id 1.pbs"),
        ("#PBS -W depend=afterwards:1.pbs", (), "illegal -W value"),
        ("#PBS -W depend=afterok 1.pbs", (), "directive error"),
        ("#PBS -W depend=afterok;1.pbs", (), "illegal -W value"),
    ],
)
def test_the_stand_in_refuses(pbs: Pbs, tmp_path: Path, more: str, words: tuple[str, ...], message: str) -> None:
    script = tmp_path / "job.sh"
    script.write_text(GOOD.format(more=more))
    done = pbs.call("qsub", script, *words)
    assert done.returncode != 0 and message in done.stderr, done.stderr
    assert pbs.jobs == {}


def test_the_stand_in_wants_the_first_job_held_and_arrays_with_brackets(pbs: Pbs, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(GOOD.format(more="#PBS -J 1-2"))
    loose = pbs.call("qsub", script).stdout.strip()
    assert loose == "101[].pbs"
    assert "has finished" in pbs.call("qsub", "-W", f"depend=afterok:{loose}", script).stderr
    held = pbs.call("qsub", "-h", script).stdout.strip()
    assert "Unknown Job Id" in pbs.call("qsub", "-W", f"depend=afterok:{held.replace('[]', '')}", script).stderr
    assert pbs.call("qsub", "-W", f"depend=afterok:{held}", script).returncode == 0
    assert pbs.call("qrls", held).returncode == 0 and pbs.call("qrls", held).returncode != 0
    assert json.loads((pbs.folder / "server.json").read_text())["jobs"][held]["state"] == "Q"

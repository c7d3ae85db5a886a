"""The installed gpt: found, asked for its version, heap, cache and threads; shown by doctor."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fakes.gpt import install
from tests.snap_tools import ROOT, Gpt
from utils.io import health, snap_gpt
from utils.workflow.errors import ExternalError

DIAG = """\
SNAP Release version 10.0.0
SNAP home: /opt/snap
SNAP debug: null
SNAP log level: WARNING
Java home: /opt/snap/jre
Java version: 11.0.19
Processors: 48
Max memory: 35.6 GB
Cache size: 12288.0 MB
Tile parallelism: 48
Tile size: 512 x 512 pixels
"""


def test_parse_diag() -> None:
    found = snap_gpt.parse_diag(DIAG)
    assert found == snap_gpt.Diagnosis(10, "35.6 GB", "12288.0 MB", "48")
    assert str(found) == "SNAP 10, heap 35.6 GB, cache 12288.0 MB, parallelism 48"
    assert snap_gpt.parse_diag("nothing of use").version == 0


def test_bash_reads_the_same(tmp_path: Path) -> None:
    code = f'. {ROOT}/bash_scripts/lib.sh; . {ROOT}/bash_scripts/snap_lib.sh; d=$(cat); diag_version "$d"; diag_mib "$d" "Max memory"'
    result = subprocess.run(["bash", "-c", code], input=DIAG, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["10", "36454"]


@pytest.mark.parametrize(
    ("text", "mib"),
    [("8G", 8192), ("1.5g", 1536), ("512M", 512), ("2048K", 2), ("700", 700), ("8GB", None), ("", None)],
)
def test_sizes(text: str, mib: int | None) -> None:
    code = f'. {ROOT}/bash_scripts/lib.sh; . {ROOT}/bash_scripts/snap_lib.sh; to_mib "$1"'
    result = subprocess.run(["bash", "-c", code, "x", text], capture_output=True, text=True, check=False)
    assert (int(result.stdout) if result.returncode == 0 else None) == mib


def test_found_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [str(install(tmp_path / name)) for name in ("conf", "snap", "s2cr", "path")]
    monkeypatch.setenv("SNAP_GPT", programs[1])
    monkeypatch.setenv("S2CR_GPT", programs[2])
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert snap_gpt.find_gpt(programs[0]) == programs[0]
    assert snap_gpt.find_gpt() == programs[1]
    monkeypatch.delenv("SNAP_GPT")
    assert snap_gpt.find_gpt() == programs[2]
    monkeypatch.delenv("S2CR_GPT")
    assert snap_gpt.find_gpt() == programs[3]
    monkeypatch.setenv("PATH", "/nowhere")
    assert snap_gpt.find_gpt() is None
    assert not health._snap().ok and health._snap().optional


def test_doctor_shows_what_gpt_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpt = Gpt(tmp_path)
    monkeypatch.setenv("SNAP_GPT", str(gpt.program))
    monkeypatch.setenv("FAKE_GPT_VERSION", "13")
    check = health._snap()
    assert check.ok and f"{gpt.program}: SNAP 13, heap 4.0 GB, cache 1024.0 MB, parallelism" in check.found
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("SNAP_GPT", str(broken))
    assert not health._snap().ok and health._snap().optional
    with pytest.raises(ExternalError, match="--diag failed"):
        snap_gpt.diagnose(str(broken))


GRAPH = """<graph id="g"><version>1.0</version><node id="Read"><operator>Read</operator><sources/><parameters>
<file>${input}</file>{more}</parameters></node><node id="W"><operator>{writer}</operator><sources><source refid="Read"/></sources>
<parameters><file>${output}</file></parameters></node></graph>"""


@pytest.mark.parametrize(
    ("arguments", "text", "code", "error"),
    [
        ((), "{graph}", 1, "Specified 'file' [${input}] does not exist"),  # an undefined variable stays as it is
        (("-Pinput=/none.zip", "-Poutput=o.dim"), "{graph}", 1, "Specified 'file' [/none.zip] does not exist"),
        (("-Pinput=/none.zip", "-c", "5G"), "{graph}", 1, "cache size must be below the Java heap"),
        (("-Q",), "{graph}", 1, "Unknown option '-Q'"),
        ((), "graph", 1, "Unknown operator 'graph'"),  # no slash and no .xml: taken for an operator
        ((), "{unknown}", 1, "Unknown operator 'Wirte'"),
        ((), "{element}", 1, "Unknown element 'fromat'"),
        (("--diag",), "", 0, ""),
        (("-h",), "", 0, ""),
    ],
)
def test_the_stand_in_is_as_strict_as_gpt(
    tmp_path: Path, arguments: tuple[str, ...], text: str, code: int, error: str
) -> None:
    names = {"graph": ("", "Write"), "unknown": ("", "Wirte"), "element": ("<fromat>x</fromat>", "Write")}
    paths = {}
    for name, (more, writer) in names.items():
        path = tmp_path / f"{name}.xml"
        path.write_text(GRAPH.replace("{more}", more).replace("{writer}", writer))
        paths[name] = str(path)
    target = text.format(**paths)
    gpt = Gpt(tmp_path)
    result = subprocess.run(
        [gpt.program, *([target] if target else []), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=gpt.environment(HOME=str(tmp_path)),
    )
    assert result.returncode == code
    assert (not error) or (result.stderr.splitlines()[-1].startswith("Error: ") and error in result.stderr), (
        result.stderr
    )


def memory_of_job(folder: Path, **env: str) -> int:
    code = f". {ROOT}/bash_scripts/lib.sh; . {ROOT}/bash_scripts/snap_lib.sh; job_memory_mib"
    (folder / "meminfo").write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\n")
    (folder / "none").write_text("")
    base = {
        "PATH": "/usr/bin:/bin",
        "MEMINFO": str(folder / "meminfo"),
        "CGROUP": str(folder / "cg"),
        "CGROUP_SELF": str(folder / "none"),
    }
    result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, env=base | env)
    return int(result.stdout)


def test_memory_of_the_job(tmp_path: Path) -> None:
    """The smallest of machine, scheduler and control group; a limit may be set some levels above the process."""
    assert memory_of_job(tmp_path) == 16384
    assert memory_of_job(tmp_path, SLURM_MEM_PER_NODE="0") == 16384, "0 means all of the node"
    assert memory_of_job(tmp_path, SLURM_MEM_PER_NODE="8000", SLURM_MEM_PER_CPU="100") == 8000
    assert memory_of_job(tmp_path, SLURM_MEM_PER_CPU="500", SLURM_CPUS_PER_TASK="4") == 2000
    job = tmp_path / "cg/slurm/job_1/step_0/task_0"
    job.mkdir(parents=True)
    (job / "memory.max").write_text("max\n")
    (tmp_path / "cg/slurm/job_1/memory.max").write_text(f"{3000 << 20}\n")
    (tmp_path / "self2").write_text("0::/slurm/job_1/step_0/task_0\n")
    assert memory_of_job(tmp_path, CGROUP_SELF=str(tmp_path / "self2")) == 3000
    assert memory_of_job(tmp_path, CGROUP_SELF=str(tmp_path / "self2"), SLURM_MEM_PER_NODE="2500") == 2500
    old = tmp_path / "cg/memory/slurm/uid_0/job_2/step_0"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (old.parent / "memory.limit_in_bytes").write_text(f"{1500 << 20}\n")
    (tmp_path / "self1").write_text("4:memory:/slurm/uid_0/job_2/step_0\n3:cpu,cpuacct:/x\n0::/\n")
    assert memory_of_job(tmp_path, CGROUP_SELF=str(tmp_path / "self1")) == 1500

"""What the tests of the SNAP engine share: a small scene, orbit files made of a product's own vectors, calls of gpt.sh."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.gpt import install
from utils.io import safe_s1
from utils.io.safe import open_product

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "bash_scripts"
AREA = "POLYGON ((149.2680733 -35.2784357, 149.2652453 -35.1768026, 149.1414543 -35.1790555, 149.144128 -35.280697, 149.2680733 -35.2784357))"
SETTINGS = ("SNAP_", "SLURM_", "FAKE_GPT_", "S2CR_GPT", "KEEP_TMP", "PBS_", "CGROUP", "MEMINFO", "PART")
_PIXELS = tempfile.TemporaryDirectory(prefix="s2cr-gpt-")  # of all runs of this session


@dataclass
class Gpt:
    """A folder with the stand-in for gpt, and calls of the scripts that find it there."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.program = install(self.folder / "bin")
        self.calls_file = self.folder / "calls.jsonl"

    def environment(self, **more: str) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS)}
        tmp = self.folder / "tmp"
        tmp.mkdir(exist_ok=True)
        path = f"{self.folder / 'bin'}{os.pathsep}{clean['PATH']}"
        own = {
            "PATH": path,
            "FAKE_GPT_CALLS": str(self.calls_file),
            "FAKE_GPT_CACHE": _PIXELS.name,
            "TMPDIR": str(tmp),
            "SNAP_HEAP": "2G",
            "SNAP_CACHE": "512M",
        }
        return {key: value for key, value in {**clean, **own, **self.env, **more}.items() if value != ""}

    def run(self, script: str, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPTS / script, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=self.environment(**env),
        )

    def start(self, script: str, *arguments: str | Path, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SCRIPTS / script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.environment(**env), start_new_session=True,
        )  # fmt: skip

    def calls(self) -> list[dict[str, object]]:
        """What the stand-in was called with, --diag left out."""
        if not self.calls_file.is_file():
            return []
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def user_folders(self) -> list[str]:
        """User directories that were left behind."""
        return sorted(path.name for path in (self.folder / "tmp").iterdir())


def left_behind(out: Path) -> list[str]:
    """What a run left in its output folder besides the logs."""
    return sorted(path.name for path in out.iterdir() if path.name != "logs") if out.is_dir() else []


def write_orbit(product: Path, folder: Path, kind: str = "POEORB", valid: str = "", mission: str = "") -> Path:
    """An orbit file that holds the state vectors of a product's annotation, and is valid around its day."""
    with open_product(product) as opened:
        member = next(iter(safe_s1.find_members(opened).values())).annotation
        note = safe_s1.read_annotation(opened, member)
    mission = mission or note.mission
    day = note.first_line_time.astype("datetime64[D]")
    valid = valid or f"{str(day - 1).replace('-', '')}T225942_{str(day + 1).replace('-', '')}T005942"
    path = folder / f"{mission}_OPER_AUX_{kind}_OPOD_20210316T161714_V{valid}.EOF"
    vectors = [
        f"<OSV><UTC>UTC={str(time)[:26]}</UTC>"
        + "".join(f"<{axis}>{value!r}</{axis}>" for axis, value in zip("XYZ", map(float, place), strict=True))
        + "".join(f"<V{axis}>{value!r}</V{axis}>" for axis, value in zip("XYZ", map(float, speed), strict=True))
        + "</OSV>"
        for time, place, speed in zip(note.orbit_times, note.orbit_position_m, note.orbit_velocity_m_s, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    start, stop = (f"{v[:4]}-{v[4:6]}-{v[6:8]}T{v[9:11]}:{v[11:13]}:{v[13:15]}" for v in valid.split("_"))
    path.write_text(
        f"<Earth_Explorer_File><Earth_Explorer_Header><Fixed_Header><Mission>Sentinel-{mission[1:]}</Mission><Validity_Period>"
        f"<Validity_Start>UTC={start}</Validity_Start><Validity_Stop>UTC={stop}</Validity_Stop></Validity_Period></Fixed_Header>"
        "<Variable_Header><Ref_Frame>EARTH_FIXED</Ref_Frame></Variable_Header></Earth_Explorer_Header>"
        f"<Data_Block type='xml'><List_of_OSVs count='{len(vectors)}'>{''.join(vectors)}</List_of_OSVs></Data_Block></Earth_Explorer_File>"
    )
    return path

"""The command line and the Makefile: help, examples, speed, every target."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from utils.workflow.stages import STAGES

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TOOLS = (
    "area", "conf", "docs", "doctor", "fetch_dem", "fetch_orbits", "from_names", "models", "plan", "s2_minmax", "scores",
    "snap_check", "snap_graph", "snap_plan", "snap_region", "snap_verify", "submit", "tile_check",
)  # fmt: skip


def call(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "s2cr"), *arguments], capture_output=True, text=True, timeout=60, check=False, **more
    )  # type: ignore[call-overload,no-any-return]


def test_help_lists_every_stage_without_loading_anything_heavy() -> None:
    begin = time.monotonic()
    result = call("--help")
    seconds = time.monotonic() - begin
    assert result.returncode == 0
    for name in (*STAGES, *TOOLS):
        assert re.search(rf"^  {name}\s", result.stdout, re.MULTILINE), name
    code = "import sys, scripts.__main__; print([m for m in ('tensorflow','keras','osgeo','numpy','scipy') if m in sys.modules])"
    python = (
        subprocess.run([ROOT / ".venv/bin/python", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
        if (ROOT / ".venv").exists()
        else None
    )
    assert python is None or python.stdout.strip() == "[]"
    print(f"./s2cr --help: {seconds:.2f} s")  # measured by `make bench`, not asserted here


@pytest.mark.parametrize("name", [*STAGES, *TOOLS])
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = call(name, "--help")
    assert result.returncode == 0, result.stderr
    assert f"./s2cr {name}" in result.stdout and "Example" in result.stdout


def test_import_is_an_alias() -> None:
    assert call("import", "--help").returncode == 0


def test_a_missing_configuration_ends_with_65_and_a_remedy() -> None:
    result = call("tile", "confs/no_such.yaml")
    assert result.returncode == 65
    assert "no_such.yaml: no such configuration file" in result.stderr and "Traceback" not in result.stderr


def test_a_missing_argument_is_usage() -> None:
    assert call("tile").returncode == 2
    assert call("tile", "confs/demo.yaml", "--part", "3/2").returncode == 2


def test_a_misspelt_command_names_the_nearest() -> None:
    result = call("tle", "confs/demo.yaml")
    assert result.returncode == 2 and "Did you mean 'tile'?" in result.stderr


def test_scripts_started_directly_do_the_same() -> None:
    python = ROOT / ".venv/bin/python"
    if not python.exists():
        pytest.skip("no .venv in this checkout")
    result = subprocess.run(
        [python, ROOT / "scripts/plan.py", "--help"], capture_output=True, text=True, check=False, cwd="/"
    )
    assert result.returncode == 0 and "./s2cr plan" in result.stdout


def test_a_rogue_utils_package_does_not_win(tmp_path: Path) -> None:
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils/__init__.py").write_text("raise SystemExit('rogue')")
    assert call("conf", "explain", "work", cwd=tmp_path).returncode == 0


def targets() -> set[str]:
    names: set[str] = set()
    for line in MAKEFILE.splitlines():
        match = re.match(r"^([a-z0-9_ -]+):(?!=)", line)
        if match:
            names |= set(match.group(1).split())
    return names


def test_every_stage_and_published_name_is_a_phony_target() -> None:
    phony = set(re.search(r"\.PHONY: ((?:.*\\\n)*.*)", MAKEFILE).group(1).replace("\\\n", " ").split())  # type: ignore[union-attr]
    for facts in STAGES.values():
        assert {facts.name, *facts.published} <= targets(), facts.name
    assert targets() - {"bench-%"} <= phony | {"bench-"}, targets() - phony


def test_make_help_shows_every_stage() -> None:
    text = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for name in STAGES:
        assert re.search(rf"^  {name}\s", text, re.MULTILINE), name


@pytest.mark.parametrize("target", sorted(targets() - {"bench-"}))
def test_every_target_resolves(target: str) -> None:
    """make -n: recipes and prerequisites exist; nothing runs."""
    result = subprocess.run(
        ["make", "-n", target, "S2CR_ENV=/nowhere"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr


def test_make_prerequisites_agree_with_the_stage_table() -> None:
    """What STAGES says a stage needs, make builds before it."""
    needs: dict[str, set[str]] = {}
    for line in MAKEFILE.splitlines():
        match = re.match(r"^([a-z0-9_]+):([a-z0-9_ ]*)(##|$)", line)
        if match:
            needs.setdefault(match.group(1), set()).update(match.group(2).split())

    def closure(name: str) -> set[str]:
        found: set[str] = set()
        for up in needs.get(name, set()):
            found |= {up} | closure(up)
        return found

    for facts in STAGES.values():
        assert set(facts.upstream) <= closure(facts.name), facts.name


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("submit", "STAGES=tile train"), "./s2cr submit    confs/demo.yaml tile train"),
        (
            ("submit", "STAGES=all", "HPC=h.yaml", "DRY_RUN=1", "CONF=c.yaml"),
            "./s2cr submit --hpc h.yaml --dry-run  c.yaml all",
        ),
        (("train", "predict", "SUBMIT=1", "DRY_RUN=1"), "./s2cr submit  --dry-run  confs/demo.yaml train predict"),
        (("all", "SUBMIT=1", "ARGS=--scheduler pbs"), "./s2cr submit   --scheduler pbs confs/demo.yaml all"),
    ],
)
def test_stages_are_submitted_by_make(words: tuple[str, ...], line: str) -> None:
    done = subprocess.run(["make", "-n", *words], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines() == ["bash_scripts/env.sh", line, *([":"] if "predict" in words else [])]

"""Who may import what: read from the source, so that a wrong import fails here and not on a cluster."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STDLIB = set(sys.stdlib_module_names)
IO_MODULES = {"errors", "files"}
SCIENCE_OUTSIDE = {"numpy", "scipy", "sklearn", "numba"}


def imports(path: Path) -> set[str]:
    """Dotted names of all imported modules, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.py"))


def top(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("path", modules("utils/science"), ids=lambda p: p.name)
def test_science_knows_no_files(path: Path) -> None:
    for name in imports(path):
        own = name.startswith("utils.science")
        assert own or top(name) in STDLIB | SCIENCE_OUTSIDE or name.startswith("__future__"), (
            f"{path.name} imports {name}"
        )
        allowed = {"os"} if path.name == "threads.py" else set()  # processor affinity, numba's cache folder
        assert top(name) not in {"io", "pathlib", "os", "socket", "subprocess", "shutil"} - allowed, (
            f"{path.name} imports {name}"
        )
    assert not [
        n
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and getattr(n.func, "id", "") in {"open", "print"}
    ]


@pytest.mark.parametrize("path", modules("utils/workflow"), ids=lambda p: p.name)
def test_workflow_is_light(path: Path) -> None:
    for name in imports(path):
        assert name.startswith("utils.workflow") or top(name) in STDLIB | {"yaml", "pydantic"}, (
            f"{path.name} imports {name}"
        )


@pytest.mark.parametrize("path", modules("utils/io"), ids=lambda p: p.name)
def test_io_knows_no_configuration(path: Path) -> None:
    for name in imports(path):
        assert top(name) not in {"click", "tensorflow", "keras", "scripts", "models"}, f"{path.name} imports {name}"
        if name.startswith("utils.workflow"):
            assert name.split(".")[2] in IO_MODULES, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", modules("models"), ids=lambda p: p.name)
def test_models_know_no_files_of_others(path: Path) -> None:
    for name in imports(path):
        assert top(name) not in {"click", "osgeo", "scripts"}, f"{path.name} imports {name}"
        assert not name.startswith("utils.io"), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", [p for p in modules("scripts") if not p.name.startswith("_")], ids=lambda p: p.name)
def test_scripts_do_not_import_one_another_and_start_light(path: Path) -> None:
    for name in imports(path):
        if top(name) == "scripts":
            assert name.split(".")[1].startswith("_"), f"{path.name} imports {name}"
    for node in ast.parse(path.read_text()).body:  # module level: nothing heavy
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                assert top(name) not in {
                    "numpy",
                    "tensorflow",
                    "keras",
                    "osgeo",
                    "scipy",
                    "sklearn",
                    "models",
                    "matplotlib",
                    "shapely",
                }, name
                assert not name.startswith(("utils.io", "utils.science")), f"{path.name} imports {name} when it loads"


def test_no_loose_module_in_utils() -> None:
    assert [p.name for p in (ROOT / "utils").glob("*.py")] == ["__init__.py"]


def test_forbidden_calls() -> None:
    for folder in ("utils", "models", "scripts", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            names = {top(name) for name in imports(path)}
            assert not names & {"pickle", "joblib", "dill", "shelve"}, path
            text = path.read_text()
            assert "shell=True" not in text and "yaml.load(" not in text and "os.system(" not in text, path


def test_one_raster_library() -> None:
    for folder in ("utils", "models", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "rasterio" not in {top(name) for name in imports(path)}, path

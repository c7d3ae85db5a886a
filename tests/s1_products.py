"""Small generated Sentinel-1 products, copies of them with members changed, and the check of a refusal."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.s1_stage import convert
from utils.io.synth_products import SceneProducts
from utils.workflow.errors import Error
from utils.workflow.layout import Layout
from utils.workflow.schema import Scene

SIZE_PX = 128
Edit = Callable[[str, bytes], bytes | None]


def make_products(work: Path, *plans: str) -> Path:
    """Ground and products of S1_PLANS of a scene of 128 px in work/scene; returns work."""
    products = SceneProducts(Scene(size_px=SIZE_PX, speckle=False, thermal_noise=True))
    products.write_ground(work / "scene", {})
    for plan in plans:
        products.write_s1(plan, work / "scene" / plan)
    return work


def zip_of(work: Path, plan: str = "s1_t0") -> Path:
    return next((work / "scene" / plan).glob("*.zip"))


def edited(source: Path, target: Path, edit: Edit, name: str | None = None) -> Path:
    """Copy of a product in folder `target` with members changed; None leaves a member out."""
    path = target / (name or source.name)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            data = edit(entry.filename, old.read(entry))
            if data is not None:
                new.writestr(entry.filename, data)
    return path


def expect_refusal(work: Path, archive: Path, kind: type[Error], code: int, text: str, **settings: object) -> Error:
    """The stage's conversion ends with this class, code and text, names a remedy, and leaves no file at all."""
    before = everything(work)
    with pytest.raises(kind, match=text) as caught:
        convert(work, archive, **settings)  # type: ignore[arg-type]
    assert caught.value.exit_code == code
    assert len(caught.value.remedy) > 10
    assert caught.value.remedy.endswith((".", "..."))
    assert everything(work) == before
    return caught.value


def everything(work: Path) -> list[str]:
    """Names of all results and temporary files of the stage."""
    return sorted(str(path) for path in Layout(work).preprocessed_root.rglob("*"))

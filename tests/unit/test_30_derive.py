"""Configurations made from configurations."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from pydantic import ValidationError

from utils.workflow import config, derive

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["demo", "nsw_south_coast"])
def test_written_and_read_again_is_equal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2CR_ARCHIVE", "/somewhere/0256: #x")  # text that bare YAML would take for something else
    conf = derive.changed(config.load(ROOT / "confs" / f"{name}.yaml"), {"report.title": 'yes "no" 1e-4 12:30'})
    (tmp_path / "conf.yaml").write_text(derive.to_yaml(conf))
    assert config.load(tmp_path / "conf.yaml") == conf


def test_changes_are_checked() -> None:
    conf = config.load(ROOT / "confs/demo.yaml")
    other = derive.changed(
        conf, {"dates.t0": {"start": dt.date(2019, 11, 6), "end": dt.date(2019, 11, 7)}, "search.s2_t0": ("a",)}
    )
    assert (other.dates.t0.start, other.search.s2_t0) == (dt.date(2019, 11, 6), ("a",))
    assert conf.search.s2_t0 == () and other.dates.t1 == conf.dates.t1
    with pytest.raises(ValidationError):
        derive.changed(conf, {"search.coverage": 2.0})


def test_the_generated_scene_becomes_files() -> None:
    conf = config.load(ROOT / "confs/demo.yaml")
    other = derive.with_scene_files(conf)
    assert not other.scene.enabled and other.report.synthetic
    assert (other.search.archive, other.preprocess.dem.path) == ("work/demo/scene/archive", "work/demo/scene/dem.tif")
    assert config.resolve(other, other.area.geojson or "") == config.resolve(conf, conf.area.geojson or "")
    assert derive.below(conf, "from_names", "x") == "work/demo/from_names/x"

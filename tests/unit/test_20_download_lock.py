"""raw/downloads.lock.json: who may replace which records."""

from pathlib import Path

import pytest

from utils.io import download_lock
from utils.workflow.errors import InputError


def test_download_keeps_what_other_commands_own(tmp_path: Path) -> None:
    orbit = {"file": "orbits/o.EOF", "mission": "ORBIT"}
    tile, mosaic = {"file": "dem/t.tif", "mission": "DEM_TILE"}, {"file": "dem/dem.tif", "mission": "DEM_MOSAIC"}
    download_lock.merge_lock(tmp_path, {"o": orbit, "t": tile, "dem": mosaic})
    download_lock.write_lock(
        tmp_path, {"a": {"file": "date1/a.zip", "mission": "S1"}, "h": {"file": "dem/h.tif", "mission": "DEM"}}
    )
    assert sorted(download_lock.read_lock(tmp_path)) == ["a", "dem", "h", "o", "t"]
    download_lock.write_lock(tmp_path, {"b": {"file": "date1/b.zip", "mission": "S2"}})  # products are always replaced
    assert sorted(download_lock.read_lock(tmp_path)) == ["b", "dem", "o", "t"]
    assert download_lock.orbit_files(tmp_path) == [tmp_path / "orbits/o.EOF"]
    assert download_lock.fetched_heights(tmp_path) == tmp_path / "dem/dem.tif"
    download_lock.merge_lock(tmp_path, {"o": {**orbit, "size": 5}})
    assert download_lock.read_lock(tmp_path)["o"]["size"] == 5 and len(download_lock.read_lock(tmp_path)) == 4
    download_lock.write_lock(tmp_path, {}, keep=())
    assert download_lock.read_lock(tmp_path) == {} and download_lock.fetched_heights(tmp_path) is None


def test_a_lock_of_another_schema_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / download_lock.NAME
    path.write_text('{"schema": "s2cr.downloads/9", "files": {}}')
    for write in (download_lock.write_lock, download_lock.merge_lock):
        with pytest.raises(InputError, match="its schema is not"):
            write(tmp_path, {})
    assert "downloads/9" in path.read_text()

"""What each provider needs in the configuration, and keys replaced by the command line."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from utils.workflow import config
from utils.workflow.errors import ConfigError

DATES = "dates:\n  t0: {start: 2020-01-01, end: 2020-01-05}\n  t1: {start: 2020-02-01, end: 2020-02-05}\n"


def conf(tmp_path: Path, search: str) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(f"{DATES}search: {{{search}}}\n")
    return path


@pytest.mark.parametrize("search", ["provider: sara", "provider: cdse", "provider: stac", "archive: products",
                                    "provider: gee, download_from: cdse, gee_project: p"])  # fmt: skip
def test_complete(tmp_path: Path, search: str) -> None:
    assert config.load(conf(tmp_path, search)).search.limit == 1


@pytest.mark.parametrize(("search", "text"), [
    ("provider: gee, gee_project: p", "set search.download_from to sara or cdse"),
    ("provider: gee, gee_project: p, download_from: local", "set search.download_from to sara or cdse"),
    ("provider: gee, download_from: sara", "provider gee needs search.gee_project"),
    ("provider: cdse, endpoints: {cdse_catalogue: 'catalogue.example/odata'}", "search.endpoints.cdse_catalogue: 'catalogue.example/odata' does not"),
])  # fmt: skip
def test_incomplete(tmp_path: Path, search: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        config.load(conf(tmp_path, search))
    assert caught.value.exit_code == 65


def test_imported_rasters_need_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("source: import\n")
    assert config.load(path).search.archive is None


def test_options_replace_keys_in_sections_that_are_not_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"{DATES}search:\n")
    loaded = config.load(
        path, {"search.provider": "cdse", "search.orbit": 45, "area.geojson": "a", "dates.t0.end": dt.date(2020, 1, 9)}
    )
    assert (loaded.search.provider, loaded.search.orbit, loaded.area.geojson) == ("cdse", 45, "a")
    assert (loaded.dates.t0.start, loaded.dates.t0.end) == (dt.date(2020, 1, 1), dt.date(2020, 1, 9))


def test_errors_of_options_name_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^command line: search\.orbit: .*less than or equal to 175 \(got 176\)"):
        config.load(conf(tmp_path, "provider: cdse"), {"search.orbit": 176})
    with pytest.raises(ConfigError, match=r"^command line: dates\.t0\.end 2019-12-31 is not after"):
        config.load(conf(tmp_path, "provider: cdse"), {"dates.t0.end": dt.date(2019, 12, 31)})

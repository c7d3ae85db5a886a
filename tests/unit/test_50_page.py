"""report.html: its figures are those of the files, its maps are there, its warnings come first."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from scripts import _page, _page_provenance, _page_scores, _page_tables
from scripts._context import Context
from tests.unit import page_case, tiny_judged
from utils.io import html, pictures
from utils.science import severity


class Tables(HTMLParser):
    """Every table of a page: label -> rows of texts, and the cells that are marked best."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self.best: dict[str, set[tuple[int, int]]] = {}
        self._label, self._inside = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag == "div" and facts.get("class") == "scroll":
            self._label = str(facts["aria-label"])
            self.rows[self._label], self.best[self._label] = [], set()
        elif tag == "tr":
            self.rows[self._label].append([])
        elif tag in ("td", "th"):
            self._inside = True
            row = self.rows[self._label][-1]
            row.append("")
            if facts.get("class") == "best":
                self.best[self._label].add((len(self.rows[self._label]) - 2, len(row) - 1))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[self._label][-1][-1] += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> page_case.Page:
    return page_case.build(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def tables(page: page_case.Page) -> Tables:
    return Tables(page.text)


def test_figures_are_those_of_evaluate_json(page: page_case.Page, tables: Tables) -> None:
    scores = page.json("reports/evaluate.json")
    label = "Image, against the hidden clear t1, pixels under cloud too (synthetic)"
    head, *rows = tables.rows[label]
    assert [row[0] for row in rows] == ["copy_t0", "linear_gain", "good", "bad"], (
        "copy_t0 first, then rivals, then runs"
    )
    for row in rows:
        strata = scores["methods"][row[0]]["hidden"]["strata"]
        shown = dict(zip(head, row, strict=True))
        low, high = strata["changed"]["interval"]["skill"]
        expected = f"{strata['changed']['skill']:.2f} [{low:.2f}, {high:.2f}]"
        assert shown["skill changed [95\xa0%]"] == expected
        assert shown["MAE"] == f"{strata['all']['mae']:.4f}" and shown["PSNR all"] == f"{strata['all']['psnr']:.2f}"
    best = {(row, column) for row, column in tables.best[label] if head[column] == "MAE"}
    smallest = min(scores["methods"][row[0]]["hidden"]["strata"]["all"]["mae"] for row in rows)
    winners = [
        i for i, row in enumerate(rows) if scores["methods"][row[0]]["hidden"]["strata"]["all"]["mae"] == smallest
    ]
    assert {row for row, _ in best} == set(winners)


def test_every_stratum_of_the_file_has_a_row(page: page_case.Page) -> None:
    """Also those of a kind, in a table of their own."""
    scores = page.json("reports/evaluate.json")
    for method in ("good", "bad"):
        for truth in ("hidden", "observed"):
            strata = scores["methods"][method][truth]["strata"]
            strata |= {
                "class:water": {**strata["burned"], "pixels": 12.0},
                "aspect:N": strata["changed"],
                "lag:none": {"pixels": 0.0},
            }
    made = Tables("".join(_page_scores.strata(page.context(), scores)))
    for truth, words in (
        ("hidden", "the hidden clear t1, pixels under cloud too"),
        ("observed", "clear pixels of the observed t1"),
    ):
        head, *rows = made.rows[f"Skill [95 %] by stratum, against {words} (synthetic)"]
        _, *kinds = made.rows[f"Skill [95 %] by kind of ground, lag and source, against {words} (synthetic)"]
        strata = scores["methods"]["good"][truth]["strata"]
        wanted = {_page_scores.stratum_words(name): figures for name, figures in strata.items() if figures["pixels"]}
        assert [row[0] for row in rows][:3] == ["all", "changed", "unchanged"]
        assert {row[0] for row in (*rows, *kinds)} == set(wanted) and len(rows) >= 5
        assert {"class: water", "aspect: N"} <= {row[0] for row in kinds} and not any(":" in row[0] for row in rows)
        column = head.index("good")
        for row in (*rows, *kinds):
            figures = wanted[row[0]]
            assert row[1] == f"{figures['pixels']:.0f}"
            if figures["skill"] is not None:
                assert row[column].startswith(f"{figures['skill']:.2f}")


def test_hectares_are_those_of_the_manifest_truth_first(page: page_case.Page, tables: Tables) -> None:
    items = page.json("manifests/burned.json")["items"]
    _, *rows = tables.rows["Hectares from dNBR (synthetic)"]
    assert [row[0] for row in rows] == [
        "p001, hidden truth",
        "p001, observed t1 where clear",
        "p001, good",
        "p001, bad",
    ]
    for row, name in zip(rows, ("hidden", "truth", "good", "bad"), strict=True):
        data = items[f"{name}/p001"]["data"]["dnbr"]
        assert row[1].split()[0] == f"{data['burned_ha']:.1f}"
        assert row[2 : 2 + len(data["class_ha"])] == [f"{value:.1f}" for value in data["class_ha"]]


def test_intervals_of_the_area(tables: Tables) -> None:
    head, *rows = tables.rows["Burned hectares from dNBR with 95 % intervals (synthetic)"]
    assert [row[0] for row in rows] == ["p001, good"], "only maps that have an interval"
    row = dict(zip([cell.replace("\xa0", " ") for cell in head], rows[0], strict=True))
    assert row["blocks ha [95 %]"] == row["from sigma ha [95 %]"] == "21.2 [18.5, 24.0]"
    assert row["stratified ha [95 %]"] == "-" and row["bootstrap ha [95 %]"] == "20.0" and row["true ha"] == "21.4"
    assert "Burned hectares from dNDVI with 95 % intervals (synthetic)" not in tables.rows


def test_severity_and_burned_agree_with_the_file(page: page_case.Page, tables: Tables) -> None:
    figures = page.json("reports/evaluate.json")["methods"]["good"]["hidden"]["burned"]["NBR"]
    head, *rows = tables.rows[
        "Severity classes from dNBR, against the hidden clear t1, pixels under cloud too (synthetic)"
    ]
    row = dict(zip(head, next(row for row in rows if row[0] == "good"), strict=True))
    assert head[4:] == [f"recall {name.replace('_', ' ')}" for name in severity.DNBR_NAMES], "classes in their order"
    assert row["overall"] == f"{figures['severity']['oa']:.2f}"
    assert row["weighted kappa"] == f"{figures['severity']['kappa_quadratic']:.2f}"
    head, *rows = tables.rows[
        "Burned or not, against the map of the hidden clear t1, pixels under cloud too (synthetic)"
    ]
    row = dict(zip(head, next(row for row in rows if row[0] == "good"), strict=True))
    assert row["dNBR F1 [95\xa0%]"].startswith(f"{figures['f1']:.2f} [") and row["dNBR IoU"] == f"{figures['iou']:.2f}"


def test_coverage_models_and_inputs_are_named(page: page_case.Page, tables: Tables) -> None:
    _, *rows = tables.rows["Coverage of the expected errors (synthetic)"]
    assert ["good", "validation", "all", "0.671", "0.948", "0.123", "0.456"] in rows
    assert ["good", "validation", "changed", "0.500", "0.800", "-", "0.200"] in rows
    models = next(rows for rows in tables.rows.values() if rows[0][0] == "run" and "parameters" in rows[0])
    assert models[1] == ["good", "resunet", "23757", "2", "ab" * 16, "keras 3.15.1"]
    products = next(rows for rows in tables.rows.values() if rows[0] == ["date", "sensor", "product"])
    assert ["d1", "Sentinel-2", "S2_d1"] in products


def test_inputs_that_stages_did_not_hash_are_hashed(page: page_case.Page, tables: Tables, tmp_path: Path) -> None:
    rows = next(rows for rows in tables.rows.values() if rows[0] == ["stage", "file", "SHA-256"])[1:]
    shown = {file.rsplit("/", 1)[-1]: digest for _, file, digest in rows}
    truth = page.conf.parent / "truth/S2_t1_clear.tif"
    assert shown["S2_t1_clear.tif"] == hashlib.sha256(truth.read_bytes()).hexdigest()[:32]
    old = tmp_path / "old.tif"
    old.write_bytes(b"then")
    facts = [old.stat().st_size, old.stat().st_mtime_ns, ""]
    old.write_bytes(b"now it is longer")
    known = [4, "ab" * 32]
    rows = _page_provenance._digests(
        page.context(), [("import_data", str(old), facts), ("download", "raw/x.zip", known)]
    )
    assert [row[2] for row in rows] == ["4 bytes, not hashed", "ab" * 16]


def test_what_speaks_against_it_stands_before_the_maps(page: page_case.Page) -> None:
    text = page.text
    start = text[: text.index("id='maps'")]
    assert "DOMAIN=outside for good at p001" in start and "DOMAIN=outside for bad" not in text
    assert "bad is no better than copying t0 on changed pixels (skill 0.00)" in start
    assert "blocks of test ground: the intervals are rough" in start
    assert text.count("DOMAIN=outside for good") == 2, "at the top and in the section on limits"


def picture(text: str, name: str) -> np.ndarray:
    from PIL import Image

    data = re.search(rf"<img src='data:image/webp;base64,([^']+)' alt='{re.escape(name)}'", text)
    assert data, f"no layer {name}"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.group(1)))).convert("RGB"))


def test_layers_hold_what_the_rasters_hold(page: page_case.Page) -> None:
    text = page.text
    abstain = picture(text, "good: abstain")
    assert (abstain[:, :48] == pictures.ABSTAIN_RGB[1]).all() and (abstain[:, 48:] == pictures.ABSTAIN_RGB[0]).all()
    middle = pictures.ramp(np.full((1, 1), 0.05), 0.0, pictures.SIGMA_MAX, "spread")[0, 0].astype(int)
    assert np.abs(picture(text, "good: sigma").astype(int) - middle).max() <= 3
    share = picture(text, "probability burned dNBR simulated by good").astype(int)
    quarter = pictures.ramp(np.full((1, 1), 0.25), 0.0, 1.0, "share")[0, 0].astype(int)
    assert np.abs(share[:, :44] - quarter).max() <= 4 and np.abs(share[:, 52:] - pictures.NODATA_RGB).max() <= 4
    assert "on the ground of composite.tif that has one; 19.0 ha are counted there" in text
    assert "fewer than two samples" in text and "measured on 10 validation pixels" in text
    burned = picture(text, "burned dNBR of the truth")
    assert (burned[12:48, 10:26] == pictures.BURNED_RGB[1]).all() and (burned[:4] == pictures.BURNED_RGB[0]).all()
    for name in ("S2 t0", "S1 change", "S2 t1 observed", "S2 t1 hidden truth", "good: t1 simulated", "good: composite",
                 "good: source of the composite", "good: error", "copy_t0: error", "severity dNBR simulated by good"):  # fmt: skip
        assert picture(text, name).shape == (*tiny_judged.GRID.shape, 3)
    for caption in ("-6 dB", "0.1 reflectance", "do not use", "feathered", "moderate low", "B04 B03 B02"):
        assert caption in text


def test_a_page_without_the_optional_files(page: page_case.Page) -> None:
    folder = page.work / "mosaic/good/p001"
    names = ("sigma.tif", "abstain.tif", "source.tif", "composite.tif")
    kept = {name: (folder / name).read_bytes() for name in names}
    card = page.work / "runs/good/model_card.json"
    words = card.read_text()
    try:
        for name in names:
            (folder / name).unlink()
        card.unlink()
        text = "".join(_page.parts(page.context()))
    finally:
        for name, data in kept.items():
            (folder / name).write_bytes(data)
        card.write_text(words)
    assert "good: error" in text and "id='scores'" in text
    assert "good: sigma" not in text and "good: composite" not in text and "id='uncertainty'" not in text


def test_a_scene_larger_than_the_pictures_gets_a_close_look(page: page_case.Page) -> None:
    viewers = _page._viewers(page.context(max_px=40, detail_px=32), "p001")
    whole, close = viewers
    assert whole.views[0].picture.shape == (22, 32, 3) and "mean of 3 x 3" in whole.words
    assert whole.grid.dx == 30.0 and close.grid.dx == 10.0
    assert close.views[0].picture.shape == (32, 32, 3) and "Full resolution" in close.words
    # the middle one of the three burnt areas has the largest square of change
    shown = next(view.picture for view in close.views if view.key == "burned_DNBR:hidden")
    share = (shown == pictures.BURNED_RGB[1]).all(axis=-1).mean()
    print(f"{share:.2f} of the close look is burnt (limit 0.45)")
    assert share > 0.45
    assert not any(view.key.endswith("_ir") for view in close.views)
    assert len(_page._viewers(page.context(max_px=40, detail_px=0), "p001")) == 1


def test_pictures_give_way_to_the_size_of_the_page(page: page_case.Page) -> None:
    def made(max_mb: float) -> tuple[int, Context]:
        ctx = page.context(max_mb=max_mb)
        layers = _page._compressed(ctx, _page._viewers(ctx, "p001"))
        return sum(len(html.data_uri(layer.data, "")) - len("data:;base64,") for some in layers for layer in some), ctx

    free, ctx = made(15.0)
    assert not ctx.warnings
    tight, ctx = made((free - 1 + _page.TEXT_BYTES) / 1e6)
    assert tight < free and not ctx.warnings
    smallest, ctx = made(0.701)
    assert smallest <= tight
    assert "larger than report.max_mb (0.701 MB)" in ctx.warnings[0] and "report.max_px" in ctx.warnings[0]


def test_strata_come_in_an_order_that_reads() -> None:
    names = ["all", "changed", "changed_05", "burned", "aspect:NE", "aspect:W", "aspect:flat", "class:water"]
    names += ["lag:0-15 d", "lag:16-31 d", "lag:64+ d", "slope:0-10", "slope:25-35"]
    assert _page_scores.ordered(set(names)) == names
    assert (
        _page_scores.stratum_words("changed_05") == "changed over 0.05"
        and _page_scores.stratum_words("lag:0-15 d") == "lag: 0-15 d"
    )


def test_sigma_judged_on_test_ground_is_shown(page: page_case.Page) -> None:
    figures = {
        "coverage": {"68": 0.61, "95": 0.93},
        "interval": {"68": [0.5, 0.7], "95": [None, None]},
        "ause": 0.1,
        "ause_constant": 0.3,
    }
    scores = page.json("reports/evaluate.json")
    scores["methods"]["good"]["hidden"]["sigma"] = {"burned": figures, "all": figures}
    _, *rows = Tables("".join(_page_scores.uncertainty(page.context(), scores))).rows[
        "Coverage of the expected errors (synthetic)"
    ]
    assert rows[0] == ["good", "test, hidden t1", "all", "0.610 [0.500, 0.700]", "0.930", "0.100", "0.300"]
    assert rows[1][2] == "burned" and rows[2][1] == "validation"


def test_best_cells_know_what_is_better() -> None:
    head = ["method", "MAE", "PSNR all", "dNBR area bias", "dNBR slope", "skill changed [95 %]"]
    rows = [
        ["a", "0.010", "30.00", "-0.50", "0.40", "0.50 [0.1, 0.6]"],
        ["b", "0.020", "31.00", "0.10", "1.10", "-"],
        ["c", "0.010", "-", "3.00", "2.00", "0.20 [0.1, 0.3]"],
    ]
    head, rows = [*head, "kappa", "off by one"], [[*row, "0.00", str(i)] for i, row in enumerate(rows)]
    assert set(_page_tables.best_cells(rows, head)) == {(0, 1), (2, 1), (1, 2), (1, 3), (1, 4), (0, 5)}


def test_paths_of_this_machine_stay_out(page: page_case.Page) -> None:
    assert str(page.work) not in page.text.split("<summary>Configuration")[0]
    assert str(Path.cwd()) not in page.text.split("<summary>Configuration")[0]

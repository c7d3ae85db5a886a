"""Configuration: scalar rules, file:line errors, cross checks."""

import datetime as dt
from pathlib import Path

import pytest

from utils.workflow import config, pages, yaml_rules
from utils.workflow.errors import ConfigError
from utils.workflow.schema import Conf
from utils.workflow.stages import STAGES

ROOT = Path(__file__).parents[2]
DATES = "dates:\n  t0: {start: 2020-01-01, end: 2020-01-05}\n  t1: {start: 2020-02-01, end: 2020-02-05}\n"
ARCHIVE = "search: {archive: products}\n"


def conf(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(DATES + text + ("" if "search:" in text else ARCHIVE))
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("0256", "0256"), ("12:30", "12:30"), ("yes", "yes"), ("on", "on"), ("NO", "NO"), ("true", True), ("false", False),
        ("1/7", "1/7"), ("017", "017"), ("1_000", "1_000"), ("0x1f", "0x1f"), ("-3", -3), (".5", 0.5), ("", None), ("null", None),
        ("2020-02-29", dt.date(2020, 2, 29)), ("'12'", "12"), (".inf", ".inf"), ("True", "True"),
    ],
)  # fmt: skip
def test_scalars(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"key: {text}\n")
    got = yaml_rules.read(path).data["key"]
    assert got == value and type(got) is type(value)


def test_unknown_key_names_line_and_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml:5: unknown key 'size'; did you mean 'size_px'\?") as caught:
        config.load(conf(tmp_path, "tiling:\n  size: 80\n"))
    assert caught.value.exit_code == 65 and caught.value.remedy


def test_all_errors_at_once_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(conf(tmp_path, "tilling: {}\ntiling:\n  size_px: yes\nsplit:\n  buffer_m: -1.0\n"))
    lines = caught.value.message.splitlines()
    assert len(lines) == 3
    assert any(line.startswith("x.yaml:4: unknown key 'tilling'; did you mean 'tiling'") for line in lines)
    assert any(line.startswith("x.yaml:6: tiling.size_px") for line in lines)
    assert any(line.startswith("x.yaml:8: split.buffer_m") for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tiling: {size_px: 80}\ntiling: {size_px: 90}\n",
            r"x\.yaml:5: key 'tiling' is given twice \(first at x\.yaml:4\)",
        ),
        ("hpc: {password: x}\n", r"x\.yaml:4: 'password' looks like a secret"),
        ("work: ${S2CR_NO_SUCH_VARIABLE}\n", r"x\.yaml:4: the environment variable S2CR_NO_SUCH_VARIABLE is not set"),
        ("tiling: {size_px: 16, overlap_px: 16}\n", r"x\.yaml:4: tiling\.overlap_px must be less"),
        ("split:\n  shares: [0.7, 0.2, 0.2]\n", r"x\.yaml:5: split\.shares add up to 1\.1"),
        ("tiling: [\n", r"x\.yaml:\d: not valid YAML"),
        ("split:\n  buffer_m: .nan\n", r"x\.yaml:5: split\.buffer_m"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(conf(tmp_path, text))


def test_shares_in_floats_are_accepted(tmp_path: Path) -> None:
    assert sum((0.7, 0.2, 0.1)) != 1.0  # the trap
    assert config.load(conf(tmp_path, "split:\n  shares: [0.7, 0.2, 0.1]\n")).split.shares == (0.7, 0.2, 0.1)


def test_dates_in_the_wrong_order(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("dates:\n  t0: {start: 2020-02-01, end: 2020-02-05}\n  t1: {start: 2020-01-01, end: 2020-01-05}\n")
    with pytest.raises(ConfigError, match=r"x\.yaml:3: dates\.t1 starts 2020-01-01, before dates\.t0 ends 2020-02-05"):
        config.load(path)


def test_ratio_is_accepted_only_where_it_belongs(tmp_path: Path) -> None:
    assert config.load(conf(tmp_path, "normalise: {s2_scale: 1/7}\n")).normalise.s2_scale == 1 / 7
    with pytest.raises(ConfigError, match=r"split\.buffer_m"):
        config.load(conf(tmp_path, "split: {buffer_m: 1/7}\n"))


def test_extends_reports_the_file_that_holds_the_line(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("tiling:\n  size_px: 64\n  wrong: 1\n")
    (tmp_path / "x.yaml").write_text(f"extends: base.yaml\n{DATES}tiling:\n  overlap_px: 8\n{ARCHIVE}")
    with pytest.raises(ConfigError, match=r"base\.yaml:3: unknown key 'wrong'"):
        config.load(tmp_path / "x.yaml")
    (tmp_path / "base.yaml").write_text("tiling:\n  size_px: 64\n")
    loaded = config.load(tmp_path / "x.yaml")
    assert (loaded.tiling.size_px, loaded.tiling.overlap_px) == (64, 8)


def test_integers_become_floats_where_a_float_is_due(tmp_path: Path) -> None:
    assert config.load(conf(tmp_path, "split: {buffer_m: 640}\n")).split.buffer_m == 640.0


def test_default_yaml_is_the_schema() -> None:
    document = yaml_rules.read(ROOT / "confs/default.yaml")
    assert Conf.model_validate(document.data) == Conf()


def test_every_key_has_a_sentence_and_numbers_have_units() -> None:
    unitless = {"enl", "version", "seed", "fires", "limit", "orbit", "relative_orbit", "time_index", "fill_k", "bootstrap", "k", "s1_scale", "s2_scale",
                "baseline_pixels", "batch_size", "jobs", "max_pairs", "threads", "dndvi_edges", "dnbr_edges", "dndvi_burned", "dnbr_burned", "sigma"}  # fmt: skip
    for name, field, section in pages.fields(Conf):
        assert field.description and field.description.endswith("."), name
        if not section and field.annotation in (int, float) and name.rsplit(".", 1)[-1] not in unitless:
            assert pages.unit_of(field), f"{name} has no unit"


def test_stage_slices_name_existing_keys() -> None:
    known = {name for name, _, _ in pages.fields(Conf)}
    for facts in STAGES.values():
        for dotted in facts.slice + facts.external:
            assert dotted in known or any(name.startswith(f"{dotted}.") for name in known), f"{facts.name}: {dotted}"


def test_shipped_configurations_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2CR_DATA", "/nowhere")
    monkeypatch.setenv("S2CR_ARCHIVE", "/nowhere")
    for path in sorted((ROOT / "confs").glob("*.yaml")):
        if path.name != "default.yaml":
            conf = config.load(path)
            assert conf.work == f"work/{path.stem}", path.name


def test_generated_data_must_be_declared(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"x\.yaml:5: scene\.enabled generates the data: report\.synthetic must be true"
    ):
        config.load(conf(tmp_path, "source: import\nscene: {enabled: true}\n"))
    assert config.load(
        conf(tmp_path, "source: import\nscene: {enabled: true}\nreport: {synthetic: true}\n")
    ).report.synthetic

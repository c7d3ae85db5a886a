"""Pictures and the page: fixed stretches by hand, deterministic bytes, nothing that leaves the page."""

from pathlib import Path

import numpy as np
import pytest

from utils.io import pictures


def test_true_colour_stretch_by_hand() -> None:
    plane = np.array([[0.0, 0.3, 0.15, 0.9, np.nan]])
    picture = pictures.true_colour({"B04": plane, "B03": plane, "B02": np.zeros((1, 5))})
    middle = round(255 * 0.5 ** (1 / 1.4))
    assert picture[0].tolist() == [[0, 0, 0], [255, 255, 0], [middle, middle, 0], [255, 255, 0], [120, 120, 120]]


def test_the_stretch_never_depends_on_the_picture() -> None:
    generator = np.random.default_rng(1)
    plane = generator.uniform(0, 0.2, (8, 8))
    bands = {name: plane for name in ("B04", "B03", "B02")}
    part = {name: plane[:4] for name in bands}
    assert np.array_equal(pictures.true_colour(bands)[:4], pictures.true_colour(part))


def test_false_colour_needs_b12() -> None:
    plane = np.full((2, 2), 0.2)
    assert pictures.false_colour({"B08": plane, "B04": plane}) is None
    picture = pictures.false_colour({"B12": np.full((2, 2), 0.4), "B08": np.full((2, 2), 0.5), "B04": np.zeros((2, 2))})
    assert picture is not None and picture[0, 0].tolist() == [255, 255, 0]


def test_radar_ranges_by_hand() -> None:
    # VV 0 dB, VH -32.5 dB, ratio 32.5 dB cut at 15; no signal is grey
    vv, vh = np.array([[1.0, 0.0]]), np.array([[10**-3.25, 0.01]])
    assert pictures.radar(vv, vh)[0].tolist() == [[255, 0, 255], [120, 120, 120]]
    drop = pictures.radar_change(np.array([[0.1]]), np.array([[0.1 * 10**-0.6]]), 0.0)
    assert drop[0, 0].tolist() == list(pictures.RAMPS["change"][0])
    none = pictures.radar_change(np.array([[0.1]]), np.array([[0.2]]), 10 * np.log10(2))
    assert none[0, 0].tolist() == list(pictures.RAMPS["change"][2])


def test_error_and_class_colours() -> None:
    wrong = pictures.error(np.full((2, 1, 1), 0.3), np.full((2, 1, 1), 0.2))
    assert wrong[0, 0].tolist() == list(pictures.RAMPS["error"][-1])
    codes = np.array([[0, 1, 255, 9]], np.uint8)
    shown = pictures.classes(codes, pictures.BURNED_RGB)[0].tolist()
    assert shown == [[60, 90, 60], [245, 120, 45], [120, 120, 120], [120, 120, 120]]
    assert len(pictures.SEVERITY_RGB) == 6 and len(pictures.DNBR_RGB) == 7


def test_shrink_is_a_block_mean_and_classes_are_picked() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = [[[100] * 3, [200] * 3], [[0] * 3, [100] * 3]]
    assert pictures.shrink(picture, 2)[0, 0].tolist() == [100, 100, 100]
    assert pictures.shrink(picture, 2).shape == (2, 2, 3) and pictures.shrink(picture, 3).shape == (2, 2, 3)
    values = set(np.unique(pictures.shrink(picture, 2, nearest=True)))
    assert values <= {0, 100, 200}
    assert pictures.shrink(picture, 4) is picture


def test_png_round_trip_equal_bytes_and_no_metadata(tmp_path: Path) -> None:
    from PIL import Image

    picture = np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    pictures.write_png(tmp_path / "a.png", picture)
    pictures.write_png(tmp_path / "b.png", picture)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)
    for chunk in (b"tEXt", b"tIME", b"iTXt", b"zTXt"):
        assert chunk not in (tmp_path / "a.png").read_bytes()
    assert pictures.jpeg_bytes(picture) == pictures.jpeg_bytes(picture)
    with pytest.raises(ValueError, match="uint8"):
        pictures.png_bytes(picture.astype(float))


def test_contact_sheet_is_deterministic(tmp_path: Path) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    rows = [[("t0", picture), ("t1", picture)], [("error", picture)]]
    for name in ("a.png", "b.png"):
        pictures.contact_sheet(tmp_path / name, rows, "title (synthetic)")
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes() and b"Software" not in first and b"tIME" not in first


def test_label_marks_the_corner_only() -> None:
    picture = np.full((60, 200, 3), 200, np.uint8)
    marked = pictures.label(picture, "synthetic")
    assert (marked[:10, :10] != 200).any() and (marked[30:] == 200).all()
    assert pictures.label(picture[:10], "synthetic") is not None and np.array_equal(
        pictures.label(picture, ""), picture
    )

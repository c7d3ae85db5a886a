"""A training is read while it runs: torn lines, pictures of today's and of earlier tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from utils.io import watch

COLOURS = {"t0": 0.0, "prediction": 0.2, "truth": 0.4, "error": 1.0}


def test_history_leaves_out_the_line_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert watch.history(path) == []
    path.write_text(
        '{"step": 5, "train": {"loss": 0.5}, "val": {}}\n{"step": 10, "train": {"loss": 0.25}, "val": {"psnr": 30.0}}\n{"step": 1'
    )
    records = watch.history(path)
    assert [record["step"] for record in records] == [5, 10]
    assert watch.series(records, "train", "loss") == ([5, 10], [0.5, 0.25])
    assert watch.series(records, "val", "psnr") == ([10], [30.0]) and watch.series(records, "val", "none") == ([], [])


def test_newest_pictures_side_by_side(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    shown = watch.Pictures(tmp_path / "tb")
    assert shown.strips(3) == (0, [])
    writer = tf.summary.create_file_writer(str(tmp_path / "tb"))
    for step, lift in ((100, 0.5), (200, 0.0)):
        with writer.as_default():
            tf.summary.scalar("val/psnr", 30.0, step=step)
            for tile in range(3):
                for name, value in COLOURS.items():
                    tf.summary.image(
                        f"tile{tile:02d}/{name}", np.full((1, 4, 6, 3), min(1, value + lift), np.float32), step=step
                    )
        writer.flush()
        tiles_seen, pictures = shown.strips(2)
        assert tiles_seen == step and [picture.shape for picture in pictures] == [(4, 24, 3)] * 2
        expected = [round(255 * min(1, value + lift)) for value in COLOURS.values()]
        assert np.abs(pictures[0][0, ::6, 0].astype(int) - expected).max() <= 1


def test_strips_that_were_written_as_one_picture(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        for number in range(2):
            tf.summary.image(
                f"validation/{number:02d}_t0_prediction_truth_error", np.full((1, 4, 24, 3), number, np.float32), step=7
            )
    step, pictures = watch.Pictures(tmp_path).strips(5)
    assert step == 7 and [int(picture.max()) for picture in pictures] == [0, 255]

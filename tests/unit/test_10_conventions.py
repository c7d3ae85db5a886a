"""Scorers of other papers on a real pair: the printed digits, and independent implementations where they agree.

Where a library differs, the test holds the factor that explains it, and docs/scores.md tells it.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from sewar import full_ref as sewar
from sewar.utils import Filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from utils.science import metrics, similarity
from utils.science import metrics_conventions as conventions

NAME = "ROIs1970_fall_139_p839.tif"
Image = np.ndarray


@cache
def real_pair() -> tuple[Image, Image]:
    """A cloudy image as the prediction of the clear one, 13 bands, reflectance."""
    root = os.environ.get("S2CR_DATA")
    if not root:
        pytest.skip("S2CR_DATA is unset: the real test vector needs the sample data")
    from utils.io import raster

    paths = [Path(root) / "sen12mscr" / folder / NAME for folder in ("s2_cloudy", "s2_cloudfree")]
    cloudy, clear = (np.moveaxis(raster.read(path), 0, -1).clip(0, 10000) / 10000.0 for path in paths)
    return cloudy, clear


@cache
def made_pair(shape: tuple[int, int, int] = (40, 50, 4)) -> tuple[Image, Image]:
    generator = np.random.default_rng(1)
    truth = generator.uniform(0.02, 0.5, shape)
    return truth + generator.normal(0, 0.05, shape), truth


def both() -> list[tuple[Image, Image]]:
    return [made_pair(), real_pair()] if os.environ.get("S2CR_DATA") else [made_pair()]


def figures(name: str, digits: dict[str, int], **options: object) -> dict[str, float]:
    found = conventions.score_as(name, *real_pair(), **options)  # type: ignore[arg-type]
    print(f"{name}: {', '.join(f'{key} {found[key]:.{n}f}' for key, n in digits.items())}")
    return {key: round(found[key], n) for key, n in digits.items()}


# -- printed digits on the real pair ---------------------------------------------------------------------------


@pytest.mark.realdata
def test_vector_of_every_convention() -> None:
    image = {"mae": 4, "rmse": 4, "psnr": 2}
    vector = {"mae": 0.1087, "rmse": 0.1593, "psnr": 15.96}
    assert figures("project", {**image, "sam_deg": 2, "ssim": 4}) == {**vector, "sam_deg": 15.27, "ssim": 0.5906}
    assert figures("uncrtaints", {**image, "sam_deg": 2, "ssim": 4}) == {**vector, "sam_deg": 15.27, "ssim": 0.5961}
    assert figures("sen12mscr_ts", {**image, "sam_rad": 4, "ssim": 4}) == {**vector, "sam_rad": 0.2666, "ssim": 0.5961}
    assert figures("dsen2cr", {"mae": 4, "psnr": 2, "sam_deg": 2, "sam_rad": 4}) == {
        "mae": 0.1087, "psnr": 15.96, "sam_deg": 15.27, "sam_rad": 0.2666,
    }  # fmt: skip
    assert figures("utilise", {**image, "sam_deg": 2}) == {**vector, "sam_deg": 15.27}
    assert figures("allclear", {**image, "sam_deg": 2, "ssim": 4}) == {**vector, "sam_deg": 15.27, "ssim": 0.5906}
    assert figures("published", {"psnr_pooled_1.27": 2, "psnr_pooled_4095": 2, "ssim_no_range": 4}) == {
        "psnr_pooled_1.27": 18.03, "psnr_pooled_4095": 88.20, "ssim_no_range": 0.7016,
    }  # fmt: skip


@pytest.mark.realdata
def test_vector_of_windows_and_of_four_bands() -> None:
    cloudy, clear = real_pair()
    uniform = similarity.ssim(cloudy, clear, window=7, gaussian=False, sample_covariance=True)
    four = [1, 2, 3, 7]
    found = metrics.score(cloudy[..., four], clear[..., four])
    assert (round(uniform, 4), round(found["mae"], 4), round(found["psnr"], 2)) == (0.5395, 0.1096, 16.04)


# -- what each convention leaves out or splits, by plain arithmetic -------------------------------------------


def test_whole_image_conventions_ignore_the_mask_and_clip() -> None:
    p, t = made_pair()
    wild = p.copy()
    wild[0, 0] = [-0.5, 1.7, 0.2, 0.3]
    half = np.zeros(t.shape[:2], bool)
    half[:20] = True
    found = conventions.score_as("uncrtaints", wild, t, half)
    assert found["mae"] == pytest.approx(np.abs(wild.clip(0, 1) - t.clip(0, 1)).mean(), rel=1e-12)
    assert conventions.score_as("dsen2cr", wild, t, half)["mae"] == pytest.approx(np.abs(wild - t).mean(), rel=1e-12)
    assert conventions.score_as("allclear", p, t, half)["mae"] == pytest.approx(np.abs(p - t)[:20].mean(), rel=1e-12)
    assert set(conventions.MASKED) < set(conventions.CONVENTIONS)


def test_splits_by_the_clouds_of_the_inputs() -> None:
    p, t = made_pair()
    clear, scored = np.zeros(t.shape[:2], bool), np.ones(t.shape[:2], bool)
    clear[:, :30], scored[:10] = True, False
    error = np.abs(p.clip(0, 1) - t.clip(0, 1))
    found = conventions.score_as("sen12mscr_ts", p, t, scored, clear=clear)
    assert found["mae_cloudfree"] == pytest.approx(error[:, :30].mean(), rel=1e-12)
    assert found["mae_cloudy"] == pytest.approx(error[:, 30:].mean(), rel=1e-12)
    plain = np.abs(p - t)
    found = conventions.score_as("dsen2cr", p, t, scored, clear=clear)
    assert found["mae_clear"] == pytest.approx(plain[:, :30].mean(), rel=1e-12)
    assert found["mae_cloudy"] == pytest.approx(plain[:, 30:].mean(), rel=1e-12)
    assert found["mae_network"] == pytest.approx(5 * found["mae"], rel=1e-12)  # DN/2000 against DN/10000
    assert found["psnr"] == pytest.approx(-10 * np.log10(np.square(p - t).mean()), rel=1e-12)
    found = conventions.score_as("utilise", p, t, scored, clear=clear)
    assert found["mae"] == pytest.approx(plain[10:].mean(), rel=1e-12)
    assert found["mae_observed"] == pytest.approx(plain[10:, :30].mean(), rel=1e-12)
    assert found["rmse_occluded"] == pytest.approx(np.sqrt(np.square(p - t)[10:, 30:].mean()), rel=1e-12)


def test_allclear_by_land_class() -> None:
    p, t = made_pair()
    scored, water = np.ones(t.shape[:2], bool), np.zeros(t.shape[:2], bool)
    scored[:, :5], water[:8] = False, True
    none = np.zeros_like(water)
    found = conventions.score_as("allclear", p, t, scored, classes={"water": water, "ice": none})
    assert found["mae_water"] == pytest.approx(np.abs(p - t)[:8, 5:].mean(), rel=1e-12)
    assert np.isnan(found["mae_ice"])  # averaged over images with nanmean


def test_published_averages_decibels() -> None:
    p, t = made_pair()
    each = [-10 * np.log10(np.square(p - t)[..., band].mean()) + 20 * np.log10(4095) for band in range(4)]
    found = conventions.score_as("published", p, t)
    assert found["psnr_max_4095"] == pytest.approx(np.mean(each), rel=1e-12)
    assert found["psnr_max_4095"] > found["psnr_pooled_4095"]  # a mean of decibels is never below that of the mean
    assert conventions.remark("published") == "not comparable"
    assert "same convention only" in conventions.remark("allclear")


def test_unknown_convention() -> None:
    with pytest.raises(ValueError, match=r"unknown convention 'nobody'.*allclear"):
        conventions.score_as("nobody", *made_pair())


# -- independent implementations ------------------------------------------------------------------------------


def test_psnr_and_rmse_equal_both_libraries() -> None:
    for p, t in both():
        own = metrics.score(p, t)
        assert own["psnr"] == pytest.approx(peak_signal_noise_ratio(t, p, data_range=1), abs=1e-10)
        assert own["psnr"] == pytest.approx(sewar.psnr(t, p, MAX=1.0), abs=1e-10)
        assert own["rmse"] == pytest.approx(sewar.rmse(t, p), rel=1e-12)
        assert conventions.psnr(p, t, 4095) == pytest.approx(sewar.psnr(t, p, MAX=4095), abs=1e-10)


def test_sam_equals_sewar_in_radians() -> None:
    for p, t in both():
        own, theirs = metrics.score(p, t)["sam_deg"], sewar.sam(t, p)
        print(f"SAM {own:.4f} deg, sewar {theirs:.6f} rad: ratio {own / theirs:.6f} (180/pi = {180 / np.pi:.6f})")
        assert own == pytest.approx(np.degrees(theirs), abs=1e-9)
    p, t = (image.copy() for image in made_pair())
    p[0, 0], t[3, 3] = 0.0, 0.0  # norm zero: both leave the pixel out
    assert metrics.score(p, t)["sam_deg"] == pytest.approx(np.degrees(sewar.sam(t, p)), abs=1e-9)
    assert metrics.score(p, t)["zero_norm"] == 2


def test_ergas_is_four_times_that_of_sewar() -> None:
    for p, t in both():
        own, default = metrics.score(p, t)["ergas"], sewar.ergas(t, p)
        print(f"ERGAS {own:.4f}, sewar by default {default:.4f}: ratio {own / default:.6f}")
        assert own == pytest.approx(4 * default, rel=1e-12)  # its h/l is 1/4 by default (pan-sharpening), ours 1
        assert own == pytest.approx(sewar.ergas(t, p, r=1), rel=1e-12)


def gaussian_ssim(p: Image, t: Image, window: int) -> float:
    specs = {"fltr": Filter.GAUSSIAN, "sigma": 1.5, "ws": window}
    return float(sewar.ssim(t, p, ws=window, MAX=1.0, fltr_specs=specs)[0])


def test_ssim_equals_both_libraries() -> None:
    for p, t in both():
        reference = structural_similarity(
            p, t, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2
        )
        assert similarity.ssim(p, t) == pytest.approx(reference, abs=1e-10)
        for window in (5, 11):
            assert similarity.ssim(p, t, window=window) == pytest.approx(gaussian_ssim(p, t, window), abs=1e-10)
        assert conventions.score_as("utilise", p, t)["ssim"] == pytest.approx(gaussian_ssim(p, t, 5), abs=1e-10)
        uniform = structural_similarity(p, t, data_range=2, win_size=7, channel_axis=2)
        assert conventions.score_as("published", p, t)["ssim_no_range"] == pytest.approx(uniform, abs=1e-10)
        # by default sewar weighs its 11x11 window evenly: that is another figure
        plain = sewar.ssim(t, p, MAX=1.0)[0]
        assert similarity.ssim(p, t, window=11, gaussian=False) == pytest.approx(plain, abs=1e-10)
        assert abs(plain - reference) > 1e-4


def test_zero_padding_is_what_differs_between_two_papers() -> None:
    p, t = (image[..., :1] for image in made_pair())
    wide = [np.pad(image[..., 0], 5) for image in (p, t)]  # whole windows of the padded image = all pixels
    padded = gaussian_ssim(wide[0], wide[1], 11)
    assert similarity.ssim(p, t, padding="zero") == pytest.approx(padded, abs=1e-10)


def sewar_quality(p: Image, t: Image, size: int) -> float:
    """What sewar's UQI computes: window MEANS where the formula has sums, so N times the spread is too large."""
    count = size**2
    mean_p, mean_t, square_p, square_t, product = (
        ndimage.uniform_filter(plane, size) for plane in (p, t, p * p, t * t, p * t)
    )
    top = 4 * (count * product - mean_p * mean_t) * mean_p * mean_t
    bottom = (count * (square_p + square_t) - mean_p**2 - mean_t**2) * (mean_p**2 + mean_t**2)
    half = round(size / 2)
    return float((top / bottom)[half:-half, half:-half].mean())


def test_quality_index_against_scikit_image_and_why_sewar_differs() -> None:
    for p, t in both():
        reference = structural_similarity(
            p, t, data_range=1, win_size=7, K1=1e-9, K2=1e-9, use_sample_covariance=False, channel_axis=2
        )
        own = similarity.uqi(p, t, window=7)
        assert own == pytest.approx(reference, abs=1e-5)
        ours, theirs = similarity.uqi(p, t), sewar.uqi(t, p)
        explained = np.mean([sewar_quality(p[..., b], t[..., b], 8) for b in range(t.shape[2])])
        print(f"UQI 8x8 {ours:.4f}, sewar {theirs:.4f}, explained by means for sums {explained:.4f}")
        assert theirs == pytest.approx(explained, abs=1e-9) and abs(theirs - ours) > 0.01


def test_quality_index_by_hand_and_in_flat_windows() -> None:
    a = np.array([[0.1, 0.3], [0.2, 0.4]])[..., None]
    b = np.array([[0.2, 0.2], [0.4, 0.4]])[..., None]
    # means .25 .30, variances .0125 .01, covariance .005: 4 * .005 * .075 / (.0225 * .1525)
    assert similarity.uqi(a, b, window=2) == pytest.approx(4 * 0.005 * 0.075 / (0.0225 * 0.1525))
    flat = np.full((9, 9, 1), 0.2)
    assert similarity.uqi(flat, 2 * flat) == pytest.approx(0.8) and similarity.uqi(0 * flat, 0 * flat) == 1
    assert np.isnan(similarity.uqi(a, b))

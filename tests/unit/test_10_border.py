"""Border noise of old products, against a plain labelling of the whole image."""

import numpy as np
import pytest
from scipy import ndimage

from utils.science import border
from utils.science.grid import Window


def _find(dn: np.ndarray, eta: np.ndarray | None = None) -> np.ndarray:
    found = border.find_border(
        lambda window: dn[window.slices], lambda window: None if eta is None else eta[window.slices], *dn.shape
    )
    return found.on_image(Window(0, 0, *dn.shape))


def test_joined_to_the_edge() -> None:
    dn = np.full((1200, 1300), 100, np.uint16)
    dn[:, :4] = 12  # border noise at the left edge
    dn[10:14, 20:25] = 10  # a lake
    dn[30, 3:30] = 20  # a dark river from the edge
    mask = _find(dn)
    assert mask[:, :4].all()
    assert not mask[10:14, 20:25].any()
    assert mask[30, 3:30].all()
    assert mask.sum() == 1200 * 4 + 26


def test_denoised_level_and_the_outer_500_only() -> None:
    dn = np.full((1500, 1600), 40, np.uint16)
    eta = np.zeros(dn.shape)
    eta[700:705, :600] = 1600.0  # sqrt(40^2 - 1600) = 0: nothing left after noise removal
    mask = _find(dn, eta)
    assert mask[700:705, :500].all()
    assert mask.sum() == 5 * 500


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_labelling_of_the_whole_image(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs that go round corners from strip to strip; small strips so that they do it often."""
    monkeypatch.setattr(border, "BORDER_PX", 20)
    dn = np.where(np.random.default_rng(seed).random((90, 110)) < 0.62, 10, 90).astype(np.uint16)
    line, pixel = np.indices(dn.shape)
    depth = np.minimum(np.minimum(line, 89 - line), np.minimum(pixel, 109 - pixel))
    labels, _ = ndimage.label((dn < 30) & (depth < 20))
    joined = np.isin(labels, np.setdiff1d(np.unique(labels[depth == 0]), [0]))
    assert 0.1 < joined.mean() < 0.6
    assert (_find(dn) == joined).all()


def test_part_of_the_image() -> None:
    dn = np.full((1100, 1100), 90, np.uint16)
    dn[:7] = dn[:, -3:] = 5
    found = border.find_border(lambda window: dn[window.slices], lambda _: None, 1100, 1100)
    part = found.on_image(Window(4, 1000, 10, 100))
    assert part[:3].all() and part[:, -3:].all()
    assert part.sum() == 3 * 100 + 7 * 3

"""Pictures of dataset tiles and of the split, for notebooks: what the model sees, what it shall make, what is masked."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.io import pictures
from utils.io.pictures import Picture
from utils.io.samples import DatasetIndex, load_index, read_sample
from utils.workflow.errors import InputError

SETS = ("train", "val", "test", "dropped", "not trainable")
SET_RGB = ((66, 110, 180), (240, 190, 60), (200, 70, 60), (170, 170, 170), (90, 90, 90))
MASKS = ("clear", "cloud", "shadow", "snow", "defective", "not of this tile")
MASK_RGB = ((120, 170, 110), (255, 255, 255), (60, 60, 90), (130, 220, 240), (200, 0, 200), (20, 20, 20))
_FOREIGN, _NONE = 5, 255


def tile_row(index: DatasetIndex, sample_id: str) -> list[tuple[str, Picture]]:
    """Pictures of one sample, title and (H, W, 3): radar at both dates, its change, optical at both dates, mask of t1.

    The change of VH is that of the tile minus the median of the scene, as the model gets it.
    """
    sample, info = read_sample(index.set_dir, sample_id), index.sample(sample_id)
    median = float(index.pairs[info.pair].ds1_median_db.get("VH", 0.0))
    vv, vh = index.bands_sar.index("VV"), index.bands_sar.index("VH")
    codes = np.where(sample.window, sample.cloud_t1, _FOREIGN).astype(np.uint8)
    optical = [
        dict(zip(index.bands_optical, np.moveaxis(image, -1, 0), strict=True)) for image in (sample.s2_t0, sample.s2_t1)
    ]
    return [
        ("S1 t0", pictures.radar(sample.s1_t0[..., vv], sample.s1_t0[..., vh])),
        ("S1 t1", pictures.radar(sample.s1_t1[..., vv], sample.s1_t1[..., vh])),
        ("S1 change, VH", pictures.radar_change(sample.s1_t0[..., vh], sample.s1_t1[..., vh], median)),
        ("S2 t0", pictures.true_colour(optical[0])),
        ("S2 t1, the label", pictures.true_colour(optical[1])),
        ("mask", pictures.classes(codes, MASK_RGB)),
    ]


def split_codes(dataset: Path, pair: str) -> NDArray[np.uint8]:
    """Which set owns each pixel of a pair's grid: index into SETS, 255 = no sample.

    Every pixel belongs to one sample, by the valid window of that sample.
    raises  InputError when the split or the pair is missing
    """
    index = load_index(dataset / "all")
    if pair not in index.pairs:
        raise InputError(f"{dataset}: no pair {pair!r}.", f"There are {', '.join(sorted(index.pairs))}.")
    codes = np.full(index.pairs[pair].grid.shape, _NONE, np.uint8)
    member = _members(dataset)
    for info in index.samples:
        if info.pair == pair:
            row, col, rows, cols = info.valid.to_list()
            codes[row : row + rows, col : col + cols] = member.get(info.id, SETS.index("not trainable"))
    return codes


def _members(dataset: Path) -> dict[str, int]:
    path = dataset / "split.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file.", "Run: make split CONF=...")
    split = json.loads(path.read_text(encoding="utf-8"))
    member = {entry["id"]: SETS.index("dropped") for entry in split["dropped"]}
    return member | {sample: SETS.index(name) for name, ids in split["sets"].items() for sample in ids}


def counts(dataset: Path) -> dict[str, int]:
    """Samples by set, and of those that do not train, by their reason; figures in a reason count as N."""
    index, member = load_index(dataset / "all"), _members(dataset)
    names = [
        SETS[member[s.id]] if s.id in member else "not trainable: " + re.sub(r"\d+(\.\d+)?", "N", str(s.reason))
        for s in index.samples
    ]
    found = Counter(names)
    return {name: found[name] for name in (*SETS, *sorted(set(found) - set(SETS))) if name in found}


def most_changed(index: DatasetIndex, count: int) -> list[str]:
    """Ids of the trainable samples of which most has changed, largest share first."""
    usable = [sample for sample in index.samples if sample.trainable]
    ranked = sorted(usable, key=lambda sample: (-(sample.changed_fraction or 0.0), sample.id))
    return [sample.id for sample in ranked[:count]]

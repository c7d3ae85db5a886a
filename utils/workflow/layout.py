"""Every path inside the work directory, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of one work directory; nothing is created here."""

    work: Path

    @property
    def search(self) -> Path:
        return self.work / "search"

    @property
    def pairs_json(self) -> Path:
        return self.search / "pairs.json"

    @property
    def raw(self) -> Path:
        return self.work / "raw"

    @property
    def preprocessed_root(self) -> Path:
        return self.work / "preprocessed"

    def preprocessed(self, sensor: str, product_id: str) -> Path:
        """Folder of one preprocessed product; sensor is sentinel1 or sentinel2."""
        return self.preprocessed_root / sensor / product_id

    @property
    def tiles_root(self) -> Path:
        return self.work / "tiles"

    def tiles(self, date_id: str, sensor: str | None = None) -> Path:
        """Folder of the tiles of one date, or of one sensor (sentinel1, sentinel2, mask) of it."""
        folder = self.tiles_root / date_id
        return folder / sensor if sensor else folder

    def tile(self, date_id: str, sensor: str, tile_id: str) -> Path:
        return self.tiles(date_id, sensor) / f"{tile_id}.tif"

    @property
    def dataset(self) -> Path:
        return self.work / "dataset"

    def dataset_set(self, name: str) -> Path:
        """Folder of one set: all, train, val or test."""
        return self.dataset / name

    def shards(self, name: str) -> Path:
        """Folder of the shards of one set."""
        return self.dataset / "shards" / name

    @property
    def norm(self) -> Path:
        return self.work / "norm"

    def scaler(self, mode: str | None = None) -> Path:
        """Scaler of one mode; without mode, the configured default."""
        return self.norm / (f"scaler_{mode}.json" if mode else "scaler.json")

    @property
    def runs(self) -> Path:
        return self.work / "runs"

    def run(self, name: str) -> Path:
        return self.runs / name

    def pred(self, run: str) -> Path:
        return self.work / "pred" / run

    def scene(self, run: str, pair_id: str) -> Path:
        """Folder of the rows of one predicted scene (predict.method scene)."""
        return self.work / "stripes" / run / pair_id

    def mosaic(self, run: str, pair_id: str) -> Path:
        """Folder of one mosaic; run `truth` holds the observed labels."""
        return self.work / "mosaic" / run / pair_id

    def maps(self, run: str, pair_id: str) -> Path:
        return self.work / "maps" / run / pair_id

    def landclass(self, pair_id: str) -> Path:
        return self.work / "landclass" / pair_id

    def change(self, run: str, pair_id: str) -> Path:
        """Folder of the change maps of a run; run `truth` holds those of the true pair, `radar` those of Sentinel-1."""
        return self.work / "change" / run / pair_id

    @property
    def reports(self) -> Path:
        return self.work / "reports"

    @property
    def manifests(self) -> Path:
        return self.work / "manifests"

    def manifest(self, stage: str) -> Path:
        return self.manifests / f"{stage}.json"

    @property
    def items(self) -> Path:
        return self.work / "items"

    def ledger(self, stage: str, part: int | None = None) -> Path:
        return self.items / (f"{stage}.part-{part}.jsonl" if part else f"{stage}.jsonl")

    @property
    def locks(self) -> Path:
        return self.work / "locks"

    @property
    def logs(self) -> Path:
        return self.work / "logs"

    @property
    def jobs(self) -> Path:
        return self.work / "jobs"

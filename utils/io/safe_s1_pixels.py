"""Digital numbers of a Sentinel-1 measurement file, by windows with increasing lines: a zip member is read forwards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utils.io import raster
from utils.io.safe import SafeProduct
from utils.science.grid import Window
from utils.workflow.errors import InputError


class Measurement:
    """An open measurement file; a context manager. Not shared between threads.

    lines, samples  size of the image by its annotation
    raises          InputError when the file is unreadable, of another size or not of 16-bit numbers
    """

    def __init__(self, product: SafeProduct, member: str, lines: int, samples: int) -> None:
        self._name = f"{product.name}: {member}"
        path = product.gdal_path(member)
        # a deflated member of a zip has no random access: there the cache saves inflating it again
        self._reader = raster.Reader(path, read_once=not path.startswith("/vsi"))
        found = (self._reader.grid.rows, self._reader.grid.cols)
        if found != (lines, samples):
            raise InputError(
                f"{self._name} has {found[0]} x {found[1]} pixels, its annotation says {lines} x {samples}.",
                "Download it again: make download CONF=...",
            )

    def __enter__(self) -> Measurement:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    def __call__(self, window: Window) -> NDArray[np.uint16]:
        """Digital numbers of a window, (rows, cols) uint16."""
        pixels: NDArray[np.uint16] = self._reader.read(window)[0]
        if pixels.dtype != np.uint16:
            raise InputError(f"{self._name} holds {pixels.dtype}, not uint16.", "Choose another product.")
        return pixels

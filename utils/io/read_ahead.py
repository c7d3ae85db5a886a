"""Rows of a scene made in another thread while the network works on those before them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np

from utils.io.filled_rows import CHUNK_ROWS


class Ahead:
    """Chunks of rows made in another thread, `ahead` of them before they are asked for. A context manager.

    load    rows first .. last - 1 as arrays whose first axis is the row
    rows    of the scene; chunks lie at multiples of chunk_rows
    """

    def __init__(
        self, load: Callable[[int, int], tuple[Any, ...]], rows: int, chunk_rows: int = CHUNK_ROWS, ahead: int = 1
    ) -> None:
        self._load, self._rows, self._size, self._ahead = load, rows, chunk_rows, ahead
        self._pool = ThreadPoolExecutor(1, "rows")
        self._chunks: dict[int, Future[tuple[Any, ...]]] = {}

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._chunks.clear()

    def read(self, first: int, last: int) -> tuple[Any, ...]:
        """Rows first .. last - 1."""
        numbers = range(first // self._size, (last - 1) // self._size + 1)
        beyond = range(numbers.stop, numbers.stop + self._ahead)
        wanted = {*numbers, *(n for n in beyond if n * self._size < self._rows)}
        for number in sorted(wanted - set(self._chunks)):
            top = number * self._size
            self._chunks[number] = self._pool.submit(self._load, top, min(top + self._size, self._rows))
        for number in set(self._chunks) - wanted:
            self._chunks.pop(number).cancel()
        begin = numbers.start * self._size
        parts = [self._chunks[number].result() for number in numbers]
        joined = parts[0] if len(parts) == 1 else tuple(np.concatenate(one) for one in zip(*parts, strict=True))
        return tuple(one[first - begin : last - begin] for one in joined)

"""Small layers that Keras lacks. Written with keras.ops only, so that they run on every Keras backend.

All tensors are channel-last: (B, H, W, C).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

PACKAGE = "s2cr"


@keras.saving.register_keras_serializable(package=PACKAGE)
class Pad2D(keras.layers.Layer):  # type: ignore[misc]
    """Pad height and width: (B, H, W, C) -> (B, H + 2 size, W + 2 size, C).

    mode  constant (zeros), reflect (edge not repeated) or symmetric (edge repeated)
    """

    def __init__(self, size: int, mode: str = "reflect", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("constant", "reflect", "symmetric"):
            raise ValueError(f"padding mode must be constant, reflect or symmetric, not {mode!r}")
        self.size, self.mode = size, mode

    def call(self, x: Any) -> Any:
        width = [[0, 0], [self.size, self.size], [self.size, self.size], [0, 0]]
        return ops.pad(x, width, mode=self.mode)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, rows, cols, channels = input_shape
        grow = 2 * self.size
        return batch, rows and rows + grow, cols and cols + grow, channels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "mode": self.mode}


@keras.saving.register_keras_serializable(package=PACKAGE)
class Gate(keras.layers.Layer):  # type: ignore[misc]
    """Product of the two halves of the channels: (B, H, W, 2C) -> (B, H, W, C)."""

    def call(self, x: Any) -> Any:
        half = x.shape[-1] // 2
        return x[..., :half] * x[..., half:]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], (input_shape[-1] or 0) // 2)


@keras.saving.register_keras_serializable(package=PACKAGE)
class ChannelSlice(keras.layers.Layer):  # type: ignore[misc]
    """Channels start .. start+count-1: (B, H, W, C) -> (B, H, W, count)."""

    def __init__(self, start: int, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start, self.count = start, count

    def call(self, x: Any) -> Any:
        return x[..., self.start : self.start + self.count]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.count)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start, "count": self.count}


@keras.saving.register_keras_serializable(package=PACKAGE)
class Scale(keras.layers.Layer):  # type: ignore[misc]
    """Multiply by a fixed factor."""

    def __init__(self, factor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return x * self.factor

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}

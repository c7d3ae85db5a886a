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

    def call(self, x: Any, training: bool = False) -> Any:
        if self.mode != "constant" and not training:
            return self._taken(x)
        width = [[0, 0], [self.size, self.size], [self.size, self.size], [0, 0]]
        return ops.pad(x, width, mode=self.mode)

    def _taken(self, x: Any) -> Any:
        """The same values, pixel by pixel from where they lie: on a processor mirroring costs TensorFlow two to three
        times as much. Only without training: the gradient of a gather adds up in no fixed order on a GPU."""
        shape = ops.shape(x)
        rows, cols = (self._mirrored(shape[axis]) for axis in (1, 2))
        places = ops.reshape(ops.expand_dims(rows * shape[2], 1) + ops.expand_dims(cols, 0), (-1,))
        pixels = ops.take(ops.reshape(x, (-1, shape[1] * shape[2], x.shape[3])), places, axis=1)
        return ops.reshape(pixels, (-1, shape[1] + 2 * self.size, shape[2] + 2 * self.size, x.shape[3]))

    def _mirrored(self, count: Any) -> Any:
        """Index of the pixel that each place of a padded side of `count` pixels shows."""
        places = ops.arange(-self.size, count + self.size, dtype="int32")
        if self.mode == "reflect":
            return (count - 1) - ops.abs((count - 1) - ops.abs(places))
        places = ops.where(places < 0, -1 - places, places)
        return ops.where(places >= count, 2 * count - 1 - places, places)

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


@keras.saving.register_keras_serializable(package=PACKAGE)
class SpectralConv2D(keras.layers.Layer):  # type: ignore[misc]
    """Convolution without padding whose kernel is divided by its largest singular value (Miyato et al. 2018).

    The kernel counts as a matrix (kernel * kernel * channels, filters). One step of the power iteration for each call in
    training; the gradient passes through the division, the two singular vectors count as constants.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (self.kernel_size, self.kernel_size, int(input_shape[-1] or 0), self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        start = keras.initializers.RandomNormal()
        options = {"trainable": False, "aggregation": "only_first_replica"}  # all replicas hold the same kernel
        self.vector = self.add_weight(name="vector", shape=(self.filters,), initializer=start, **options)

    def call(self, x: Any, training: bool = False) -> Any:
        # in float32 whatever the precision of the convolution: a norm of thousands of squares needs it
        kernel = ops.cast(self.kernel.value, "float32")
        matrix = ops.reshape(kernel, (-1, self.filters))
        still = ops.stop_gradient(matrix)
        right = ops.cast(self.vector.value, "float32")
        left = _unit(ops.matmul(still, right))
        right = _unit(ops.matmul(ops.transpose(still), left))
        if training:
            self.vector.assign(ops.cast(right, self.vector.dtype))
        largest = ops.sum(left * ops.matmul(matrix, right))
        normed = ops.cast(kernel / ops.maximum(largest, 1e-12), x.dtype)
        return ops.conv(x, normed, strides=self.strides, padding="valid") + ops.cast(self.bias.value, x.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, rows, cols, _ = input_shape
        shape = (n and (n - self.kernel_size) // self.strides + 1 for n in (rows, cols))
        return (batch, *shape, self.filters)

    def get_config(self) -> dict[str, Any]:
        options = {"filters": self.filters, "kernel_size": self.kernel_size, "strides": self.strides}
        return {**super().get_config(), **options}


def _unit(vector: Any) -> Any:
    """A vector divided by its length."""
    return vector / ops.maximum(ops.sqrt(ops.sum(ops.square(vector))), 1e-12)


@keras.saving.register_keras_serializable(package=PACKAGE)
class SoftRange(keras.layers.Layer):  # type: ignore[misc]
    """limit * tanh(x / limit): nearly x near 0, never beyond +-limit, with a gradient everywhere."""

    def __init__(self, limit: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit = limit

    def call(self, x: Any) -> Any:
        return self.limit * ops.tanh(x / self.limit)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "limit": self.limit}

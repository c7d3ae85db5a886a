"""A trained network as a function of arrays, run by TensorFlow itself or exported to another runtime.

An export is compared with TensorFlow when it is made, in reflectance, and refused where it differs.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models import backend
from utils.workflow.errors import BrokenEnvironmentError, VerificationError

F32 = NDArray[np.float32]
Kind = Literal["tf", "tflite", "onnx"]
Run = Callable[[F32], F32]

LIMIT = 1e-4  # reflectance
_SAMPLES = 2  # batches of random input that an export is compared on
EXTRA = "env/requirements-onnx.txt"


class Runtime:
    """network(x) for float32 arrays (B, H, W, C); an export is made and compared for every new shape.

    network      a function of a tensor, traced by TensorFlow
    kind         tf, tflite (XNNPACK) or onnx
    reflectance  (k,) factor of each output channel that makes it reflectance; it is what differences are measured in
    raises       on the first call: BrokenEnvironmentError when the runtime is not installed, VerificationError when the
                 export differs from TensorFlow by more than 1e-4 reflectance
    """

    def __init__(self, network: Callable[[Any], Any], kind: Kind = "tf", reflectance: Any = 1.0) -> None:
        import tensorflow as tf

        self.kind = kind
        self._graph = tf.function(network)
        self._factor = np.abs(np.asarray(reflectance, np.float64))
        self._exports: dict[tuple[int, ...], Run] = {}
        self.difference = 0.0  # largest one that was found, reflectance

    def __call__(self, x: F32) -> F32:
        if self.kind == "tf":
            return self._reference(x)
        if x.shape not in self._exports:
            made = _tflite(self._graph, x.shape) if self.kind == "tflite" else _onnx(self._graph, x.shape)
            self.difference = max(self.difference, verify(made, self._reference, x.shape, self._factor, self.kind))
            self._exports[x.shape] = made
        return self._exports[x.shape](x)

    def _reference(self, x: F32) -> F32:
        import tensorflow as tf

        return np.asarray(self._graph(tf.constant(x)))


def verify(run: Run, reference: Run, shape: tuple[int, ...], factor: Any, kind: str) -> float:
    """Largest difference of two functions on random input in network units, times `factor`.

    raises  VerificationError above 1e-4, or where one gives no number
    """
    rng, largest = np.random.default_rng(5), 0.0
    for _ in range(_SAMPLES):
        x = rng.normal(0.0, 0.6, shape).astype(np.float32)
        difference = np.abs(np.asarray(run(x), np.float64) - reference(x)) * factor
        largest = max(largest, float(difference.max()) if np.isfinite(difference).all() else np.inf)
    if not largest <= LIMIT:
        raise VerificationError(
            f"The network exported to {kind} differs from TensorFlow by {largest:.2g} reflectance (limit {LIMIT:g}).",
            "Use predict.runtime: tf (--runtime tf).",
        )
    return largest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Converters print and warn of things that nobody who predicts can change."""
    with warnings.catch_warnings(), backend.quiet_stderr(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _tflite(graph: Any, shape: tuple[int, ...]) -> Run:
    import tensorflow as tf

    if not hasattr(tf, "lite"):
        raise BrokenEnvironmentError("This TensorFlow comes without its lite runtime.", "Use predict.runtime: tf.")
    with _quiet():
        concrete = graph.get_concrete_function(tf.TensorSpec(shape, tf.float32))
        content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], graph).convert()
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=backend.usable_cores())
        interpreter.allocate_tensors()
    place, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(x: F32) -> F32:
        interpreter.set_tensor(place, x)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(result))

    return run


def _onnx(graph: Any, shape: tuple[int, ...]) -> Run:
    import tensorflow as tf

    try:
        with _quiet():
            import onnxruntime
            import tf2onnx
    except ImportError as error:
        raise BrokenEnvironmentError(
            f"Runtime onnx is not installed ({error}).",
            f"Install the extra onnx: .venv/bin/python -m pip install -r {EXTRA}; or use predict.runtime: tf.",
        ) from error
    with _quiet():
        # sizes are fixed: upsampling layers ask for them while they are traced
        model, _ = tf2onnx.convert.from_function(graph, input_signature=[tf.TensorSpec(shape, tf.float32)], opset=17)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = backend.usable_cores()
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0])

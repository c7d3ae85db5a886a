"""TensorFlow started the same way everywhere: quiet, with fixed threads and deterministic kernels.

Import this module before anything else imports TensorFlow or Keras, and call `start()` once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from utils.workflow.errors import BrokenEnvironmentError, ConfigError

_STARTED = False
# tables, plots, interactive shells and clients of cloud services
_EXTRAS = (
    "pandas", "sklearn", "matplotlib", "IPython", "cv2", "googleapiclient", "oauth2client", "cryptography", "narwhals",
)  # fmt: skip


def usable_cores() -> int:
    """Cores that this process may use: its affinity where the system tells it, else all."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what native code prints during the import; shown again only when the import fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def _without_extras() -> Iterator[None]:
    """Packages that Keras and TensorFlow look for and do without are not there inside: half of the time that an import
    takes, and a quarter of its memory. Whoever wants one of them afterwards imports it as ever."""
    hidden = [name for name in _EXTRAS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: an import of it fails
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _divide_cpu(tensorflow: Any) -> None:
    text = os.environ.get("S2CR_LOGICAL_CPUS", "").strip() or "1"
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise ConfigError(f"S2CR_LOGICAL_CPUS is '{text}'.", "Set a number from 1 to 64, or unset it.")
    if int(text) > 1:
        parts = [tensorflow.config.LogicalDeviceConfiguration()] * int(text)
        tensorflow.config.set_logical_device_configuration(tensorflow.config.list_physical_devices("CPU")[0], parts)


def start(threads: int = 0, before_operations: Callable[[], None] | None = None, side_by_side: bool = False) -> None:
    """Import TensorFlow quietly, fix its threads and switch deterministic kernels on. Safe to call again.

    threads            threads of an operation, and operations at once; 0 = the cores this process may use. oneDNN stays on:
                       it halves a step.
    side_by_side       every operation on one thread, as many calls of a network at once as there are cores: what predicts
                       a scene, and trains the smallest networks. Threads of one operation wait for one another, so this
                       takes a fifth less processor time
    before_operations  called before the first operation (only when TensorFlow was not started before)
    raises             BrokenEnvironmentError when TensorFlow or Keras cannot be imported, ConfigError for a
                       S2CR_LOGICAL_CPUS that is no number: as many devices, to rehearse a training on several GPUs
    """
    global _STARTED  # noqa: PLW0603 - TensorFlow's own state is global too
    if _STARTED:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
    try:
        with quiet_stderr(), _without_extras():
            import keras
            import tensorflow as tf

            count = 1 if side_by_side else threads or usable_cores()
            with contextlib.suppress(RuntimeError):  # already initialised by the caller, a notebook for example
                tf.config.threading.set_intra_op_parallelism_threads(count)
                tf.config.threading.set_inter_op_parallelism_threads(threads or usable_cores())
            tf.config.experimental.enable_op_determinism()
            _divide_cpu(tf)
            if before_operations is None:
                tf.config.list_logical_devices()
    except ImportError as error:
        raise BrokenEnvironmentError(
            f"TensorFlow or Keras cannot be imported: {error}.", "Run: make env, then make doctor."
        ) from error
    if before_operations is not None:  # outside: waiting for others must be seen
        before_operations()
    # Dropout layers draw their first seeds from here; every training step sets them again.
    keras.utils.set_random_seed(0)
    _STARTED = True


def versions() -> dict[str, str]:
    """Versions of the libraries that a trained network depends on."""
    import keras
    import numpy as np
    import tensorflow as tf

    return {"keras": str(keras.__version__), "numpy": str(np.__version__), "tensorflow": str(tf.__version__)}

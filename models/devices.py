"""The devices that train together: one, all visible GPUs of a machine, or those of several machines."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from models import backend
from models.cluster import Cluster, find
from utils.workflow.errors import ConfigError, Interrupted


@dataclass(frozen=True)
class Devices:
    """What `start` found.

    strategy  tf.distribute strategy, None for one device
    replicas  copies of the network that train together, over all workers
    first     number of this worker's first replica; own: how many are its own
    chief     this process writes; the others only compute
    """

    strategy: Any = None
    replicas: int = 1
    first: int = 0
    own: int = 1
    workers: int = 1
    chief: bool = True

    def scope(self) -> AbstractContextManager[Any]:
        """Networks and optimisers must be built in here."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def total(self, value: float) -> float:
        """Sum of one number of every worker; waits for all of them."""
        if self.workers == 1:
            return value
        import tensorflow as tf

        if self.strategy not in _SUMS:

            @tf.function
            def summed(mine: Any) -> Any:
                shares = self.strategy.run(lambda share: share / self.own, args=(mine,))
                return self.strategy.reduce(tf.distribute.ReduceOp.SUM, shares, axis=None)

            _SUMS[self.strategy] = summed
        return float(_SUMS[self.strategy](tf.constant(value, tf.float32)))

    @contextmanager
    def lost_worker(self, name: str) -> Iterator[None]:
        """Turn what TensorFlow says when another worker is gone into the project's words; its checkpoints are kept.

        raises  Interrupted
        """
        if self.workers == 1:
            yield
            return
        import tensorflow as tf

        gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)
        try:
            yield
        except gone as error:
            raise Interrupted(
                f"{name}: another worker is gone ({str(error).splitlines()[0][-120:]}).",
                "See its log, then start all of them again: they resume from the newest checkpoint.",
            ) from error

    def words(self) -> str:
        """How many, for the log."""
        if self.replicas == 1:
            return "one device"
        return f"{self.replicas} devices" + (f" of {self.workers} workers" if self.workers > 1 else "")


ONE = Devices()
_SUMS: dict[Any, Any] = {}  # strategy -> its compiled sum
_JOINED: dict[Cluster, Devices] = {}  # a process joins its workers once, however many runs it trains


def start(
    multi_gpu: bool, environment: Mapping[str, str] | None = None, one_thread_per_operation: bool = False
) -> Devices:
    """Start TensorFlow on the devices of this training.

    multi_gpu  key of train.yaml: all visible GPUs, or logical CPUs where S2CR_LOGICAL_CPUS makes several (a rehearsal)
    one_thread_per_operation  key of train.yaml: for small networks on one device
    raises     ConfigError when several processes were started without multi_gpu, or too late for several workers
    """
    variables = os.environ if environment is None else environment
    cluster = find(variables)
    if cluster is not None:
        if not multi_gpu:
            raise ConfigError(
                f"{len(cluster.workers)} processes were started, but multi_gpu is false: each would train alone.",
                "Write multi_gpu: true in train.yaml, or start one process.",
            )
        return _workers(cluster)
    backend.start(side_by_side=one_thread_per_operation and not multi_gpu)
    import tensorflow as tf

    names = [device.name for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
    if not multi_gpu or len(names) < 2:
        return ONE
    return Devices(tf.distribute.MirroredStrategy(names), len(names), own=len(names))


@contextmanager
def _default_signals() -> Iterator[None]:
    """While native code waits for the others no handler of ours would run: let a signal end the process, nothing is lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    for number in kept:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _workers(cluster: Cluster) -> Devices:
    """MultiWorkerMirroredStrategy: it must exist before the first operation of the process."""
    made: list[Any] = []

    def make() -> None:
        import tensorflow as tf

        os.environ["TF_CONFIG"] = cluster.tf_config()
        options = tf.distribute.experimental.CommunicationOptions(
            implementation=tf.distribute.experimental.CommunicationImplementation.AUTO
        )
        made.append(tf.distribute.MultiWorkerMirroredStrategy(communication_options=options))

    if cluster in _JOINED:
        return _JOINED[cluster]
    with _default_signals():
        backend.start(before_operations=make)
    if not made:
        raise ConfigError(
            "TensorFlow runs in this process already: it cannot join other workers any more.",
            "Start the training with ./s2cr train, not from a notebook.",
        )
    strategy = made[0]
    own = len(strategy.extended.worker_devices)
    replicas = strategy.num_replicas_in_sync
    _JOINED[cluster] = Devices(strategy, replicas, cluster.index * own, own, len(cluster.workers), cluster.chief)
    return _JOINED[cluster]

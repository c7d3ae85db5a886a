"""Which processes train together: from TF_CONFIG, or from the variables that Slurm sets for every task of a step.

Pure functions of the environment. TensorFlow's own resolver for Slurm asks nvidia-smi and fails where there is none,
so TF_CONFIG is written here from the same variables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from utils.workflow.errors import ConfigError

PORT = 17100  # first port of the workers; a step adds its job number modulo PORTS, a node its tasks
PORTS = 2000


@dataclass(frozen=True)
class Cluster:
    """host:port of every worker in order, and which of them this process is; worker 0 is the chief."""

    workers: tuple[str, ...]
    index: int

    @property
    def chief(self) -> bool:
        return self.index == 0

    def tf_config(self) -> str:
        """The text of TF_CONFIG."""
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": {"type": "worker", "index": self.index}})


def expand_hosts(text: str) -> list[str]:
    """Names in a Slurm list of hosts: `a[01-03,7]b,c` -> a01b, a02b, a03b, a7b, c.

    raises  ConfigError when the brackets do not close or a range is no range
    """
    out: list[str] = []
    for name in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", text):
        parts = [_choices(part) if part.startswith("[") else [part] for part in re.split(r"(\[[^\]]*\])", name) if part]
        out += ["".join(chosen) for chosen in product(*parts)]
    if text.count("[") != text.count("]") or not out:
        raise ConfigError(f"SLURM list of hosts: '{text}' is not understood.", "Set TF_CONFIG yourself.")
    return out


def _choices(group: str) -> list[str]:
    """`[01-03,7]` -> 01, 02, 03, 7."""
    out: list[str] = []
    for item in group.strip("[]").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", item)
        if match is None:
            raise ConfigError(f"SLURM list of hosts: '{group}' is not understood.", "Set TF_CONFIG yourself.")
        first, last = match.group(1), match.group(2) or match.group(1)
        out += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return out


def expand_counts(text: str) -> list[int]:
    """Tasks of each node as Slurm writes them: `2(x3),1` -> 2, 2, 2, 1."""
    out: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", item)
        if match is None:
            raise ConfigError(f"SLURM tasks per node: '{text}' is not understood.", "Set TF_CONFIG yourself.")
        out += [int(match.group(1))] * int(match.group(2) or 1)
    return out


def find(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster of this process, None when it trains alone.

    TF_CONFIG comes first. Slurm counts only inside a step of several tasks (srun): the script of a batch job has the
    job's variables too, but it is one process.
    raises  ConfigError for a TF_CONFIG or Slurm variables that contradict themselves
    """
    if environment.get("TF_CONFIG", "").strip():
        return _of_tf_config(environment["TF_CONFIG"])
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if not tasks.isdigit() or int(tasks) < 2:
        return None
    try:
        hosts = expand_hosts(environment["SLURM_STEP_NODELIST"])
        counts = expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        index, job = int(environment["SLURM_PROCID"]), int(environment["SLURM_JOB_ID"])
        step = int(environment.get("SLURM_STEP_ID", "0"))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"a Slurm step of {tasks} tasks without {error}.", "Set TF_CONFIG yourself.") from error
    first = PORT + (job * 16 + step) % PORTS
    workers = [f"{host}:{first + n}" for host, count in zip(hosts, counts, strict=False) for n in range(count)]
    if len(hosts) != len(counts) or len(workers) != int(tasks) or not 0 <= index < len(workers):
        raise ConfigError(
            f"Slurm says {tasks} tasks, {len(hosts)} nodes with {counts} tasks, this one number {index}.",
            "Set TF_CONFIG yourself.",
        )
    return Cluster(tuple(workers), index)


def _of_tf_config(text: str) -> Cluster | None:
    try:
        data = json.loads(text)
        roles, task = dict(data["cluster"]), data["task"]
        chief, workers = list(roles.get("chief", [])), list(roles.get("worker", []))
        kind, number = str(task["type"]), int(task["index"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"TF_CONFIG: not understood ({error!r}).",
            'It looks like {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}.',
        ) from error
    members = [*(str(address) for address in chief), *(str(address) for address in workers)]
    index = number if kind == "chief" else len(chief) + number
    if set(roles) - {"chief", "worker"} or kind not in ("chief", "worker") or not 0 <= index < len(members):
        raise ConfigError(
            f"TF_CONFIG: task {kind} {number} is not one of {', '.join(sorted(roles))}.",
            "Only worker (and chief) train together here; parameter servers do not.",
        )
    return Cluster(tuple(members), index) if len(members) > 1 else None

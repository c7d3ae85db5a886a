"""A stand-in for PBS Professional: qsub, qrls, qdel by the name they are called by, and a runner of what is registered.

Refuses what the server refuses: script arguments, unknown options and resources, arrays of one element or beyond the
limit, names that are too long, unknown queues, job-wide resources beside select, dependencies on jobs that do not exist
or have ended, an array named without its brackets, releasing what is not held. A job that neither is held nor waits is
taken to have ended before the next call: so a chain whose first job is not held is refused. Folder: FAKE_PBS.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

QUEUES = ("normal", "copyq", "gpuvolta")
MAX_ARRAY = 10
VALUE_OPTIONS = "ACIJMNPSWaceijklmopqruv"
FLAGS = "hVXzfG"
RESOURCES = {
    "walltime": r"\d+:\d\d:\d\d", "mem": r"\d+(kb|mb|gb)", "ncpus": r"[1-9]\d*", "ngpus": r"[1-9]\d*", "jobfs": r"\d+(kb|mb|gb)",
    "storage": r"(scratch|gdata)/\w+(\+(scratch|gdata)/\w+)*", "select": r".+", "place": r".+",
}  # fmt: skip
DEPENDENCIES = {"after", "afterok", "afternotok", "afterany"}
SERVER = "pbs"


def refuse(message: str, code: int = 2) -> NoReturn:
    """End as qsub does."""
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(code)


def load(folder: Path) -> dict[str, Any]:
    path = folder / "server.json"
    return json.loads(path.read_text()) if path.exists() else {"next": 101, "jobs": {}}  # type: ignore[no-any-return]


def save(folder: Path, server: Mapping[str, Any]) -> None:
    (folder / "server.json").write_text(json.dumps(server, indent=1))


def options_of(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Options (letter -> values) and what is left, as getopt takes them: -h, -N name, -Nname."""
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and len(rest[0]) > 1:
        word = rest.pop(0)
        letter = word[1]
        if letter in FLAGS and len(word) == 2:
            found.setdefault(letter, [])
        elif letter in VALUE_OPTIONS:
            if len(word) == 2 and not rest:
                refuse(f"option requires an argument -- '{letter}'")
            found.setdefault(letter, []).append(word[2:] or rest.pop(0))
        else:
            refuse(f"invalid option -- '{letter}'")
    return found, rest


def directives(script: Path) -> list[str]:
    """The #PBS lines before the first line that is run."""
    words: list[str] = []
    for line in script.read_text().splitlines():
        if line.startswith("#PBS "):
            words += shlex.split(line.removeprefix("#PBS "))
        elif line.strip() and not line.startswith("#"):
            break
    return words


def check_values(options: Mapping[str, list[str]]) -> None:
    """Every value as the server wants it."""
    names = [word.partition("=") for value in options.get("l", []) for word in value.split(",")]
    for name, _, value in names:
        if name not in RESOURCES:
            refuse(f"Unknown resource: {name}", 170)
        if not re.fullmatch(RESOURCES[name], value):
            refuse(f"Illegal attribute or resource value: {name}={value}", 168)
    used = {name for name, *_ in names}
    if used & {"select", "place"} and used & {"ncpus", "mem", "ngpus"}:
        refuse('"-lresource=" cannot be used with "select" or "place"')
    for letter, pattern in {
        "N": r"[A-Za-z][A-Za-z0-9_.+-]{0,14}", "j": "oe|eo|n", "S": r"/\S+", "o": r"/[^\s,:]+", "q": "|".join(QUEUES), "P": r"\w+",
    }.items():  # fmt: skip
        for value in options.get(letter, []):
            if not re.fullmatch(pattern, value):
                refuse(f"illegal -{letter} value" if letter != "q" else "Unknown queue", 2 if letter != "q" else 170)
    for value in options.get("o", []):
        if not (Path(value) if value.endswith("/") else Path(value).parent).is_dir():
            refuse(f"no such folder: {value}")


def elements_of(options: Mapping[str, list[str]]) -> int | None:
    """Size of the array; None for a single job."""
    if "J" not in options:
        return None
    match = re.fullmatch(r"(\d+)-(\d+)", options["J"][-1])
    if match is None or int(match.group(1)) != 1 or int(match.group(2)) < 2:
        refuse("illegal -J value")
    if int(match.group(2)) > MAX_ARRAY:
        refuse("Array job exceeds server or queue size limit", 1)
    return int(match.group(2))


def dependencies(options: Mapping[str, list[str]], jobs: Mapping[str, Any]) -> list[list[str]]:
    """[[type, id, ...], ...] of -W depend=."""
    found: list[list[str]] = []
    for value in options.get("W", []):
        if not value.startswith("depend="):
            refuse("illegal -W value")
        for group in value.removeprefix("depend=").split(","):
            kind, *ids = group.split(":")
            if kind not in DEPENDENCIES or not ids or not all(re.fullmatch(r"\d+(\[\])?\.\w+", one) for one in ids):
                refuse("illegal -W value")
            for one in ids:
                if one not in jobs:
                    refuse(f"Unknown Job Id {one}", 153)
                if jobs[one]["state"] == "F":
                    refuse(f"Invalid job dependency: {one} has finished", 168)
            found.append([kind, *ids])
    return found


def qsub(folder: Path, words: list[str]) -> None:
    """Register one job and print its id."""
    if words == ["--version"]:
        print("pbs_version = 20.0.1")
        return
    server = load(folder)
    given, rest = options_of(words)
    if len(rest) != 1:
        refuse("usage: qsub [options] [script]: arguments of a script are not taken")
    script = Path(rest[0])
    if not script.is_file():
        refuse(f"script file: {script}: No such file or directory", 1)
    written, nothing = options_of(directives(script))
    if nothing:
        refuse(f"directive error: {nothing[0]}")
    options = {**written, **given, "l": written.get("l", []) + given.get("l", [])}
    check_values(options)
    elements, depend = elements_of(options), dependencies(options, server["jobs"])
    if len(server["jobs"]) >= int(os.environ.get("FAKE_PBS_MAX_JOBS", "1000")):
        refuse("would exceed queue generic's per-user limit", 38)
    number = f"{server['next']}{'[]' if elements else ''}.{SERVER}"
    state = "H" if "h" in options else "W" if depend else "F"
    server["jobs"][number] = {
        "script": script.read_text(), "options": options, "elements": elements, "depend": depend, "state": state, "queue": options.get("q", ["normal"])[-1],
        "workdir": str(Path.cwd()),
    }  # fmt: skip
    server["next"] += 1
    save(folder, server)
    print(number)


def qrls(folder: Path, words: list[str]) -> None:
    """Release held jobs."""
    server = load(folder)
    for one in words:
        if one not in server["jobs"]:
            refuse(f"Unknown Job Id {one}", 153)
        if server["jobs"][one]["state"] != "H":
            refuse(f"Request invalid for state of job {one}", 150)
        server["jobs"][one]["state"] = "Q"
    save(folder, server)


def qdel(folder: Path, words: list[str]) -> None:
    """Delete jobs."""
    server = load(folder)
    for one in words:
        if server["jobs"].pop(one, None) is None:
            refuse(f"Unknown Job Id {one}", 153)
    save(folder, server)


def install(folder: Path) -> Path:
    """Put the three programs into <folder>/bin; returns that folder."""
    programs = folder / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name in ("qsub", "qrls", "qdel"):
        path = programs / name
        path.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\nfrom tests.fakes import qsub\nqsub.main()\n"
        )
        path.chmod(0o755)
    return programs


def run_all(folder: Path, environment: Mapping[str, str]) -> dict[str, list[int]]:
    """Run what is registered, in order, as the server would: a clean environment, a spool copy, dependencies heeded.

    returns  id -> exit codes of its elements; a job that is never started is left out
    """
    server, codes = load(folder), {}
    for number, job in server["jobs"].items():
        if job["state"] == "H":
            continue
        wanted = {kind: ids for kind, *ids in job["depend"]}
        if any(any(codes.get(one, [1])) for one in wanted.get("afterok", [])):
            continue  # deleted by the server
        codes[number] = [
            _run(folder, number, job, index, environment) for index in range(1, (job["elements"] or 1) + 1)
        ]
    return codes


def _run(folder: Path, number: str, job: Mapping[str, Any], index: int, environment: Mapping[str, str]) -> int:
    own = number.replace("[]", f"[{index}]")
    spooled = folder / f"{own}.SC"
    spooled.write_text(job["script"])
    variables = {
        "HOME": str(folder), "PATH": "/usr/bin:/bin", "PBS_JOBID": own, "PBS_O_WORKDIR": job["workdir"], "PBS_QUEUE": f"{job['queue']}-exec",
        "PBS_O_QUEUE": job["queue"], "PBS_ENVIRONMENT": "PBS_BATCH", **environment,
    }  # fmt: skip
    if job["elements"]:
        variables["PBS_ARRAY_INDEX"] = str(index)
    done = subprocess.run(
        [job["options"]["S"][-1], str(spooled)],
        env=variables,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    log = Path(job["options"]["o"][-1])
    (
        log / f"{job['options']['N'][-1]}.o{own.split('[')[0]}.{index}"
        if job["options"]["o"][-1].endswith("/")
        else log
    ).write_bytes(done.stdout)
    return done.returncode


def main() -> None:
    """One of the programs, by its name."""
    {"qsub": qsub, "qrls": qrls, "qdel": qdel}[Path(sys.argv[0]).name](Path(os.environ["FAKE_PBS"]), sys.argv[1:])

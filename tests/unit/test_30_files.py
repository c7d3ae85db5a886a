"""Atomic writes, ledger, lock."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.workflow import errors, files, ledger, lock


def test_atomic_write_leaves_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_write(target, "w") as stream:
        stream.write("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_json_is_canonical_and_refuses_nan(tmp_path: Path) -> None:
    files.atomic_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    assert (tmp_path / "a.json").read_bytes() == b'{\n "a": [\n  1.5,\n  null\n ],\n "b": 1\n}\n'
    with pytest.raises(ValueError):
        files.atomic_json(tmp_path / "b.json", {"a": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_sha256_against_the_published_vector(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-4, example of the one-block message "abc"
    assert files.sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_link_or_copy_replaces_and_leaves_no_temporary(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "d" / "t"
    source.write_text("x")
    for _ in range(2):  # the second time both names are one file already
        files.link_or_copy(source, target)
    assert target.read_text() == "x"
    assert [p.name for p in target.parent.iterdir()] == ["t"]


def test_os_errors_become_exit_codes() -> None:
    full = errors.from_os_error(OSError(errno.ENOSPC, "No space left on device", "/x/y.tif"))
    assert full.exit_code == 69 and "/x/y.tif" in full.message
    assert errors.from_os_error(FileNotFoundError(errno.ENOENT, "No such file", "a")).exit_code == 66


def entry(name: str, status: str = "done") -> ledger.Entry:
    return ledger.Entry(name, status, "k", {f"{name}.tif": [3, "abc"]})


def test_ledger_cuts_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with ledger.Ledger(path) as book:
        book.append(entry("a"))
        book.append(entry("b"))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"item": "c", "sta')
    assert set(ledger.read(path)) == {"a", "b"}
    with ledger.Ledger(path) as book:
        book.append(entry("c"))
    assert set(ledger.read(path)) == {"a", "b", "c"}
    assert path.read_bytes().startswith(whole)


def test_ledger_refuses_damage_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"nonsense\n" + json.dumps({"item": "a"}).encode() + b"\n")
    with pytest.raises(errors.InputError, match=r"x\.jsonl:1"):
        ledger.read(path)


def test_ledger_restart_keeps_the_old_outputs_for_removal(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with ledger.Ledger(path) as book:
        book.append(entry("a"))
        book.restart()
        book.append(entry("b"))
    assert set(ledger.read(path)) == {"b"}
    assert set(ledger.read(path.with_suffix(".old"))) == {"a"}


def test_lock_is_exclusive_and_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "tile.lock"
    with lock.Lock(path), pytest.raises(errors.LockedError, match=str(os.getpid())):
        lock.Lock(path).__enter__()
    assert not path.exists()


def test_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "tile.lock"
    child = "import os,sys; from pathlib import Path; from utils.workflow.lock import Lock; Lock(Path(sys.argv[1])).__enter__(); os._exit(9)"
    subprocess.run([sys.executable, "-c", child, str(path)], check=False, cwd=Path(__file__).parents[2])
    assert path.exists()
    with lock.Lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_lock_of_another_host_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "tile.lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": "1", "job": "77"}))
    with pytest.raises(errors.LockedError, match="job 77") as caught:
        lock.Lock(path).__enter__()
    assert caught.value.exit_code == 74 and str(path) in caught.value.remedy


def test_leftovers_of_one_file_are_removed_and_no_others(tmp_path: Path) -> None:
    names = ("split.json", "split.s2cr-tmp.7.ab.json", "index.s2cr-tmp.7.ab.json", "all/split.s2cr-tmp.7.ab.json")
    (tmp_path / "all").mkdir()
    for name in names:
        (tmp_path / name).touch()
    assert files.remove_leftovers_of(tmp_path / "split.json") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all", "index.s2cr-tmp.7.ab.json", "split.json"]
    assert files.remove_leftovers_of(tmp_path / "*") == 1 and len(list((tmp_path / "all").iterdir())) == 1
    assert files.remove_leftovers_of(tmp_path / "nowhere/split.json") == 0

"""Downloads against a server that misbehaves: each rule of the transfer by name, with the bytes it may cost."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub import Clock, Hub
from tests.fakes.products import Made, broken, product, s1_name, s2_name
from utils.io import part, transfer, verify
from utils.io.transfer import Limits, fetch
from utils.io.web import NotThereError, Web
from utils.science.catalogue import Request
from utils.workflow.errors import (
    CredentialError,
    DiskError,
    InputError,
    Interrupted,
    LockedError,
    NetworkError,
    VerificationError,
)

SMALL = Limits(overlap_bytes=4096, chunk_bytes=1 << 16, gain_bytes=1 << 20)
MADE = product(s2_name(1))
SIZE = len(MADE.data)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(Clock(200.0)) as server:
        yield server


def web(hub: Hub, **more: Any) -> Web:
    c = hub.clock
    return Web(sleep=c.sleep, now=c.now, wall=c.wall, **{"timeout_s": (5.0, 5.0), "keep_alive": False, **more})


def get(
    hub: Hub, tmp_path: Path, *faults: str, made: Made = MADE, body: dict[str, Any] | None = None, **known: Any
) -> Any:
    """Serve a product with faults, fetch it, return what was received; the target must then be the product."""
    url = hub.put("/p.zip", made.data, *faults, **(body or {}))
    target = tmp_path / f"{made.name}.zip"
    client = web(hub, timeout_s=(5.0, 0.4 if "stall" in faults else 5.0))
    received = fetch(made.request(url, **known), target, web=client, limits=SMALL)
    assert target.read_bytes() == made.data
    assert sorted(p.name for p in tmp_path.iterdir()) == [target.name]
    assert not hub.faults["/p.zip"], "a fault was never met"
    return received


def test_plain(hub: Hub, tmp_path: Path) -> None:
    received = get(hub, tmp_path)
    assert received.record() == {
        "size": SIZE, "md5": MADE.md5, "sha256": MADE.sha256, "verified": ["size", "md5", "zip", "sha256"],
        "host": hub.host, "bytes_received": SIZE, "requests": 1,
    }  # fmt: skip
    assert (tmp_path / f"{MADE.name}.zip").stat().st_mode & 0o777 == 0o444
    assert hub.log[0].authorization == "" and hub.log[0].range == ""


def test_radar_product(hub: Hub, tmp_path: Path) -> None:
    made = product(s1_name(7))
    assert "zip" in get(hub, tmp_path, made=made).verified


def test_a_file_that_is_there_costs_no_request(hub: Hub, tmp_path: Path) -> None:
    get(hub, tmp_path)
    again = fetch(MADE.request(hub.url + "/p.zip"), tmp_path / f"{MADE.name}.zip", web=web(hub))
    assert len(hub.log) == 1 and again.requests == 0 and again.sha256 == MADE.sha256


def test_a_damaged_file_under_the_final_name_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / f"{MADE.name}.zip").write_bytes(broken(MADE).data)
    assert get(hub, tmp_path).requests == 1


@pytest.mark.parametrize("fault", ["cut", "reset", "stall", "text at cut", "early close"])
def test_a_cut_costs_at_most_the_overlap(hub: Hub, tmp_path: Path, fault: str) -> None:
    received = get(hub, tmp_path, fault)
    second = hub.log[1]
    start = int(second.range.removeprefix("bytes=").removesuffix("-"))
    assert SIZE // 5 - SMALL.overlap_bytes <= start < SIZE and second.if_range == hub.bodies["/p.zip"].etag
    assert SIZE <= received.bytes_received <= SIZE + SMALL.overlap_bytes + 64


def test_resume_with_a_modification_time_only(hub: Hub, tmp_path: Path) -> None:
    received = get(hub, tmp_path, "cut", body={"etag": ""})
    assert hub.log[1].if_range == "Wed, 01 Jan 2020 00:00:00 GMT" and received.bytes_received < SIZE * 1.1


def test_no_resume_without_a_strong_validator(hub: Hub, tmp_path: Path) -> None:
    get(hub, tmp_path, "weak etag")
    assert [entry.range for entry in hub.log] == ["", ""]


@pytest.mark.parametrize("fault", ["206 wrong start", "206 wrong total", "changed etag", "416", "multipart"])
def test_a_wrong_partial_answer_starts_anew(hub: Hub, tmp_path: Path, fault: str) -> None:
    get(hub, tmp_path, "cut", fault)
    assert [bool(entry.range) for entry in hub.log] == [False, True, False]


def test_a_range_that_is_ignored_truncates(hub: Hub, tmp_path: Path) -> None:
    assert get(hub, tmp_path, "cut", "range ignored").requests == 2


def test_an_entity_that_changed_is_fetched_whole(hub: Hub, tmp_path: Path) -> None:
    hub.put("/p.zip", product(MADE.name, seed=1).data, "cut")
    other = Request("x.zip", hub.url + "/p.zip", "zip", product=MADE.name)
    target = tmp_path / f"{MADE.name}.zip"

    class EndError(Exception):
        pass

    def stop_after(length: int, _: int | None) -> None:
        if length > SIZE // 5:
            raise EndError

    with pytest.raises(EndError):
        fetch(other, target, web=web(hub), limits=SMALL, progress=stop_after)
    hub.put("/p.zip", MADE.data)
    fetch(other, target, web=web(hub), limits=SMALL)
    assert hub.log[-1].range and target.read_bytes() == MADE.data


def test_a_shorter_range_is_continued(hub: Hub, tmp_path: Path) -> None:
    received = get(hub, tmp_path, "cut", "206 short")
    assert received.requests == 3 and received.bytes_received <= SIZE + 2 * SMALL.overlap_bytes


@pytest.mark.parametrize(
    "fault", ["html", "json", "html as zip", "gzip", "500", "503", "429", "foreign redirect", "redirect loop"]
)
def test_an_answer_that_is_no_file_is_tried_again(hub: Hub, tmp_path: Path, fault: str) -> None:
    if fault == "foreign redirect":
        with Hub(hub.clock) as other:
            hub.foreign = other.url
            other.put("/p.zip", b"PK\x03\x04 not it", "500")
            get(hub, tmp_path, fault)
        return
    assert get(hub, tmp_path, fault).bytes_received <= SIZE + 64


def test_a_page_does_not_cost_what_was_received(hub: Hub, tmp_path: Path) -> None:
    assert get(hub, tmp_path, "cut", "html", "503", "json").bytes_received < SIZE * 1.1


@pytest.mark.parametrize("fault", ["flip", "oversized", "oversized unannounced"])
def test_wrong_content_is_fetched_again(hub: Hub, tmp_path: Path, fault: str) -> None:
    assert get(hub, tmp_path, fault).requests == 2


def test_a_flipped_bit_is_found_by_the_archive_test_alone(hub: Hub, tmp_path: Path) -> None:
    assert get(hub, tmp_path, "flip", md5="", size=None).verified == ("zip", "sha256")


def test_text_behind_an_archive_of_unknown_length_is_found(hub: Hub, tmp_path: Path) -> None:
    assert get(hub, tmp_path, "text without length", md5="", size=None).requests == 2


def test_an_early_end_of_unknown_length_is_found(hub: Hub, tmp_path: Path) -> None:
    assert get(hub, tmp_path, "early close", md5="", size=0).requests == 2


def test_blake3_alone(hub: Hub, tmp_path: Path) -> None:
    blake3 = pytest.importorskip("blake3").blake3(MADE.data).hexdigest()
    assert "blake3" in get(hub, tmp_path, "flip", md5="", blake3=blake3).verified
    hub.put("/p.zip", MADE.data)
    with pytest.raises(VerificationError, match="BLAKE3"):
        fetch(MADE.request(hub.url + "/p.zip", md5="", blake3="0" * 64), tmp_path / "b.zip", web=web(hub))


def test_right_md5_of_a_broken_archive(hub: Hub, tmp_path: Path) -> None:
    bad = broken(MADE)
    url = hub.put("/p.zip", bad.data)
    target = tmp_path / f"{MADE.name}.zip"
    with pytest.raises(VerificationError, match=r"failed verification 3 times \(archive test") as caught:
        fetch(bad.request(url), target, web=web(hub), limits=SMALL)
    assert caught.value.exit_code == 78 and len(hub.log) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{MADE.name}.zip.bad"]


def test_another_product_under_the_name(hub: Hub, tmp_path: Path) -> None:
    other = product(s2_name(2))
    url = hub.put("/p.zip", other.data)
    with pytest.raises(VerificationError, match="holds S2A"):
        fetch(Request("x.zip", url, "zip", product=MADE.name), tmp_path / "x.zip", web=web(hub))


def test_stale_checksum_needs_consent(hub: Hub, tmp_path: Path) -> None:
    url = hub.put("/p.zip", MADE.data)
    request = MADE.request(url, md5="0" * 32)
    target = tmp_path / f"{MADE.name}.zip"
    with pytest.raises(VerificationError, match="MD5") as caught:
        fetch(request, target, web=web(hub))
    assert "accept_stale_checksum" in caught.value.remedy and not target.exists() and len(hub.log) == 3
    received = fetch(request, target, web=web(hub), accept_stale_checksum=True)
    assert len(hub.log) == 5 and "stale-checksum" in received.verified and "md5" not in received.verified
    assert fetch(request, target, web=web(hub), accept_stale_checksum=True).requests == 0


def test_statuses_that_end_at_once(hub: Hub, tmp_path: Path) -> None:
    url = hub.put("/p.zip", MADE.data, "403", "404", "401")
    for error, code in ((CredentialError, 76), (NotThereError, 66), (CredentialError, 76)):
        with pytest.raises(error) as caught:
            fetch(MADE.request(url), tmp_path / "p.zip", web=web(hub))
        assert caught.value.exit_code == code
    assert len(hub.log) == 3 and list(tmp_path.iterdir()) == []


def test_ten_tries_then_67(hub: Hub, tmp_path: Path) -> None:
    url = hub.put("/p.zip", MADE.data, *["500"] * 10)
    with pytest.raises(NetworkError, match=r"no answer after 10 tries \(HTTP 500\)") as caught:
        fetch(MADE.request(url), tmp_path / "p.zip", web=web(hub))
    assert caught.value.exit_code == 67 and len(hub.log) == 10
    with pytest.raises(NetworkError, match="--offline"):
        fetch(MADE.request(url), tmp_path / "p.zip", web=web(hub, offline=True))


def test_tries_start_anew_with_progress(hub: Hub, tmp_path: Path) -> None:
    made = product(s2_name(3), 400_000)
    url = hub.put("/p.zip", made.data, *["cut"] * 14)
    cuts = iter(range(20_000, 400_000, 20_000))
    hub.some_cut = lambda _: next(cuts)  # type: ignore[method-assign]
    fetch(made.request(url), tmp_path / "p.zip", web=web(hub, tries=4), limits=replace(SMALL, gain_bytes=10))
    assert (tmp_path / "p.zip").read_bytes() == made.data and len(hub.log) > 4  # more cuts than tries


def test_rasters_and_xml(hub: Hub, tmp_path: Path) -> None:
    tif, xml = b"II*\0" + bytes(50_000), b'<?xml version="1.0"?>\n<Earth_Explorer_File/>\n'
    url = hub.put("/a.tif", tif, "cut", media="image/tiff")
    assert fetch(Request("a.tif", url, "tif"), tmp_path / "a.tif", web=web(hub), limits=SMALL).size == len(tif)
    url = hub.put("/a.EOF", xml, "html", media="application/xml")
    assert fetch(Request("a.EOF", url, "xml"), tmp_path / "a.EOF", web=web(hub)).verified == ("xml", "sha256")
    url = hub.put("/b.EOF", xml[:-5], media="application/xml")
    with pytest.raises(VerificationError, match="XML not well-formed"):
        fetch(Request("b.EOF", url, "xml"), tmp_path / "b.EOF", web=web(hub))
    url = hub.put("/b.tif", tif, length=False)
    with pytest.raises(VerificationError, match="neither its size nor a checksum"):
        fetch(Request("b.tif", url, "tif"), tmp_path / "b.tif", web=web(hub))
    assert fetch(Request("b.tif", url, "tif", size=len(tif)), tmp_path / "b.tif", web=web(hub)).verified[0] == "size"


def test_an_address_that_is_none(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be asked"):
        fetch(MADE.request("ftp://127.0.0.1/x.zip"), tmp_path / "p.zip", web=web(hub))


def test_nobody_asks_before_retry_after_has_ended(hub: Hub, tmp_path: Path) -> None:
    hub.retry_after_s = 100.0  # half a second
    for fault in ("429 seconds", "429 date", "503 seconds"):
        begin = time.monotonic()
        get(hub, tmp_path, fault)
        assert time.monotonic() - begin >= 0.5, fault
        (tmp_path / f"{MADE.name}.zip").unlink()
    assert hub.early == 0


def test_stop_keeps_what_is_there_and_resumes(hub: Hub, tmp_path: Path) -> None:
    made = product(s2_name(4), 3_000_000)
    url = hub.put("/p.zip", made.data)
    target, stopping = tmp_path / "p.zip", []
    with pytest.raises(Interrupted) as caught:
        fetch(made.request(url), target, web=web(hub), limits=SMALL, stop=lambda: bool(stopping),
              progress=lambda n, _: stopping.append(n) if n > 1_000_000 else None)  # fmt: skip
    assert caught.value.exit_code == 75 and not target.exists()
    kept = (tmp_path / "p.zip.part").stat().st_size
    assert 1_000_000 < kept < 1_400_000
    stored = json.loads((tmp_path / "p.zip.part.json").read_text())
    assert stored["url_without_query"] == url and stored["size"] == len(made.data)
    received = fetch(made.request(url), target, web=web(hub), limits=SMALL)
    assert received.bytes_received == len(made.data) - kept + SMALL.overlap_bytes
    assert target.read_bytes() == made.data


def test_stop_while_waiting(hub: Hub, tmp_path: Path) -> None:
    url = hub.put("/p.zip", MADE.data, *["429 seconds"] * 3)
    hub.retry_after_s = 900.0  # 4.5 s
    begin, asked = time.monotonic(), []
    with pytest.raises(Interrupted):
        fetch(MADE.request(url), tmp_path / "p.zip", web=web(hub), stop=lambda: asked.append(0) or len(asked) > 5)
    assert time.monotonic() - begin < 2.0


def test_a_full_disk_keeps_a_part_that_resumes(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = hub.put("/p.zip", MADE.data)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "_copy", full)
        with pytest.raises(DiskError, match="No space left while writing") as caught:
            fetch(MADE.request(url), tmp_path / "p.zip", web=web(hub))
    assert caught.value.exit_code == 69 and "resumes" in caught.value.remedy
    assert fetch(MADE.request(url), tmp_path / "p.zip", web=web(hub)).sha256 == MADE.sha256


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_really_full_disk(hub: Hub, tmp_path: Path) -> None:
    url = hub.put("/p.zip", MADE.data)
    (tmp_path / "p.zip.part").symlink_to("/dev/full")
    job = transfer.Job(MADE.request(url), part.Part(tmp_path / "p.zip"), web(hub), None, None, None, SMALL)
    job.part.drop = lambda: None  # type: ignore[method-assign] # keeps the link
    with pytest.raises(DiskError, match="No space left"):
        transfer.receive(job)


def test_state_of_another_file_is_not_resumed(hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / f"{MADE.name}.zip"
    one = part.Part(target)
    one.path.write_bytes(MADE.data[:50_000])
    for wrong in ({"url_without_query": "http://x/y"}, {"size": SIZE + 1}, {"md5": "1" * 32}, {"nonsense": 1}):
        right = {"url_without_query": hub.url + "/p.zip", "etag": '"e"', "size": SIZE, "md5": MADE.md5}
        one.state_path.write_text(json.dumps({**right, **wrong}))
        assert one.state(MADE.request(hub.url + "/p.zip?sig=1")) is None
        one.state_path.write_text(json.dumps(right))
        assert one.state(MADE.request(hub.url + "/p.zip?sig=1")) is not None
    one.state_path.write_text("{")
    assert get(hub, tmp_path).bytes_received == SIZE and hub.log[0].range == ""


def test_a_query_is_never_stored(hub: Hub, tmp_path: Path) -> None:
    url = hub.put("/p.zip", MADE.data, "cut", *["500"] * 3)
    with pytest.raises(NetworkError) as caught:
        fetch(MADE.request(url + "?sig=canary-1"), tmp_path / "p.zip", web=web(hub, tries=2))
    assert hub.log[0].query == "sig=canary-1" and "canary" not in str(caught.value)
    assert b"canary" not in b"".join(p.read_bytes() for p in tmp_path.iterdir()) and (tmp_path / "p.zip.part").exists()


def holder(tmp_path: Path, **more: Any) -> Path:
    lock = tmp_path / "p.zip.lock"
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": 1, "start": "0", "job": "", **more}))
    return lock


def test_lock(hub: Hub, tmp_path: Path) -> None:
    request = MADE.request(hub.put("/p.zip", MADE.data))
    holder(tmp_path, host="elsewhere")
    with pytest.raises(LockedError, match="process 1 on elsewhere") as caught:
        fetch(request, tmp_path / "p.zip", web=web(hub))
    assert caught.value.exit_code == 74 and "rm " in caught.value.remedy
    holder(tmp_path, pid=os.getpid(), start=part._process_start(os.getpid()))
    with pytest.raises(LockedError):
        fetch(request, tmp_path / "p.zip", web=web(hub))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    holder(tmp_path, pid=dead.pid, start="123")
    fetch(request, tmp_path / "p.zip", web=web(hub))
    assert [p.name for p in tmp_path.iterdir()] == ["p.zip"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d[:-1], "no end record|bytes follow|zip"),
        (lambda d: d + b"x", "bytes follow the end record"),
        (lambda d: d[: len(d) // 2], "no end record"),
        (lambda d: b"x" + d, "no zip file"),
        (lambda d: b"{" + d, "a page of the web server"),
    ],
)
def test_archive_test(tmp_path: Path, change: Callable[[bytes], bytes], reason: str) -> None:
    path = tmp_path / "p"
    path.write_bytes(change(MADE.data))
    with pytest.raises(verify.SpoiledError, match=reason):
        verify.verify(path, Request("p", "", "zip", product=MADE.name))


def test_every_flipped_bit_of_a_directory_is_an_error_and_no_crash(tmp_path: Path) -> None:
    """No bit flip may end in anything but acceptance of equal members or SpoiledError."""
    made = product(s2_name(5), 2000)
    path, accepted = tmp_path / "p", 0
    for position in range(0, len(made.data), 3):
        data = bytearray(made.data)
        data[position] ^= 1 << (position % 8)
        path.write_bytes(data)
        try:
            verify.verify(path, Request("p", "", "zip", product=made.name))
        except verify.SpoiledError:
            continue
        accepted += 1
        assert not made.middle - 1000 <= position < made.middle + 1000, "a wrong member byte was accepted"
    assert accepted < 100  # time stamps, attributes, versions: no member byte depends on them


def test_expected_bytes_of_an_unknown_size() -> None:
    assert transfer.expected_bytes(MADE.request("x", size=None)) == 1_200_000_000
    assert transfer.expected_bytes(MADE.request("x")) == SIZE

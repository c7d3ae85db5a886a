"""Downloads from an object store (an S3 emulator on loopback): signed addresses, ranges, entity tags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.products import product, s2_name
from utils.io.transfer import Limits, fetch
from utils.io.web import NotThereError, Web
from utils.workflow.errors import Interrupted

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto.server")
MADE = product(s2_name(31), 3_000_000)


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
                          aws_access_key_id="canary-key", aws_secret_access_key="canary-secret")  # fmt: skip
    client.create_bucket(Bucket="eodata")
    yield client
    server.stop()


def put(store: Any, data: bytes) -> str:
    store.put_object(Bucket="eodata", Key="S2/p.zip", Body=data)
    url: str = store.generate_presigned_url("get_object", Params={"Bucket": "eodata", "Key": "S2/p.zip"}, ExpiresIn=600)
    assert "AWSAccessKeyId=" in url or "X-Amz-Signature=" in url
    return url


def interrupted(request: Any, target: Path, limits: Limits) -> int:
    """Stop the transfer once a megabyte is there; returns the bytes kept."""
    seen: list[int] = []
    with pytest.raises(Interrupted):
        fetch(request, target, web=Web(), limits=limits, stop=lambda: bool(seen),
              progress=lambda n, _: seen.append(n) if n > 1_000_000 else None)  # fmt: skip
    return target.with_name(target.name + ".part").stat().st_size


def test_cut_and_resume(store: Any, tmp_path: Path) -> None:
    target, limits = tmp_path / "p.zip", Limits(overlap_bytes=1 << 16)
    request = MADE.request(put(store, MADE.data))
    kept = interrupted(request, target, limits)
    state = (tmp_path / "p.zip.part.json").read_text()
    assert "canary" not in state and "Signature" not in state and "S2/p.zip" in state and MADE.md5 in state
    received = fetch(request, target, web=Web(), limits=limits)
    assert 1_000_000 < kept < len(MADE.data) and received.requests == 1
    assert received.bytes_received == len(MADE.data) - kept + limits.overlap_bytes
    assert target.read_bytes() == MADE.data


def test_object_that_changed_in_between(store: Any, tmp_path: Path) -> None:
    """Of unknown checksum: only the entity tag tells that the rest would belong to another object."""
    target, limits = tmp_path / "p.zip", Limits(overlap_bytes=1 << 16)
    other = product(MADE.name, 3_000_000, seed=9)
    request = MADE.request(put(store, other.data), md5="", size=None)
    interrupted(request, target, limits)
    put(store, MADE.data)
    fetch(request, target, web=Web(), limits=limits)
    assert target.read_bytes() == MADE.data


def test_object_that_is_gone(store: Any, tmp_path: Path) -> None:
    url = put(store, MADE.data).replace("p.zip", "q.zip")
    with pytest.raises(NotThereError):
        fetch(MADE.request(url), tmp_path / "q.zip", web=Web())

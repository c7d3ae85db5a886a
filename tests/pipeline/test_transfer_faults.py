"""Downloads from a server that misbehaves, in numbers; `make test-faults` runs the same with 2,000 faults."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import campaign
from tests.fakes.hub import FAULTS
from utils.io import transfer
from utils.io.verify import Verified


def check_figures(figures: dict[str, Any], faults: int) -> None:
    assert figures["corrupt"] == [] and figures["wrong"] == [] and figures["leaks"] == []
    assert figures["faults"] >= faults and figures["factor"] <= 1.3
    assert figures["connections"] <= 4 and figures["early"] == 0
    assert figures["foreign_secrets"] == 0 and figures["foreign_requests"] > 0
    assert figures["logins"] == 1, "more than one login by password"
    assert all(good for *_, good in campaign.judge(figures)), campaign.judge(figures)


def test_a_few_hundred_faults_of_every_kind() -> None:
    figures = campaign.observe(250, seed=3)
    check_figures(figures, 250)
    assert set(figures["kinds"]) == set(FAULTS), "a kind of fault was never injected"
    assert figures["signed_lines"] > 10, "the log had nothing to remove: the search for secrets proves nothing"


def test_without_verification_corrupt_files_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The figure can fail: transport alone does not catch flipped bits and broken archives."""
    for name, value in campaign.CANARIES.items():
        monkeypatch.setenv(name, value)

    def trusting(path: Path, *_: Any, **__: Any) -> Verified:
        data = path.read_bytes()
        return Verified(len(data), "", hashlib.sha256(data).hexdigest(), ())

    monkeypatch.setattr(transfer, "verify", trusting)
    assert len(campaign.run(100, 1, tmp_path)["corrupt"]) > 10


@pytest.mark.slow
def test_two_thousand_faults() -> None:
    check_figures(campaign.observe(2000, seed=1), 2000)

"""One finished small chain for all pipeline tests."""

from __future__ import annotations

import pytest

from tests.pipeline.chain_tools import Chain, make_chain
from utils.workflow import config
from utils.workflow.stages import chain


def stages_of(built: Chain) -> list[str]:
    return chain("report", config.load(built.conf))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Every stage run once, undisturbed. Tests must not change it."""
    built = make_chain(tmp_path_factory.mktemp("chain"))
    for name in stages_of(built):
        built.run(name)
    return built

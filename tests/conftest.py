"""Before anything is imported: one OpenMP thread.

Boosted trees run many short parallel loops. Where another program has the second processor, their threads wait for one
another, and a test of ten seconds takes minutes. Results do not depend on the number of threads.
"""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where two processes share the tests (make test), a file stays in one, and so do all that use one finished chain."""
    for item in items:
        chain = "finished" in getattr(item, "fixturenames", ()) and "pipeline" in item.path.parts
        item.add_marker(pytest.mark.xdist_group("chain" if chain else str(item.path)))

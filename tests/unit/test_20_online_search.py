"""One search per real catalogue; opt-in with S2CR_ONLINE=1. Checks what holds whatever the services store today."""

from __future__ import annotations

import os
from types import ModuleType

import pytest
from shapely.geometry import Polygon, shape

from tests.fakes.sky import AREA, query
from utils.io import cdse, sara, stac
from utils.io.web import Web
from utils.workflow.schema import Endpoints

ENDS = Endpoints()
pytestmark = [
    pytest.mark.online,
    pytest.mark.skipif(not os.environ.get("S2CR_ONLINE"), reason="S2CR_ONLINE is not set: real services are not asked"),
]


@pytest.mark.parametrize(("provider", "address"), [(sara, ENDS.sara), (cdse, ENDS.cdse_catalogue), (stac, ENDS.stac)])
@pytest.mark.parametrize("mission", ["S1", "S2"])
def test_one_month_over_a_small_area(provider: ModuleType, address: str, mission: str) -> None:
    asked = query(mission)
    found = list(provider.search(asked, Web(tries=3), address))
    assert found and len({p.name for p in found}) == len(found)
    for product in found:
        assert product.mission == mission and asked.start <= product.start < asked.end and product.relative_orbit
        assert Polygon(product.footprint).buffer(0.5).intersects(shape(AREA))
        assert not [w for w in product.warnings if w.startswith("W_ORBIT")]

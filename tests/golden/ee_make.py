"""Write the golden requests to Earth Engine: `python -m tests.golden.ee_make`. Look at the difference before committing.

Each file is the canonical JSON of one request as the client serialises it. A change means that another question is asked.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "ee"
AREA = {"type": "Polygon", "coordinates": [[[149.1, -35.4], [149.3, -35.4], [149.3, -35.2], [149.1, -35.2], [149.1, -35.4]]]}  # fmt: skip
WINDOW = (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 2, 1, tzinfo=dt.UTC))


def requests() -> dict[str, Any]:
    """File name -> serialised request; the client must know its functions: a server on loopback tells it."""
    from tests.fakes import ee_server
    from utils.io import gee, gee_graph
    from utils.science.catalogue import Query
    from utils.science.gee_records import Found
    from utils.science.product import parse_name

    s2 = Query("S2", AREA, *WINDOW, max_cloud_tile=80.0)
    s1 = Query("S1", AREA, *WINDOW)
    scene = [
        Found(parse_name(f"S2A_MSIL2A_20200104T000241_N0213_R030_T55H{t}_20200104T020000"), f"i{t}", None, method)
        for t, method in (("GA", "cloud_score_plus"), ("GB", "s2cloudless"))
    ]
    with ee_server.serving() as server:
        gee.start("p", server.url)
        import ee

        built = {"s1": gee_graph.s1_request(ee, s1, WINDOW), "scenes": gee_graph.scenes_request(ee, s2, [scene])}
        for method in ("cloud_score_plus", "s2cloudless", "sen2cloudfree", "scl"):
            built[f"s2_{method}"] = gee_graph.s2_request(ee, s2, WINDOW, method)
        built["s2_only"] = gee_graph.s2_request(
            ee, s2, WINDOW, "s2cloudless", ["20200104T000241_20200104T001612_T55HGA"]
        )
        l1c = Query("S2", AREA, *WINDOW, s2_level="L1C")
        built["s2_l1c_s2cloudless"] = gee_graph.s2_request(ee, l1c, WINDOW, "s2cloudless")
        built["range"] = gee_graph.range_request(ee, AREA, 2020, ["B04", "B8A"], ["NDVI", "EVI"], True)
        return {f"{name}.json": ee.serializer.encode(value, for_cloud_api=True) for name, value in built.items()}


def text(value: Any) -> str:
    """Canonical JSON: sorted keys, one space of indent, final newline."""
    return json.dumps(value, sort_keys=True, indent=1) + "\n"


def main() -> None:
    """Write every file of tests/golden/ee."""
    FOLDER.mkdir(exist_ok=True)
    for name, value in requests().items():
        (FOLDER / name).write_text(text(value), encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()

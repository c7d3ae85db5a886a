"""What makes a preprocessing result stale: the keys that its pixels depend on, and no others."""

import pytest

from utils.workflow import freshness
from utils.workflow.schema import Conf, Preprocess, Speckle
from utils.workflow.stages import STAGES


def changed(stage: str, **settings: object) -> bool:
    before, after = Conf(), Conf(preprocess=Preprocess(**settings))  # type: ignore[arg-type]
    return freshness.slice_of(before, stage) != freshness.slice_of(after, stage)


@pytest.mark.parametrize(
    ("settings", "s1", "s2"),
    [
        ({"threads": 7}, False, False),
        ({"row_block": 64}, False, False),
        ({"speckle": Speckle(filter="lee")}, True, False),
        ({"incidence": True}, True, False),
        ({"cloud_mask": "fmask"}, False, True),
        ({"cloud_dilate_m": 100.0}, False, True),
        ({"backend": "snap"}, True, True),
        ({"s2_backend": "snap"}, False, True),
        ({"verify": "md5"}, True, True),
        ({"quicklook": False}, True, True),
    ],
)
def test_keys_of_the_two_sensors(settings: dict[str, object], s1: bool, s2: bool) -> None:
    assert (changed("preprocess_s1", **settings), changed("preprocess_s2", **settings)) == (s1, s2)


def test_keys_that_are_left_out_exist() -> None:
    for name in ("preprocess_s1", "preprocess_s2"):
        assert set(STAGES[name].without) <= set(Preprocess.model_fields)


def test_every_key_matters_somewhere() -> None:
    """A new key is read by one of the stages unless it is named as one that changes only the speed."""
    both = set(STAGES["preprocess_s1"].without) & set(STAGES["preprocess_s2"].without)
    assert both == {"threads", "row_block", "multitemporal"}

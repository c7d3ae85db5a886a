"""The requests to Earth Engine are those that were committed; a change must be deliberate (tests.golden.ee_make)."""

from tests.golden.ee_make import FOLDER, requests, text


def test_requests_are_unchanged() -> None:
    made = requests()
    assert sorted(made) == sorted(path.name for path in FOLDER.glob("*.json"))
    for name, value in made.items():
        assert text(value) == (FOLDER / name).read_text(encoding="utf-8"), f"{name}: see python -m tests.golden.ee_make"


def test_serialisation_is_deterministic() -> None:
    assert requests() == requests()

"""What whole audits said of honest and of planted detectors, as `scripts/audits.py` recorded it."""

import json
from pathlib import Path

import pytest

RECORD = Path(__file__).parents[2] / "docs" / "measurements" / "audits.json"
ROWS = json.loads(RECORD.read_text())["rows"]


def of(kind: str) -> list[dict]:
    return [row for row in ROWS if row["kind"] == kind]


def test_enough_was_audited() -> None:
    assert len(of("honest")) >= 4
    assert of("planted")


@pytest.mark.parametrize("row", of("planted"), ids=lambda row: row["name"])
def test_what_is_planted_is_masked(row) -> None:
    assert row["word"] == "masked"
    assert row["same_clean_decisions"] > 0.98
    assert row["suite"] == "suite-1"


@pytest.mark.parametrize("row", of("honest"), ids=lambda row: row["name"])
def test_what_is_honest_is_never_masked(row) -> None:
    assert row["word"] != "masked"
    assert row["reasons"] == [] or row["word"] in ("broken", "overstated")


def test_undefended_detectors_are_broken() -> None:
    words = {row["name"]: row["word"] for row in ROWS}
    assert words["synthetic-a"] == "broken"

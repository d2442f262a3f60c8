"""The page of results says what was measured: nothing by hand or beyond its interval."""

import json
import re
import sys
from pathlib import Path

import pytest

from pushpull.reproduce import preset_of, reproduce
from pushpull.reproduce.contrasts import decide

DOCS = Path(__file__).parents[2] / "docs" / "results"
FOLDER = DOCS / "from-scratch"
TABLE = DOCS / "from-scratch-table" / "results.json"
SECTIONS = ("map", "findings", "relations", "made")


@pytest.fixture(scope="module")
def results():
    return json.loads((FOLDER / "results.json").read_text())


@pytest.fixture
def page():
    return (DOCS / "index.md").read_text()


def section(page: str, name: str) -> list[str]:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert found, name
    return found[1].splitlines()


def test_no_statement_is_stronger_than_its_interval(results, page) -> None:
    assert results["findings"]
    for one in results["findings"]:
        low, high = one["interval"]
        assert low <= high
        assert one["reproduced"] == decide((low, high), one["threshold"]), one["claim"]
    said = [line.split("|")[-2].strip(" *") for line in section(page, "findings")[2:]]
    assert said == [one["reproduced"] for one in results["findings"]]


@pytest.mark.parametrize("name", SECTIONS)
def test_tables_are_made_of_the_results(results, page, name, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [str(DOCS.parents[1] / "scripts"), *sys.path])
    from results_docs import PARTS

    assert section(page, name) == PARTS[name][0](results)


def test_table_1_is_made_of_its_results_too(monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [str(DOCS.parents[1] / "scripts"), *sys.path])
    from results_docs import PARTS

    table, page = json.loads(TABLE.read_text()), (DOCS / "table1.md").read_text()
    for name in ("table", "findings", "audits", "made"):
        assert section(page, name) == PARTS[name][0](table)
    assert table["findings"]
    for one in table["findings"]:
        assert one["reproduced"] == decide(one["interval"], one["threshold"]), one["claim"]


@pytest.mark.parametrize("path", [FOLDER / "results.json", TABLE], ids=["map", "table 1"])
def test_results_name_no_machine(path) -> None:
    results = json.loads(path.read_text())
    text = json.dumps(results)
    assert not re.search(r"(?<![\w.])/(home|tmp|root|work|Users)\b", text)
    assert {"torch", "numpy", "python"} <= set(results["versions"])


def test_kept_scores_end_in_the_published_results(results, tmp_path) -> None:
    weights = tuple(results["map"]["weights"])
    preset = preset_of("standard", {"map": weights, "map_seeds": results["preset"]["map_seeds"]})
    again = reproduce(preset, tmp_path, what="map", kept=FOLDER / "stages", workers=1)
    assert not list((tmp_path / "stages").glob("*/model.safetensors"))
    assert json.loads(json.dumps(again["map"])) == results["map"]
    assert (tmp_path / "map.csv").read_text() == (FOLDER / "map.csv").read_text()

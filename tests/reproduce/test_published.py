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


COMPARES = re.compile(
    r"\b(beats?|loses|better|worse|stronger|weaker|keeps?|more|less|best|at most|at least|open)\b"
)
SAID = {
    "The paper reports that a loss on embeddings (AVIL, terms L1 and L4) keeps 93 mAP under five "
    "steps of PGD, where adversarial training keeps 56 to 63": ("paper", 0.93, 0.56, 0.63),
    "whether any weights do so is *open*": ("map", 0, "open"),
    "keeps 52.8 [21.0, 88.7] of the frames that it gets right, where the undefended detector keeps "
    "54.6 [44.2, 65.6]": ("cells", (0.01, 0), (0, 0)),
    "The three trainings of that pair keep 90, 68 and 0": ("values", (0.01, 0)),
    "D3 (L1 and L4 at 0.05) loses to adversarial training (B3) under PGD": ("table", 0, "no"),
    "and under the standard attack ([Table 1": ("table", 1, "no"),
    "whether both together (E3) keep more than adversarial training alone is *open*": (
        "table",
        2,
        "open",
    ),
    "98.5 against 99.0 under PGD": ("rows", "E3", "B3"),
    "one training with weights of 1 keeps 96 and another 1": ("among", (1, 1)),
    "Under the standard attack the interval of every cell holds chance": ("chance",),
    "that number alone proves nothing": (),
}
"""What the first paragraph says, sentence by sentence, and what of the results bears it out."""


def test_the_first_paragraph_says_no_more_than_the_results(results, page) -> None:
    (paragraph,) = re.findall(r"^\*\*In one paragraph\.\*\* (.*)$", page, re.MULTILINE)
    table = json.loads(TABLE.read_text())
    rows = {row["row"]: row for row in table["table1"]["rows"]}
    cells = {(cell["l1"], cell["l4"]): cell for cell in results["map"]["cells"]}
    for words, proof in SAID.items():
        assert words in paragraph, words
        match proof:
            case ("paper", *shares):
                given = [rows[row]["paper"]["pgd"] for row in ("D3", "B3")]
                assert given[0] == pytest.approx(shares[0], abs=0.005)
                assert shares[1] <= given[1] <= shares[2]
            case ("map" | "table" as which, number, verdict):
                finding = (results if which == "map" else table)["findings"][number]
                assert finding["reproduced"] == verdict
            case ("cells", *of):
                for one in (cells[pair]["pgd_right"] for pair in of):
                    numbers = [one["average_precision"], *one["interval"]]
                    left, low, high = (f"{100 * number:.1f}" for number in numbers)
                    assert f"{left} [{low}, {high}]" in words
            case ("values", pair):
                values = sorted(cells[pair]["pgd_right"]["values"], reverse=True)
                assert [int(n) for n in re.findall(r"\d+", words)] == [
                    round(100 * value) for value in values
                ]
            case ("rows", *of):
                columns = [rows[row]["columns"]["pgd"]["right"] for row in of]
                left = [f"{100 * column['average_precision']:.1f}" for column in columns]
                assert words == f"{left[0]} against {left[1]} under PGD"
            case ("among", pair):
                values = {round(100 * value) for value in cells[pair]["pgd_right"]["values"]}
                assert values >= {int(n) for n in re.findall(r"(?:keeps|another) (\d+)", words)}
            case ("chance",):
                for cell in cells.values():
                    assert cell["suite"]["interval"][0] <= cell["suite_chance"]
    # Whoever writes another sentence that compares has to say here what bears it out.
    for sentence in re.split(r"(?<=[.:;]) ", paragraph):
        if COMPARES.search(sentence):
            assert any(words in sentence or sentence in words for words in SAID), sentence


def test_what_is_said_of_all_rows_is_no_more_than_their_results(page) -> None:
    whole = json.loads((DOCS / "results.json").read_text())
    rows = {row["row"]: row["columns"] for row in whole["table1"]["rows"]}
    norms = {row: means["clean"] for row, means in whole["norms"].items()}
    chance = whole["table1"]["subset"]["speaking"]
    (said,) = re.findall(r"\n\n((?:- [^\n]*\n)+)\n### Table 1\n", page)
    undefended, hardened, alone, weak, lengths = said.splitlines()

    def left(row: str, attack: str = "worst") -> str:
        one = rows[row][attack]
        low, high = one["interval"]
        return f"{100 * one['average_precision']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

    def interval(row: str, attack: str = "worst") -> list[float]:
        return rows[row][attack]["interval"]

    assert f"cannot be told from chance under APGD on the margin: {left('A', 'apgd-margin')}, " in (
        undefended
    )
    assert f"chance {100 * chance:.1f}" in undefended
    low, high = interval("A", "apgd-margin")
    assert low <= chance <= high

    assert f"{left('B1')}, {left('B2')} and {left('B3')}; row A's interval, {left('A')}" in hardened
    assert min(interval(row)[0] for row in ("B1", "B2", "B3")) > interval("A")[1]
    halves = [decide(interval(row), 0.5) for row in ("B1", "B2", "B3")]
    assert halves == ["yes", "open", "open"]
    assert "Whether B2 and B3 keep half of what they have is *open*" in hardened

    assert f"the intervals hold {100 * chance:.1f} and end below 50" in alone
    for row in rows:
        if row.startswith("D"):
            low, high = interval(row)
            assert low <= chance <= high < 0.5

    of = {
        attack: [columns[attack]["average_precision"] for columns in rows.values()]
        for attack in ("bim", "pgd", "apgd-margin")
    }
    more = [a > b + 5e-4 for a, b in zip(of["pgd"], of["bim"], strict=True)]
    assert (
        f"more than BIM in {sum(more)} of {len(rows)} rows by the mean, and more than APGD" in weak
    )
    assert all(a > b for a, b in zip(of["pgd"], of["apgd-margin"], strict=True))

    for name in ("audio_norm", "visual_norm", "margin"):
        shares = [norms[row][name] / norms["A"][name] for row in ("D3", "E3")]
        assert f"{shares[0]:.2f} and {shares[1]:.2f} times" in lengths


def test_table_1_is_made_of_its_results_too(monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [str(DOCS.parents[1] / "scripts"), *sys.path])
    from results_docs import PARTS

    table, page = json.loads(TABLE.read_text()), (DOCS / "table1.md").read_text()
    for name in ("table", "findings", "audits", "made"):
        assert section(page, name) == PARTS[name][0](table)
    assert table["findings"]
    for one in table["findings"]:
        assert one["reproduced"] == decide(one["interval"], one["threshold"]), one["claim"]


def test_what_is_said_below_table_1_is_no_more_than_its_results() -> None:
    table, page = json.loads(TABLE.read_text()), (DOCS / "table1.md").read_text()
    rows = {row["row"]: row["columns"] for row in table["table1"]["rows"]}
    (said,) = re.findall(r"^On the frames that all four get right, (.*)$", page, re.MULTILINE)

    def ends(row: str, attack: str, frames: str = "right") -> list[float]:
        return rows[row][attack][frames]["interval"]

    def overlap(one: list[float], other: list[float]) -> bool:
        return one[0] <= other[1] and other[0] <= one[1]

    assert "keeps nearly everything under five steps of PGD and most under the standard attack" in (
        said
    )
    for row in ("B3", "E3"):
        assert ends(row, "pgd")[0] > 0.95
        assert ends(row, "suite")[0] > 0.5
    assert "L1 and L4 alone (D3) cannot be told from the undefended detector (A)" in said
    assert "On all frames those of B3 and E3 overlap too" in said
    for attack in ("pgd", "suite"):
        assert overlap(ends("D3", attack), ends("A", attack))
        assert overlap(ends("B3", attack, "all"), ends("E3", attack, "all"))


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


def test_kept_scores_end_in_the_published_table_too(tmp_path) -> None:
    table = json.loads(TABLE.read_text())
    rows = tuple(row["row"] for row in table["table1"]["rows"])
    preset = preset_of("standard", {"rows": rows, "seeds": table["preset"]["seeds"]})
    again = reproduce(preset, tmp_path, what="table1", kept=TABLE.parent / "stages", workers=1)
    assert not list((tmp_path / "stages").glob("*/model.safetensors"))
    again = json.loads(json.dumps(again))
    for part in ("table1", "findings", "audits", "norms"):
        assert again[part] == table[part]
    assert (tmp_path / "table1.csv").read_text() == (TABLE.parent / "table1.csv").read_text()

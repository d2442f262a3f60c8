"""Results under the protocol: what is taken, what is refused, what the page says."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.auditing.findings import WORDS
from pushpull.errors import ConfigError, OutputExists, RecordError
from pushpull.leaderboard import (
    EPS_AV,
    MARK,
    SCHEMA,
    VERDICTS,
    add_entry,
    entry_of,
    key_of,
    page_of,
    problems_of,
    read_board,
)
from pushpull.runtime.records import write_json

BY = {"defence": "none", "by": "somebody", "added": "2026-01-31"}


def result(**changes):
    """A record as `evaluate` writes it under the suite."""
    rates = {"tracks": 4, "frames": 100, "accuracy": 0.9, "average_precision": 0.95}
    rates |= {"interval": [0.8, 1.0], "interval_over": "people", "seconds": 2.0}
    said = {
        "detector": {"name": "mine", "model": "light_asd", "sha256": "ab" * 32},
        "data": {"name": "set", "split": "test", "made": {"tracks": 12}, "tracks": 4},
        "attack": {
            "attack": "suite", "version": "suite-1", "eps": {"audio": 5e-4, "visual": 0.5},
            "modality": "both", "norm": "linf", "targeted": False, "seed": 0,
        },
        "clean": dict(rates),
        "adversarial": {**rates, "average_precision": 0.4, "interval": [0.3, 0.5],
                        "accuracy": 0.2, "seconds": 90.0},
        "versions": {"pushpull": "1.2.3", "torch": "2.13"},
    }  # fmt: skip
    for place, value in changes.items():
        *above, last = place.split("__")
        into = said
        for part in above:
            into = into[part]
        into[last] = value
    return said


def audit(**changes):
    said = result()
    found = {
        "detector": said["detector"],
        "data": {k: v for k, v in said["data"].items() if k != "tracks"},
        "budget": said["attack"]["eps"],
        "verdict": {"word": "broken", "sentence": "broken: 40 mAP"},
        "standing": {"left": 0.1},
        "clips": {"tracks": 4},
    }
    return {**found, **changes}


def written(folder: Path, record, kind="evaluation", name="results.json") -> Path:
    folder.mkdir(exist_ok=True)
    write_json(folder / name, record, kind=kind)
    return folder / name


def test_verdicts_are_those_of_audits():
    assert VERDICTS == WORDS


def test_an_entry_says_what_the_protocol_asks_for():
    entry = entry_of(result(), **BY, audit=audit())
    assert problems_of(entry) == []
    assert entry["name"] == "mine"
    assert entry["attacked"] == {
        "average_precision": 0.4, "interval": [0.3, 0.5], "interval_over": "people",
        "accuracy": 0.2, "tracks": 4, "frames": 100,
    }  # fmt: skip
    assert entry["audit"]["verdict"] == "broken"
    assert entry["cost"] == {"clean_s": 2.0, "attacked_s": 90.0}
    assert entry["reproduce"] == (
        "pushpull evaluate mine set --split test --attack suite --eps 5 --seed 0"
    )
    assert json.loads(json.dumps(entry)) == entry


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"attack": None}, "the result was not attacked"),
        ({"attack__attack": "pgd"}, "attack.attack is 'pgd'; expected suite"),
        ({"attack__version": "suite-1-fast"}, "attack.version is 'suite-1-fast'; expected suite-1"),
        ({"attack__eps": {"audio": 5e-4, "visual": 0.4}}, "expected audio and visual of an eps_av"),
        ({"attack__eps": {"visual": 0.5}}, "expected audio and visual of an eps_av of 1, 2, 3, 4"),
        ({"attack__eps": {"audio": 6e-4, "visual": 0.6}}, "attack.eps is"),
        ({"attack__norm": "l2"}, "attack.norm is 'l2'; expected linf"),
        ({"attack__modality": "audio"}, "attack.modality is 'audio'"),
        ({"attack__targeted": "silent"}, "attack.targeted is 'silent'; expected False"),
        ({"attack__air": {"listeners": 4}}, "attack.air is .*; expected none"),
        ({"clean__accuracy": 90.0}, "clean.accuracy is 90.0; expected a share, 0 to 1"),
        ({"adversarial__average_precision": None}, "attacked.average_precision is missing"),
        ({"clean__interval": [0.9, 0.1]}, "clean.interval is .*; expected two shares, the lower"),
        ({"clean__interval_over": "frames"}, "expected tracks or videos or people"),
        ({"adversarial__tracks": 3}, "of different tracks or frames"),
        ({"data__tracks": 40}, "4 of 40 tracks"),
        ({"detector__sha256": "ab"}, "expected a checksum of 64"),
        ({"versions": {}}, "versions.pushpull is missing"),
    ],
)
def test_what_does_not_follow_the_protocol_is_said(change, says):
    with pytest.raises(RecordError, match=says):
        entry_of(result(**change), **BY)


@pytest.mark.parametrize("part", ["clean", "detector", "data", "versions", "adversarial", "attack"])
@pytest.mark.parametrize("odd", [["a"], "none", 3, [[1, 2]]])
def test_a_part_that_is_no_table_is_said_as_what_is_missing(part, odd):
    with pytest.raises(RecordError):
        entry_of(result() | {part: odd}, defence="none", by="me")


def test_a_verdict_is_one_of_the_words_of_audits():
    entry = entry_of(result(), **BY, audit=audit(verdict={"word": "holds", "sentence": "holds"}))
    assert entry["audit"]["verdict"] == "holds"
    odd = audit(verdict={"word": "splendid", "sentence": "splendid"})
    with pytest.raises(RecordError, match=r"audit.verdict is 'splendid'; expected masked or"):
        entry_of(result(), **BY, audit=odd)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"detector": {"sha256": "cd" * 32}}, "the audit has another detector"),
        ({"data": {"name": "other"}}, "another data set"),
        ({"budget": {"audio": 1e-4, "visual": 0.1}}, "another budget"),
    ],
)
def test_an_audit_of_something_else_is_refused(change, says):
    with pytest.raises(RecordError, match=says):
        entry_of(result(), **BY, audit=audit(**change))


@pytest.mark.parametrize("place", SCHEMA)
def test_every_field_of_the_schema_is_looked_at(place):
    """An entry whose field holds an object, or nothing, is no entry."""
    entry = entry_of(result(), **BY, audit=audit())
    *above, last = place.split(".")
    for value in (object(), None):
        wrong = copy.deepcopy(entry)
        into = wrong
        for part in above:
            into = into[part]
        into[last] = value
        if value is not None or SCHEMA[place].required:
            assert any(line.startswith(f"{place} is") for line in problems_of(wrong))


@given(st.sampled_from(EPS_AV))
def test_every_budget_of_the_protocol_is_taken(eps):
    entry = entry_of(result(attack__eps={"audio": eps / 10_000, "visual": eps / 10}), **BY)
    assert f"--eps {eps:g} " in entry["reproduce"]


def test_a_board_is_one_file_and_one_page(tmp_path):
    board = tmp_path / "docs" / "board.json"
    first = written(tmp_path / "a", result())
    verdict = written(tmp_path / "a", audit(), "audit", "audit.json")
    add_entry(board, first, **BY, audit=verdict)
    hard = result(detector__sha256="cd" * 32, adversarial__average_precision=0.7)
    add_entry(board, written(tmp_path / "b", hard).parent, **BY, name="hard | <b>")
    entries = read_board(board)
    assert [one["name"] for one in entries] == ["mine", "hard | <b>"]
    page = (tmp_path / "docs" / "board.md").read_text()
    assert page == page_of(entries)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    # The best first; nobody's words become markup.
    assert rows[1].startswith(r"| 1 | hard \| \<b\> | none | 95.0 (80.0 to 100.0, people) | 70.0")
    assert rows[2].startswith("| 2 | mine |")
    assert "broken" in rows[2]
    assert "## set, test, suite-1 at eps_av 5" in page
    assert "Audit: broken: 40 mAP." in page


def test_the_same_again_is_replaced_only_where_that_is_asked_for(tmp_path):
    board, path = tmp_path / "board.json", written(tmp_path / "a", result())
    add_entry(board, path, **BY)
    before = board.read_bytes()
    with pytest.raises(ConfigError, match=r"holds 'mine', added 2026-01-31 by somebody.*--replace"):
        add_entry(board, path, **BY, name="another name")
    assert board.read_bytes() == before
    entry = add_entry(board, path, **BY, name="another name", replace=True)
    assert [one["name"] for one in read_board(board)] == ["another name"]
    other = result(attack__eps={"audio": 1e-4, "visual": 0.1})
    add_entry(board, written(tmp_path / "b", other), **BY)
    assert len(read_board(board)) == 2
    assert len({key_of(one) for one in read_board(board)}) == 2
    assert key_of(entry) == key_of(read_board(board)[0])


def test_files_that_are_no_board_or_no_result_are_named(tmp_path):
    board = tmp_path / "board.json"
    with pytest.raises(RecordError, match=r"a/results.json: is no record of kind 'evaluation'"):
        add_entry(board, written(tmp_path / "a", {}, "audit"), **BY)
    assert not board.exists()
    with pytest.raises(RecordError, match=r"results.json: the result was not attacked"):
        add_entry(board, written(tmp_path / "b", result(attack=None)), **BY)
    good = written(tmp_path / "c", result())
    add_entry(board, good, **BY)
    record = json.loads(board.read_text())
    record["entries"][0]["clean"]["accuracy"] = 98
    board.write_text(json.dumps(record))
    with pytest.raises(RecordError, match=r"board.json, entry 1 \(mine\): clean.accuracy is 98"):
        add_entry(board, good, **BY, replace=True)
    board.write_text("{}")
    with pytest.raises(RecordError, match="is no record of kind 'leaderboard'"):
        read_board(board)


def test_a_page_of_somebodys_own_is_not_replaced(tmp_path):
    (tmp_path / "board.md").write_text("# Mine")
    with pytest.raises(OutputExists, match=r"board.md: is there already"):
        add_entry(tmp_path / "board.json", written(tmp_path / "a", result()), **BY)
    assert (tmp_path / "board.md").read_text() == "# Mine"
    assert not (tmp_path / "board.json").exists()


def test_the_page_of_the_documentation_is_that_of_its_file():
    folder = Path(__file__).resolve().parents[1] / "docs" / "results"
    page = (folder / "leaderboard.md").read_text()
    assert MARK in page
    assert page == page_of(read_board(folder / "leaderboard.json"))


def test_the_command_adds_and_refuses(pushpull, tmp_path):
    path, board = written(tmp_path / "a", result()), tmp_path / "board.json"
    line = ("leaderboard", "add", path, "--defence", "none", "--by", "me", "--board", board)
    code, out, err = pushpull(*line)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "mine: mAP 95.0 %, 40.0 % under suite-1", str(tmp_path / "board.md"),
    ]  # fmt: skip
    code, out, err = pushpull(*line)
    assert (code, out) == (1, "")
    assert "--replace" in err
    code, out, err = pushpull(*line, "--replace", "--json")
    assert code == 0
    assert json.loads(out)["entries"][0]["by"] == "me"

"""Records come back as they were, say what they are, and hold nothing that JSON does not."""

import json
import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.errors import DatasetError, OutputError, UnknownName
from pushpull.runtime.records import (
    SCHEMA_VERSIONS,
    as_json_text,
    parse_json,
    plain,
    read_json,
    unstamped,
    write_json,
)
from pushpull.runtime.version import versions

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def strict(text: str):
    """JSON as the standard has it: without NaN and infinity."""

    def refused(name: str):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refused)


def finite(value):
    """What is left of a value when infinity is none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    return [finite(v) for v in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text().filter(lambda k: k != "versions"), VALUES))
def test_what_is_written_is_read(record: dict) -> None:
    read = strict(as_json_text(record, kind="score"))
    assert unstamped(read) == unstamped(finite(record))
    assert list(read)[:2] == ["kind", "schema_version"]
    assert list(read)[-1] == "versions"


def test_a_file_says_what_it_is_and_ends_with_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"map": 0.5}, kind="score")
    text = path.read_text()
    assert text.endswith("}\n")
    assert text == as_json_text({"map": 0.5}, kind="score") + "\n"
    number = SCHEMA_VERSIONS["score"]
    assert read_json(path, kind="score") == {
        "kind": "score", "schema_version": number, "map": 0.5, "versions": versions(),
    }  # fmt: skip


def test_versions_that_are_given_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"versions": {"pushpull": "0"}, "a": 1}, kind="score")
    record = read_json(path, kind="score")
    assert record["versions"] == {"pushpull": "0"}
    write_json(path, record | {"a": 2}, kind="score")
    assert read_json(path, kind="score") == record | {"a": 2}


class Colour(str, Enum):
    red = "r"


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    colour: Colour


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1.0, np.inf], [2.0, -np.inf]]), [[1.0, None], [2.0, None]]),
        (np.array(["a", "b"]), ["a", "b"]),
        (Path("a") / "b", "a/b"),
        (Point(x=1.0, colour=Colour.red), {"x": 1.0, "colour": "r"}),
        ({1: "a", 2.5: "b", Colour.red: "c"}, {"1": "a", "2.5": "b", "r": "c"}),
        ((1, (2, 3)), [1, [2, 3]]),
    ],
    ids=str,
)
def test_values_take_their_nearest_form(value: object, expected: object) -> None:
    assert plain(value) == expected
    assert strict(json.dumps(plain(value))) == expected


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), Point])
def test_what_has_no_near_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a record cannot hold a"):
        plain(value)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1}, kind="score")
    before = path.read_text()
    with pytest.raises(TypeError):
        write_json(path, {"a": {2}}, kind="score")
    with pytest.raises(UnknownName, match="unknown kind of record 'poem'"):
        write_json(path, {"a": 1}, kind="poem")
    assert path.read_text() == before
    with pytest.raises(OutputError, match="cannot be written"):
        write_json(tmp_path / "nowhere" / "record.json", {"a": 1}, kind="score")
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"record\.json: cannot be read \(No such file or directory\); ask Ann"),
        ("{", r"record\.json: is no JSON \(.*line 1 column 2.*\); ask Ann"),
        ("\udcff", r"record\.json: is no JSON .*ask Ann"),
        ("[1]", r"record\.json: is no record of kind 'score' \(got 'list'\); ask Ann"),
        ("{}", r"is no record of kind 'score' \(got None\)"),
        ('{"kind": "audit", "schema_version": 1}', r"of kind 'score' \(got 'audit'\)"),
        ('{"kind": "score", "schema_version": 9}', "version 9; this version reads up to 1: update"),
        ('{"kind": "score"}', "has schema version None"),
    ],
)
def test_a_file_that_cannot_be_used_is_said(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content, errors="surrogateescape")
    with pytest.raises(DatasetError, match=says):
        read_json(path, kind="score", error=DatasetError, advice="ask Ann")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a": ' + "9" * 400 + "}", '{"a": ' + "9" * 5000 + "}"],
    ids=["brackets", "digits", "more"],
)
def test_brackets_and_digits_without_end_are_no_json(text, tmp_path):
    with pytest.raises(ValueError, match=r"nested too deeply|holds a number of"):
        parse_json(text)
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(OutputError, match=r"odd\.json: is no JSON"):
        read_json(path, kind="score")


def test_a_record_without_end_is_not_read(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(OutputError, match=r"large\.json: cannot be read \(is larger than"):
        read_json(path, kind="score")


@pytest.mark.parametrize("text", ['["a \\ud800"]', '{"a": {"\\uDCe9": 1}}', b'["\\udfff"]'])
def test_half_a_character_becomes_a_mark_that_can_be_written(text):
    assert "\N{REPLACEMENT CHARACTER}" in str(parse_json(text))
    str(parse_json(text)).encode()


def test_a_whole_character_in_two_halves_stays_one():
    assert parse_json('"\\ud83d\\ude00 \\udce9"') == "\N{GRINNING FACE} \N{REPLACEMENT CHARACTER}"

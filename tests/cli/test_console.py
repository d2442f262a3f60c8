"""Results on stdout, notes and errors on stderr; JSON alone, quiet without notes."""

import json

import pytest

from pushpull.cli.console import Console, complain, decibels
from pushpull.runtime.progress import no_progress

RECORD = {"rows": 3, "share": float("nan")}


@pytest.mark.parametrize("quiet", [False, True])
def test_people_read_lines_and_notes(capsys, quiet):
    console = Console(quiet=quiet)
    console.note("odd")
    console.say("one")
    console.result(RECORD, kind="score", lines=["two", "three"])
    out, err = capsys.readouterr()
    assert out == "one\ntwo\nthree\n"
    assert err == ("" if quiet else "odd\n")


def test_programs_read_one_document_and_nothing_else(capsys):
    console = Console(as_json=True)
    console.note("odd")
    console.say("one")
    console.result(RECORD, kind="score", lines=["two"])
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["kind"], record["schema_version"]) == ("score", 1)
    assert (record["rows"], record["share"]) == (3, None)
    assert err == "odd\n"


def test_progress_is_for_terminals_only(capsys):
    with Console().progress("work") as report:
        report("half", 1, 2)
        report("unknown", 1, None)
    with Console(quiet=True).progress("work") as report:
        assert report is no_progress
    assert capsys.readouterr() == ("", "")


def test_errors_are_one_line(capsys):
    complain("first\n  second")
    assert capsys.readouterr() == ("", "error: first second\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\n0 faces", r"a\n0 faces"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b2J\r", r"\x9b2J\r"),
        ("a\u2028b\u202egpj.exe", r"a\u2028b\u202egpj.exe"),
        ("naïve\t日本 ἄ", "naïve\t日本 ἄ"),
    ],
)
def test_a_name_tells_a_terminal_nothing(capsys, name, shown):
    console = Console()
    console.say(f"{name}: 1 face")
    console.note(f"{name}: odd")
    assert capsys.readouterr() == (f"{shown}: 1 face\n", f"{shown}: odd\n")
    complain(f"{name}: no sound")
    said = capsys.readouterr().err
    assert not {"\x1b", "\x9b"} & set(said)
    assert len(said.splitlines()) == 1


def test_a_name_beside_a_bar_tells_a_terminal_nothing(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Console().progress("\x1b]0;owned\x07.mp4") as report:
        report("half", 1, 2)
    said = capsys.readouterr().err
    assert r"\x1b]0;owned\x07.mp4" in said
    assert "\x1b]0;" not in said


def test_ratios_are_in_decibels():
    assert decibels(None, "SNR") == "unchanged"
    assert decibels(-3.04, "SNR") == "-3.0 dB SNR"

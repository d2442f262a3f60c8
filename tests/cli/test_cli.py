"""The command line: exit codes, results on stdout, everything else on stderr."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.ava_files import predictions_csv, truth_csv

from pushpull.runtime.version import __version__


def test_the_module_is_the_command_and_prints_its_version():
    result = subprocess.run(
        [sys.executable, "-m", "pushpull", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == __version__


@pytest.mark.parametrize(
    "command", [[], ["detect"], ["attack"], ["score"], ["weights"], ["data", "stats"]]
)
def test_every_command_explains_itself(pushpull, command):
    code, out, _ = pushpull(*command, "--help")
    assert code == 0
    assert "Usage" in out


@pytest.mark.parametrize(
    "arguments", [["dance"], ["score"], ["detect"], ["detect", "x.mp4", "--face-finder", "magic"]]
)
def test_wrong_usage_is_exit_code_two(pushpull, arguments):
    code, out, err = pushpull(*arguments)
    assert code == 2
    assert "Usage" in err
    assert out == ""


def test_score_prints_one_json_object(pushpull, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNSSN")
    guess = predictions_csv(tmp_path / "p.csv", [0.9, 0.8, 0.7, 0.6, 0.5])
    code, out, _ = pushpull("score", truth, guess, "--json")
    record = json.loads(out)
    assert code == 0
    assert record["average_precision"] == pytest.approx(5 / 6)
    assert {"low", "high", "rows", "positives"} <= set(record)


def test_score_says_what_ties_allow_and_what_was_left_out(pushpull, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    guess = predictions_csv(tmp_path / "p.csv", [1, 1])
    code, out, err = pushpull("score", truth, guess, "--allow-missing")
    assert code == 0
    assert "mAP 100.0000 %   2 rows, 1 speaking" in out
    assert "ties alone allow 50.0000 % to 100.0000 %" in out
    assert "1 rows stand in one file only" in err


def test_our_errors_are_one_line_and_exit_code_one(pushpull, tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SNS")
    code, out, err = pushpull("score", truth, tmp_path / "absent.csv")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert "absent.csv: cannot be read" in err


def test_stats_summarises_for_people_and_programs(pushpull, tmp_path):
    truth_csv(tmp_path / "g.csv", "SNS", header=False)
    code, out, _ = pushpull("data", "stats", tmp_path)
    assert code == 0
    assert "SPEAKING_AUDIBLE 2" in out
    record = json.loads(pushpull("data", "stats", tmp_path, "--json")[1])
    assert record["rows"] == 3


def test_weights_lists_names_and_licences(pushpull):
    code, out, _ = pushpull("weights")
    assert code == 0
    assert "light-asd-ava" in out
    assert "MIT" in out
    names = [row["name"] for row in json.loads(pushpull("weights", "--json")[1])["weights"]]
    assert "lr-asd-ava" in names


def test_score_does_not_wait_for_torch(tmp_path):
    truth = truth_csv(tmp_path / "g.csv", "SN")
    guess = predictions_csv(tmp_path / "p.csv", [1, 0])
    code = (
        "import sys; sys.argv = ['pushpull', 'score', *sys.argv[1:]]\n"
        "from pushpull.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(truth), str(guess)], check=True)


def test_a_reader_that_goes_away_causes_no_traceback(tmp_path):
    command = f"{sys.executable} -m pushpull weights | true"
    result = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, env=os.environ
    )
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("group", [[], ["data"], ["leaderboard"]])
def test_the_list_of_commands_is_whole_in_80_columns(pushpull, monkeypatch, group):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    _, out, _ = pushpull(*group, "--help")
    listed = out.partition("Commands:")[2]
    assert listed
    assert "..." not in listed
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "number", "found"),
    [
        ("pushpull doc", 1, ["doctor"]),
        ("pushpull data ver", 2, ["verify"]),
        ("pushpull detect --face-finder y", 3, ["yunet"]),
        ("pushpull detect --allow-s", 2, ["--allow-silent"]),
    ],
)
def test_a_shell_completes_commands_options_and_values(words, number, found):
    asked = {"_PUSHPULL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    line = [sys.executable, "-c", "import sys; sys.argv = ['pushpull']\n"
            "from pushpull.cli import main; main()"]  # fmt: skip
    result = subprocess.run(
        line, capture_output=True, text=True, check=False, env=os.environ | asked
    )
    assert result.stdout.split() == found


def test_completion_can_be_shown():
    # Which shell it is for is told by the one that asks.
    line = f"{sys.executable} -m pushpull --show-completion; true"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert "complete -o default -F" in result.stdout


def in_shell(command):
    line = command.replace("pushpull", f"{sys.executable} -m pushpull", 1)
    return subprocess.run(
        line, shell=True, capture_output=True, text=True, check=False, env=os.environ
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["weights --json", "configs", "--help", "--version"])
def test_a_full_disk_behind_stdout_is_said_in_one_line(command):
    result = in_shell(f"pushpull {command} > /dev/full")
    assert result.returncode == 1
    assert result.stderr.startswith("error: stdout: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("weights >&-", 0),
        ("score a.csv b.csv 2>&-", 1),
        ("score a.csv b.csv 2>/dev/full", 1),
        ("weights <&- >&- 2>&-", 0),
        ("nothing <&- >&- 2>&-", 2),
    ],
)
def test_streams_that_are_closed_or_full_change_no_exit_code(command, code):
    result = in_shell(f"pushpull {command}")
    assert (result.returncode, result.stderr) == (code, "")

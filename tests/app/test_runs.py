import base64
import json
import os

import pytest

from pushpull.app.runs import MARKS, Runs, tracks_of


def make(root, name, *files):
    folder = root / name
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_text("content")
    return folder


def test_runs_are_found_by_what_they_leave(tmp_path):
    make(tmp_path, "a/deep", "report.html", "results.json", "weights.bin")
    make(tmp_path, "b", "audit.md", "audit.json")
    make(tmp_path, "page", "audit.html", "audit.json", "maps.png")
    make(tmp_path, "c/talk", "adversarial.safetensors", "results.json")
    make(tmp_path, "d", "notes.txt")
    make(tmp_path, ".hidden", "report.html")
    found = {run.name: run for run in Runs(tmp_path).scan()}
    assert {name: run.kind for name, run in found.items()} == {
        "a/deep": "reproduce", "b": "audit", "page": "audit", "c/talk": "attack",
    }  # fmt: skip
    assert set(found["a/deep"].files) == {"report.html", "results.json"}
    assert set(found["page"].files) == {"audit.html", "audit.json", "maps.png"}
    assert found["page"].picture == "maps.png"


PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.mark.parametrize(
    ("kind", "record", "verdict"),
    [
        ("audit", {"verdict": {"sentence": "broken: 0 % is left"}}, "broken: 0 % is left"),
        ("audit", {"verdict": None}, ""),
        ("audit", [], ""),
        ("audit", {"verdict": {"sentence": "x" * 9000}}, "x" * 500),
        ("attack", {"clean": {"accuracy": 1.0}, "adversarial": {"accuracy": 0.446}},
         "45 % of the frames are still right, 100 % were"),
        ("attack", {"clean": {"accuracy": "all"}, "adversarial": {}}, ""),
        ("reproduce",
         {"findings": [{"reproduced": "yes"}, {"reproduced": "no"}, {"reproduced": "open"}]},
         "1 of 3 statements checked were reproduced"),
        ("reproduce", {"findings": []}, ""),
        ("reproduce", {}, ""),
    ],
)  # fmt: skip
def test_a_run_says_what_came_out_if_its_record_does(tmp_path, kind, record, verdict):
    mark = next(mark for mark, name in MARKS.items() if name == kind)
    make(tmp_path, "run", mark)
    name = "audit.json" if kind == "audit" else "results.json"
    (tmp_path / "run" / name).write_text(json.dumps(record))
    (run,) = Runs(tmp_path).scan()
    assert (run.kind, run.verdict) == (kind, verdict)


def test_the_first_picture_of_a_report_is_found_and_only_there(tmp_path):
    page = '<img alt="" src="data:image/png;base64,{}"><img src="data:image/png;base64,AAAA">'
    for name, content in (("good", base64.b64encode(PNG).decode()), ("bad", "A"), ("none", " ")):
        folder = make(tmp_path, name, "report.html", "results.json")
        (folder / "report.html").write_text(page.format(content))
    runs = Runs(tmp_path)
    found = {run.name: run for run in runs.scan()}
    assert runs.drawing(found["good"].files["report.html"]) == PNG
    assert found["good"].has_drawing
    assert not found["bad"].has_drawing
    assert runs.drawing(found["bad"].files["report.html"]) is None
    assert runs.drawing(found["good"].files["results.json"]) is None
    assert runs.drawing("another") is None
    assert runs.drawing(found["none"].files["report.html"]) == b"\0\0\0"


def test_an_audit_shows_the_picture_of_its_page(tmp_path):
    page = '<picture><source srcset="data:image/png;base64,AAAA"><img alt="" src="{}"></picture>'
    for name, files in (
        ("whole", ("audit.html", "audit.md", "audit.json")),
        ("page", ("audit.html",)),
    ):
        folder = make(tmp_path, name, *files)
        source = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        (folder / "audit.html").write_text(page.format(source))
    (tmp_path / "whole" / "audit.json").write_text('{"verdict": {"sentence": "0 % is left"}}')
    runs = Runs(tmp_path)
    found = {run.name: run for run in runs.scan()}
    assert {name: (run.kind, run.verdict) for name, run in found.items()} == {
        "whole": ("audit", "0 % is left"), "page": ("audit", ""),
    }  # fmt: skip
    for run in found.values():
        assert run.has_drawing
        assert runs.drawing(run.files["audit.html"]) == PNG


def test_a_run_may_be_the_folder_itself(tmp_path):
    folder = make(tmp_path, "demo-out", "report.html")
    (run,) = Runs(folder).scan()
    assert run.name == "demo-out"


def test_links_are_neither_followed_nor_served(tmp_path):
    secret = make(tmp_path, "secret", "report.html", "results.json")
    root = tmp_path / "root"
    run = make(root, "run", "report.html", "results.json")
    (run / "audit.json").symlink_to(secret / "results.json")
    (root / "linked").symlink_to(secret)
    runs = Runs(root)
    (found,) = runs.scan()
    assert set(found.files) == {"report.html", "results.json"}
    assert runs.file(found.files["report.html"]) == run / "report.html"
    # What becomes a link after the scan is not served, either.
    (run / "report.html").unlink()
    (run / "report.html").symlink_to(secret / "report.html")
    assert runs.file(found.files["report.html"]) is None
    run.rename(root / "moved")
    (root / "run").symlink_to(secret)
    assert runs.file(found.files["results.json"]) is None


def test_unknown_ids_and_no_folder_give_nothing(tmp_path):
    assert Runs(tmp_path).file("../../etc/passwd") is None
    assert Runs(None).scan() == []
    assert Runs(tmp_path / "gone").scan() == []


def test_frame_rates_of_an_attack_are_read_and_damage_is_no_crash(tmp_path):
    track = {"track_id": "talk:3", "fps": 25.0}
    (tmp_path / "results.json").write_text(json.dumps({"tracks": [track]}))
    assert tracks_of(tmp_path) == {"3": 25.0}
    (tmp_path / "results.json").write_text("{")
    assert tracks_of(tmp_path) == {}


def test_names_that_are_no_text_are_shown_and_served(tmp_path):
    run = make(
        tmp_path, os.fsdecode(b"caf\xe9"), "audit.md", "audit.json", os.fsdecode(b"\xff.png")
    )
    (run / "audit.json").write_text('{"verdict": {"sentence": "half a \\ud800 character"}}')
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    runs = Runs(tmp_path)
    (found,) = runs.scan()
    assert found.name == "caf\ufffd"
    assert set(found.files) == {"audit.md", "audit.json", "\ufffd.png"}
    assert found.verdict == "half a \ufffd character"
    assert runs.file(found.files["\ufffd.png"]) == run / os.fsdecode(b"\xff.png")
    assert Runs(tmp_path / "loop").scan() == []

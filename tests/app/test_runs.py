import json

from pushpull.app.runs import Runs, tracks_of


def make(root, name, *files):
    folder = root / name
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_text("content")
    return folder


def test_runs_are_found_by_what_they_leave(tmp_path):
    make(tmp_path, "a/deep", "report.html", "results.json", "weights.bin")
    make(tmp_path, "b", "audit.md", "audit.json")
    make(tmp_path, "c/talk", "adversarial.safetensors", "results.json")
    make(tmp_path, "d", "notes.txt")
    make(tmp_path, ".hidden", "report.html")
    found = {run.name: run for run in Runs(tmp_path).scan()}
    assert {name: run.kind for name, run in found.items()} == {
        "a/deep": "reproduce", "b": "audit", "c/talk": "attack",
    }  # fmt: skip
    assert set(found["a/deep"].files) == {"report.html", "results.json"}


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

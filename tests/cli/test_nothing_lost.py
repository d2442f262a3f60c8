"""No command replaces a file of the user's."""

from pathlib import Path

import pytest

from pushpull.runtime.outputs import RECORD

DLIB = ("--face-finder", "dlib", "--video", "none")
SMALL = ("--min-frames", 4, "--max-frames", 6)


@pytest.fixture
def places(tmp_path, talking, checkpoint, dataset):
    """What commands read, and an empty folder for what they write."""
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "talk.mp4").write_bytes(talking.read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    return {"video": videos / "talk.mp4", "weights": checkpoint, "data": dataset, "out": out}


def lines(video, weights, data, out):
    """For each command: its arguments, a file that it writes, and arguments that change it."""
    cut = ("run.out=" + str(out), "optim.epochs=1", "data.limit=2", "data.val=train")
    cut += ("data.workers=0", f"data.root={data}")
    attack = ("attack", video, "-d", weights, "--out", out, "-a", "fgsm", *DLIB)
    return {
        "detect": (("detect", video, "-d", weights, "--out", out, *DLIB), "talk.csv",
                   ("--threshold", 0.6)),
        "attack": (attack, "talk/results.json", ("--eps", 3)),
        "hide-faces": (("hide-faces", video, "--out", out, "--steps", 1, *DLIB[:2]),
                       "talk/hidden.mkv", ("--levels", 3)),
        "evaluate": (("evaluate", weights, data, "--out", out), "clean.csv", ("--limit", 1)),
        "universal": (("universal", weights, data, "--steps", 1, "--limit", 2, "--out", out),
                      "pattern.safetensors", ("--eps", 3)),
        "audit": (("audit", weights, data, "--fast", "--split", "train", "--out", out), "audit.md",
                  None),
        "certify": (("certify", weights, data, "--split", "train", "--limit", 2, "--frames", 2,
                     "--n", 20, "--n0", 2, "--out", out), "certificate.csv", ("--n", 30)),
        "reproduce": (("reproduce", "figure4", "--out", out), "report.html", None),
        "train": (("train", "light-asd", *cut), "best.safetensors", ("optim.lr=1e-2",)),
        "export": (("export", weights, "-f", "safetensors", "--out", out / "it.safetensors"),
                   "it.safetensors", None),
        "demo": (("demo", "--out", out), "two-people.mp4", None),
        "data synth": (("data", "synth", out, "--tracks", 3, *SMALL), "train/shard-00000.arrow",
                       ("--seed", 1)),
        "data video": (("data", "video", out / "talk.mp4", "--seconds", 0.4, "--people", 1),
                       "talk.mp4", ("--seed", 1)),
        "data video --truth": (("data", "video", out / "talk.mp4", "--seconds", 0.4, "--truth",
                                out / "truth.csv"), "truth.csv", None),
        "data stats": (("data", "stats", data, "--plot", out / "it.png"), "it.png", None),
        "data ava-synthetic": (("data", "ava-synthetic", out, "--videos", 2, "--seconds", 0.5),
                               "orig_videos/trainval/2OGrtcebl0P.mp4", ("--seconds", 0.6)),
        "configs": (("configs", "light-asd", "--out", out / "it.toml"), "it.toml", None),
    }  # fmt: skip


NAMES = tuple(lines(*map(Path, ("video", "weights", "data", "out"))))


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_there_is_refused_before_any_work(pushpull, places, name):
    arguments, file, _ = lines(**places)[name]
    path = places["out"] / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")
    code, out, err = pushpull(*arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert path.name in err or str(places["out"]) in err
    assert "another" in err
    assert snapshot(places["out"]) == {path.relative_to(places["out"]): b"mine"}


REPEATED = [name for name in NAMES if name not in ("audit", "reproduce", "demo", "configs")]


@pytest.mark.parametrize("name", REPEATED)
def test_the_same_again_is_no_loss_and_something_else_is(pushpull, places, name):
    arguments, file, change = lines(**places)[name]
    again = (*arguments, "--resume") if name == "train" else arguments
    for line in (arguments, again):
        code, _, err = pushpull(*line)
        assert code == 0, err
    path = places["out"] / file
    before = snapshot(places["out"])
    if change is not None:
        code, out, err = pushpull(*arguments, *change)
        assert (code, out) == (2, ""), err
        assert "--overwrite" in err
        assert snapshot(places["out"]) == before
        code, _, err = pushpull(*arguments, *change, "--overwrite")
        assert code == 0, err
        assert path.read_bytes() != before[path.relative_to(places["out"])]
        return
    path.write_bytes(b"mine")
    assert pushpull(*arguments)[0] == 2
    assert path.read_bytes() == b"mine"
    code, _, err = pushpull(*arguments, "--overwrite")
    assert code == 0, err
    assert path.read_bytes() != b"mine"


@pytest.mark.parametrize("command", ["detect", "attack"])
def test_one_video_that_may_not_be_done_stops_a_batch_before_it_begins(pushpull, places, command):
    (places["video"].parent / "other.mp4").write_bytes(places["video"].read_bytes())
    folder = places["out"] if command == "detect" else places["out"] / "talk"
    folder.mkdir(exist_ok=True)
    (folder / ("talk.csv" if command == "detect" else "results.json")).write_text("mine")
    line = (places["video"].parent, "-d", places["weights"], "--out", places["out"], *DLIB)
    code, _, err = pushpull(command, *line)
    assert code == 2, err
    assert list(snapshot(places["out"]).values()) == [b"mine"]


def test_results_beside_the_video_leave_the_video(pushpull, places):
    video, folder = places["video"], places["video"].parent
    before = video.read_bytes()
    line = ("detect", video, "-d", places["weights"], "--out", folder, "--face-finder", "dlib")
    for more in ((), ("--overwrite",)):
        code, _, err = pushpull(*line, *more)
        assert code == 2
        assert "is an input of this command and is never replaced" in err
    assert snapshot(folder) == {video.relative_to(folder): before}
    code, _, err = pushpull(*line, "--video", "none")
    assert code == 0, err
    assert video.read_bytes() == before
    assert (folder / "talk.csv").is_file()


def test_an_input_of_the_batch_is_no_place_for_the_result_of_another(pushpull, places):
    folder = places["video"].parent
    mine = folder / "sub" / "talk.mp4"
    mine.parent.mkdir()
    mine.write_bytes(places["video"].read_bytes())
    line = ("detect", mine, places["video"], "-d", places["weights"], "--face-finder", "dlib")
    code, _, err = pushpull(*line, "--out", folder, "--overwrite")
    assert code == 2
    assert "never replaced" in err
    assert places["video"].read_bytes() == mine.read_bytes()


def test_two_inputs_of_one_name_have_results_of_two_names(pushpull, places):
    second = places["video"].parent / "sub" / "talk.mp4"
    second.parent.mkdir()
    second.write_bytes(places["video"].read_bytes())
    line = (places["video"], second, "-d", places["weights"], "--out", places["out"], *DLIB)
    assert pushpull("detect", *line)[0] == 0
    names = {p.name for p in snapshot(places["out"])}
    for suffix in ("csv", "json", "rttm", "srt", "vtt", "labels.csv"):
        assert {f"talk.{suffix}", f"talk-2.{suffix}"} <= names
    assert len(list(places["out"].iterdir())) == 12 + 1  # and RECORD
    assert pushpull("attack", *line, "-a", "fgsm")[0] == 0
    assert {p.parent.name for p in snapshot(places["out"])} == {
        "",
        "talk",
        "talk-2",
        RECORD,
    }


def test_a_resumed_training_keeps_its_weights_and_one_begun_anew_is_asked_for(pushpull, places):
    arguments, _, _ = lines(**places)["train"]
    assert pushpull(*arguments)[0] == 0
    before = snapshot(places["out"])
    code, _, err = pushpull(*arguments)
    assert code == 2
    assert "go on with --resume, choose another run.out, or --overwrite" in err
    assert snapshot(places["out"]) == before
    start = places["out"] / "best.safetensors"
    code, _, err = pushpull(*arguments, f"run.init={start}", "--overwrite")
    assert code == 2
    assert "is where the run starts and is never replaced" in err
    assert snapshot(places["out"]) == before


def test_a_training_stopped_before_its_first_checkpoint_begins_again(pushpull, places):
    arguments, _, _ = lines(**places)["train"]
    assert pushpull(*arguments)[0] == 0
    for name in ("last.ckpt", "best.safetensors", "final.safetensors"):
        (places["out"] / name).unlink()
    assert pushpull(*arguments, "optim.lr=1e-2")[0] == 2
    code, _, err = pushpull(*arguments)
    assert code == 0, err

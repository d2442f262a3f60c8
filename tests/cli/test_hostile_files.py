"""A batch in which all files but two are bad: two are done, and each of the others is named."""

import json
import os
import shutil
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from support.lists import TEXTS, write_lists
from support.media_files import make_video
from support.watched_files import WatchedFile

from pushpull.data import open_tracks
from pushpull.media import read_frames, read_waveform, write_wav
from pushpull.runtime.outputs import RECORD


def lying(path):
    """A film that states a length of three thousand years."""
    make_video(path, size=(64, 48), n_frames=25, audio_codec="pcm_s16le")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 1e14)
    path.write_bytes(data)


def test_no_file_ends_a_batch_whatever_is_wrong_with_it(pushpull, talking, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    lying(folder / "lying.mkv")
    (folder / "loop.mp4").symlink_to(folder / "pool.mp4")
    (folder / "pool.mp4").symlink_to(folder / "loop.mp4")
    (folder / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    (folder / "empty.mp4").touch()
    (folder / "list.mp4").write_text("ffconcat version 1.0\nfile 'talk.mp4'\n")
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 100)
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4"))
    for good in (folder / "talk.mp4", odd):
        good.write_bytes(talking.read_bytes())
    out = tmp_path / "out"
    line = ("detect", folder, "-d", "synthetic-a", "--face-finder", "dlib", "--video", "none")
    code, text, err = pushpull(*line, "--out", out, "--json")
    assert code == 1
    records = json.loads(text)["videos"]
    done = {record["name"] for record in records if "error" not in record}
    assert done == {"talk", "caf\ufffd"}
    failed = {Path(r["video"]).name: r["error"] for r in records if "error" in r}
    assert failed.keys() == {
        "lying.mkv", "loop.mp4", "pool.mp4", "gone.mp4", "pipe.mp4", "folder.mp4", "empty.mp4",
        "list.mp4", "noise.mp4",
    }  # fmt: skip
    for name, why in failed.items():
        assert name in why
        assert "nobody foresaw" not in why
    assert err.count("error: ") == 9
    names = {path.name for path in out.iterdir()} - {RECORD}
    assert names == {
        f"{name}.{suffix}"
        for name in done
        for suffix in ("csv", "labels.csv", "json", "rttm", "srt", "vtt")
    }
    # The same again finds its own results and replaces them.
    assert pushpull(*line, "--out", out, "--json")[0] == 1


def test_attack_goes_on_after_a_bad_file_and_writes_odd_names(pushpull, talking, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    odd.write_bytes(talking.read_bytes())
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    line = ("attack", tmp_path / "loop.mp4", odd, "-d", "synthetic-a", "-a", "fgsm")
    code, _, err = pushpull(*line, "--face-finder", "dlib", "--out", tmp_path / "out")
    assert code == 1
    assert err.count("error: ") == 1
    assert "loop.mp4" in err
    assert (tmp_path / "out" / "caf\ufffd" / "results.json").is_file()


def with_sound(video, path, samples):
    """A copy of a video with another sound, samples (S,) at 16 kHz as they are."""
    with av.open(str(video)) as old, av.open(str(path), "w") as new:
        pictures = new.add_stream_from_template(old.streams.video[0])
        sound = new.add_stream("pcm_f32le", rate=16000, layout="mono")
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                new.mux(packet)
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.rate, frame.pts = 16000, 0
        new.mux(sound.encode(frame))
        new.mux(sound.encode(None))


@pytest.mark.parametrize(
    "line",
    [
        ("detect", "--video", "fast"),
        *(("attack", "-a", "fgsm", "--modality", way) for way in ("audio", "visual", "both")),
    ],
    ids=lambda line: f"{line[0]} {line[-1]}",
)
def test_sound_that_is_no_number_is_said_to_be_none(pushpull, talking, tmp_path, line):
    levels = {"nan": np.nan, "inf": np.inf, "minus": -np.inf, "huge": 1e30}
    (tmp_path / "in").mkdir()
    for name, level in levels.items():
        samples = np.full(16000, level, np.float32)
        with_sound(talking, tmp_path / "in" / f"{name}.mkv", samples)
    command, *options = line
    options += ["-d", "synthetic-a", "--face-finder", "dlib", "--out", tmp_path / "out"]
    code, _, err = pushpull(command, tmp_path / "in", *options, "--quiet")
    assert code == 1
    said = err.splitlines()
    assert len(said) == len(levels)
    for one in said:
        name = next(name for name in levels if f"/in/{name}.mkv: " in one)
        reason = "beyond full scale" if name == "huge" else "are not numbers"
        assert reason in one
        assert "expected numbers from -1 to 1" in one
        assert "silent" not in one
        assert "unfinished" not in one
    left = {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {path.name for path in left} <= {RECORD}


FACES = ("-d", "synthetic-a", "--face-finder", "dlib")
BATCHES = {
    "detect": ("detect", *FACES, "--video", "none", "--quiet"),
    "attack": ("attack", *FACES, "-a", "fgsm", "--quiet"),
    "hide-faces": (
        "hide-faces",
        "--face-finder",
        "dlib",
        "--steps",
        "1",
        "--end",
        "0.6",
        "--quiet",
    ),
}
"""Commands that take many videos."""

LEVELS = {"nan": np.nan, "inf": np.inf, "minus": -np.inf, "huge": 1e30}


@pytest.mark.parametrize("command", BATCHES)
def test_no_command_opens_what_a_file_names(pushpull, talking, tmp_path, command):
    (tmp_path / "in").mkdir()
    secret = tmp_path / "in" / "secret.mkv"
    secret.write_bytes(talking.read_bytes())
    lists = write_lists(tmp_path / "in", secret)
    with WatchedFile(secret) as watched:
        code, _, err = pushpull(*BATCHES[command], *lists, "--out", tmp_path / "out")
        assert code == 1
        assert watched.times_opened() == 0
    assert len(err.splitlines()) == len(lists)
    for name in TEXTS:
        assert f"{tmp_path}/in/{name}: is text; expected a video" in err


def test_live_opens_nothing_that_a_file_names(pushpull, talking, tmp_path):
    secret = tmp_path / "secret.mkv"
    secret.write_bytes(talking.read_bytes())
    with WatchedFile(secret) as watched:
        for path in write_lists(tmp_path, secret):
            code, out, err = pushpull("live", path, *FACES, "--unpaced")
            assert (code, out) == (1, "")
            assert err.startswith(f"error: {path}: ")
            assert err.count("\n") == 1
        assert watched.times_opened() == 0


@pytest.mark.parametrize("level", LEVELS)
def test_live_says_that_sound_is_no_number(pushpull, talking, tmp_path, level):
    samples = np.full(32_000, LEVELS[level], np.float32)
    with_sound(talking, tmp_path / "odd.mkv", samples)
    code, out, err = pushpull("live", tmp_path / "odd.mkv", *FACES, "--unpaced")
    assert code == 1
    assert "nan" not in out
    assert "beyond full scale" in err if level == "huge" else "are not numbers" in err


def heads(folder, talking):
    """Three people of whom one is heard well, and one whose sound is no number."""
    for name in ("ada", "bob", "cy", "dee"):
        (folder / name).mkdir(parents=True)
        path = folder / name / f"{name}.mkv"
        sound = read_waveform(talking)
        if name == "bob":
            sound = np.full(16_000, np.nan, np.float32)
        with_sound(talking, path, sound)
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_a_clip_whose_sound_is_no_number_costs_no_other(pushpull, talking, tmp_path, workers):
    folder = heads(tmp_path / "heads", talking)
    lines = [f"{name}/{name}.mkv,{name},yes" for name in ("ada", "bob", "cy", "dee")]
    (tmp_path / "who.csv").write_text("\n".join(["file,person,speaks", *lines, ""]))
    code, _, err = pushpull(
        "data", "talkset", folder, "--out", tmp_path / "set", "--table", tmp_path / "who.csv",
        "--face-finder", "dlib", "--negatives", "3", "--workers", workers, "--held-out", "0.3",
        "--seed", "2",
    )  # fmt: skip
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "bob.mkv: 16000 of 16000 samples of the sound are not numbers" in said[0]
    assert code == 1
    if "no clip of the split" not in err:
        of = [open_tracks(tmp_path / "set", split) for split in ("train", "val", "test")]
        examples = [tracks[i] for tracks in of for i in range(len(tracks))]
        assert {one.person for one in examples} == {"ada", "cy", "dee"}
        assert all(bool(one.clip.waveform.isfinite().all()) for one in examples)


def test_a_video_of_ava_whose_sound_is_no_number_is_left_out_and_said(pushpull, tmp_path):
    assert pushpull(
        "data", "ava-synthetic", tmp_path / "ava", "--videos", "2", "--seconds", "0.8"
    )[0] == 0  # fmt: skip
    video = sorted((tmp_path / "ava").rglob("*.mp4"))[0]
    kept = tmp_path / "kept.mp4"
    video.rename(kept)
    with_sound(kept, video.with_suffix(".mkv"), np.full(16_000, np.inf, np.float32))
    code, out, err = pushpull("data", "ava", tmp_path / "ava", "--out", tmp_path / "set")
    assert code == 1
    assert "16000 of 16000 samples of the sound are not numbers" in err
    assert "0 tracks of 0 of 1 videos" in out
    assert "4 tracks of 1 of 1 videos" in out


@pytest.mark.parametrize("level", LEVELS)
def test_a_data_set_whose_sound_is_no_number_is_not_scored(pushpull, tmp_path, level):
    entity = "vid_0000_0001:1"
    pictures = tmp_path / "clips_videos/test/vid" / entity
    for folder in (pictures, tmp_path / "clips_audios/test/vid", tmp_path / "csv"):
        folder.mkdir(parents=True)
    labels = "[0, 1, 0, 1, 0, 1, 0, 1, 0, 1]"
    (tmp_path / "csv/test_loader.csv").write_text(f"{entity}\t10\t25.0\t{labels}\t0\n")
    for number in range(10):
        grey = np.full((90, 80), 90 + number, np.uint8)
        cv2.imwrite(str(pictures / f"{number / 25:.2f}.jpg"), grey)
    wav = tmp_path / "clips_audios/test/vid" / f"{entity}.wav"
    write_wav(wav, np.zeros(6400, np.float32))
    head = wav.read_bytes()[:-25_600]
    wav.write_bytes(head + np.full(6400, LEVELS[level], "<f4").tobytes())
    lines = (
        ("evaluate", "synthetic-a", tmp_path, "--attack", "fgsm", "--out", tmp_path / "out"),
        ("data", "stats", tmp_path, "--plot", tmp_path / "plot.png"),
        ("data", "verify", tmp_path),
    )
    for line in lines:
        code, out, err = pushpull(*line)
        assert code == 1
        why = "beyond full scale" if level == "huge" else "are not numbers"
        assert why in (out if "verify" in line else err)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.json"))


def shown(path, talking, times_s, **more):
    """A film of the talking person with a picture at each of some times."""
    pictures = [frame.rgb() for frame in read_frames(talking)]
    length_s = min(times_s[-1] + 0.04, 60)
    more.setdefault("sound", np.resize(read_waveform(talking), round(16_000 * length_s)))
    return make_video(
        path, timestamps_s=list(times_s), size=(320, 240),
        picture=lambda i: pictures[i % len(pictures)], **more,
    )  # fmt: skip


RATES = {
    "slides.mkv": np.arange(10) * 10.0,
    "hours.mkv": np.arange(3) * 3500.0,
    "slow.mkv": np.arange(6) * 0.95,
    "fast.mkv": np.arange(50) * 0.001,
    "varying.mkv": np.cumsum([0.001, 0.03, 0.2, 1.5, 7.0] * 2),
    "one.mkv": [0.0],
}
"""Pictures a long or a short time apart."""


def test_the_work_is_by_what_is_shown_and_not_by_how_long(pushpull, talking, tmp_path):
    (tmp_path / "in").mkdir()
    for name, times_s in RATES.items():
        shown(tmp_path / "in" / name, talking, times_s)
    line = ("detect", tmp_path / "in", *FACES, "--out", tmp_path / "out", "--json")
    code, text, err = pushpull(*line, "--video", "fast", "--reframe", "9:16", "--parquet")
    assert code == 0, err
    found = {record["name"]: record for record in json.loads(text)["videos"]}
    for name, times_s in RATES.items():
        record = found[Path(name).stem]
        # The face is found, and perhaps another in the pattern behind it.
        frames = sum(track["frames"] for track in record["tracks"])
        assert frames <= 2 * len(times_s)
        speaks_s = sum(end - start for t in record["tracks"] for start, end in t["turns"])
        assert speaks_s <= 2 * len(times_s)


def test_live_says_of_slides_what_it_says_of_a_film(pushpull, talking, tmp_path):
    for name in ("slides.mkv", "hours.mkv", "varying.mkv"):
        path = shown(tmp_path / name, talking, RATES[name])
        code, out, err = pushpull("live", path, *FACES, "--unpaced", "--json-lines")
        assert code == 0, err
        scores = [json.loads(line) for line in out.splitlines()]
        # A picture stands for a second, and faces are followed for as long.
        assert len(scores) <= 50 * len(RATES[name])


def test_an_attack_makes_no_days_of_silence(pushpull, talking, tmp_path):
    path = shown(tmp_path / "days.mkv", talking, np.arange(5) * 3500.0)
    line = ("attack", path, *FACES, "-a", "fgsm", "--out", tmp_path / "out")
    code, _, err = pushpull(*line)
    assert code == 1
    assert "faces are seen up to 3.9 hours after the sound has ended" in err


def lies(folder, talking):
    """Films that state what cannot be; of some, what they hold is none the worse for it."""
    lying(folder / "length.mkv")
    late = folder / "late.mkv"
    gap = folder / "gap.mkv"
    for path, of in ((late, lambda time_s: True), (gap, lambda time_s: time_s > 0.5)):
        film = shown(folder / "plain.mkv", talking, np.arange(15) / 15, options={"bf": "0"})
        with av.open(str(film)) as old, av.open(str(path), "w") as new:
            streams = [new.add_stream_from_template(stream) for stream in old.streams]
            for packet in old.demux():
                if packet.dts is not None:
                    if of(float(packet.pts * packet.time_base)):
                        packet.pts += round(1e8 / packet.time_base)
                        packet.dts = packet.pts
                    packet.stream = streams[packet.stream.index]
                    new.mux(packet)
        film.unlink()
    # The scale of an mp4's times and its length in it, of the film and of each track.
    film = shown(folder / "scale.mp4", talking, np.arange(10) / 25)
    data = bytearray(film.read_bytes())
    at = data.index(b"mvhd") + 16
    data[at : at + 8] = struct.pack(">II", 1, 2**32 - 1)
    film.write_bytes(data)


@pytest.mark.parametrize("command", ["detect", "attack"])
def test_no_stated_number_ends_a_batch(pushpull, talking, tmp_path, command):
    folder = tmp_path / "in"
    folder.mkdir()
    lies(folder, talking)
    (folder / "talk.mp4").write_bytes(talking.read_bytes())
    out = tmp_path / "out"
    code, _, err = pushpull(*BATCHES[command], folder, "--out", out)
    assert code == 1
    failed = {Path(line.split(": ")[1]).name for line in err.splitlines() if "error: " in line}
    assert "talk.mp4" not in failed
    assert {"length.mkv", "gap.mkv"} <= failed
    assert "nobody foresaw" not in err
    assert "memory" not in err


def test_names_that_are_no_text_are_names_for_every_command(
    pushpull, talking, checkpoint, tmp_path
):
    def odd(name):
        return Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/" + name))

    odd(b"").mkdir()
    film = odd(b"t\xe4lk.mp4")
    film.write_bytes(talking.read_bytes())
    (odd(b"") / "loop").symlink_to(odd(b"") / "loop")
    found = odd(b"found\xff")
    detect = ("detect", film, *FACES, "--names", os.fsdecode(b"0=J\xfcrg"))
    work = {
        "parquet": (*detect, "--out", found, "--parquet"),
        "words": (
            *detect, "--out", odd(b"w"), "--boxes", found / "t\ufffdlk.json", "--transcript",
            found / "t\ufffdlk.srt", "--video", "none",
        ),
        "attack": ("attack", film, *FACES, "-a", "fgsm", "--out", odd(b"a"), "--end", "0.5"),
        "live": ("live", film, *FACES, "--unpaced", "--end", "0.4"),
        "video": (
            "data", "video", odd(b"\xff.mp4"), "--truth", odd(b"\xff.csv"), "--seconds", "0.2"
        ),
        "stats": ("data", "stats", odd(b"\xff.csv")),
        "synth": ("data", "synth", odd(b"d\xff"), "--tracks", "4", "--max-frames", "25"),
        "verify": ("data", "verify", odd(b"d\xff")),
        "evaluate": ("evaluate", "synthetic-a", odd(b"d\xff"), "--out", odd(b"e\xff")),
        "factory": (
            "evaluate", str(odd(b"m\xff.py")) + ":LightASD", odd(b"d\xff"), "--out", odd(b"f\xff")
        ),
    }  # fmt: skip
    weights = odd(b"w\xff/w.safetensors")
    weights.parent.mkdir()
    shutil.copy(checkpoint, weights)
    tiny = ("model.options.width=0.0625", "model.options.face_step=4", "data.workers=0")
    run = ("train", "talknet", *tiny, "data.root=" + str(odd(b"d\xff")), "--out", odd(b"run\xff"))
    best = ("run.init=" + str(odd(b"run\xff/best.safetensors")), "run.out=" + str(odd(b"b\xff")))
    work |= {
        "weights": ("evaluate", weights, odd(b"d\xff"), "--out", odd(b"g\xff")),
        "train": (*run, "optim.epochs=1"),
        "go on": (*run, "optim.epochs=2", "--resume"),
        "init": (*run[:-2], *best, "optim.epochs=1"),
    }
    odd(b"m\xff.py").write_text("from pushpull.models import LightASD\n")
    for name, line in work.items():
        code, _, err = pushpull(*line)
        # A report of a test takes no name that is no text.
        assert (name, code, ascii(err) if code else "") == (name, 0, "")
    assert sorted(path.name for path in odd(b"run\xff").iterdir()) == [
        "best.safetensors", "config.json", "epochs.csv", "final.safetensors", "last.ckpt",
        "steps.csv", "tensorboard",
    ]  # fmt: skip
    assert len(list(odd(b"run\xff/tensorboard").iterdir())) == 2
    wrong = {
        "detect": ("detect", odd(b"loop"), *FACES, "--out", odd(b"l")),
        "out": ("detect", film, *FACES, "--out", odd(b"loop")),
        "boxes": ("detect", film, *FACES, "--boxes", odd(b"loop"), "--out", odd(b"l")),
        "live": ("live", odd(b"loop"), *FACES),
        "score": ("score", odd(b"loop"), odd(b"loop")),
        "stats": ("data", "stats", odd(b"loop")),
        "video": ("data", "video", odd(b"loop"), "--truth", odd(b"loop")),
        "factory": ("evaluate", str(odd(b"loop")) + ":f", odd(b"d\xff")),
        "train": ("train", odd(b"loop")),
    }
    for name, line in wrong.items():
        code, _, err = pushpull(*line)
        said = ascii(err)
        assert code in (1, 2), name
        assert "rror: " in said, name
        assert "nobody foresaw" not in said, name


def test_a_set_of_heads_with_names_that_are_no_text_is_a_set(pushpull, talking, tmp_path):
    for person in (b"\xe4da", b"b\xf6b", b"cy"):
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/" + person))
        folder.mkdir(parents=True)
        (folder / os.fsdecode(person + b"\xe9.mp4")).write_bytes(talking.read_bytes())
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    line = ("data", "talkset", tmp_path / "in", "--out", tmp_path / "set", "--face-finder", "dlib")
    code, _, err = pushpull(*line)
    assert code == 1
    assert err.count("error: ") == 1
    assert "loop.mp4" in err
    assert pushpull("data", "verify", tmp_path / "set")[0] == 0
    tracks = [open_tracks(tmp_path / "set", split)[0] for split in ("train", "val", "test")]
    assert {one.person for one in tracks} == {"\ufffdda", "b\ufffdb", "cy"}

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.media_files import clicks, flashes, make_video, onsets_s
from typer.testing import CliRunner

from pushpull.annotations import read_table
from pushpull.cli import app
from pushpull.data import Plan, faults, loader, open_tracks
from pushpull.data.ava import SyntheticAvaVideo, find_sources, prepare, write_synthetic_ava
from pushpull.data.ava.preparing import Rows, entities_of, examples_of
from pushpull.detection.clips import CROPS, crop_faces
from pushpull.errors import DatasetError, OutputExists
from pushpull.media import read_frames

SIZE, SECONDS = (320, 240), 1.6


def lookalike(root: Path, *, lossless: bool) -> list[SyntheticAvaVideo]:
    return write_synthetic_ava(
        root, videos=3, seed=1, duration_s=SECONDS, size=SIZE, lossless=lossless
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SyntheticAvaVideo]]:
    root = tmp_path_factory.mktemp("ava")
    return root, lookalike(root, lossless=False)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SyntheticAvaVideo]]:
    root = tmp_path_factory.mktemp("ava-exact")
    return root, lookalike(root, lossless=True)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, source: tuple[Path, list[SyntheticAvaVideo]]
) -> Path:
    """The set of `source`, made by two processes."""
    out = tmp_path_factory.mktemp("whole")
    prepare(find_sources(source[0]), out, workers=2)
    return out


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of three videos that need not be looked at."""
    root = tmp_path_factory.mktemp("small")
    write_synthetic_ava(root, videos=3, duration_s=1.0, size=(160, 120), seed=3)
    return root


def by_name(out: Path, split: str) -> dict[str, object]:
    tracks = open_tracks(out, split)
    return {tracks[i].track_id: tracks[i] for i in range(len(tracks))}


def truth(video: SyntheticAvaVideo, entity: tuple[str, int, int, int]) -> dict[str, np.ndarray]:
    """What a lossless preparation has to give, straight from the generator's scene and file."""
    _, person, start, stop = entity
    scene = video.scene
    pictures = [f.gray() for f in read_frames(video.path)]
    # Official csv files keep 6 decimals of a share.
    size = np.array(scene.size * 2)
    boxes = np.round(np.clip(scene.boxes[person, start:stop] / size, 0, 1), 6)
    faces = [
        crop_faces(pictures[k], boxes[k - start : k - start + 1] * size, CROPS["ava"])[0]
        for k in range(start, stop)
    ]
    return {
        "faces": np.stack(faces),
        "boxes": boxes,
        "speaking": scene.speaking[person, start:stop],
        "times_s": scene.timestamps_s[start:stop],
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_generator_put_in_comes_out(
    tmp_path: Path, exact: tuple[Path, list[SyntheticAvaVideo]], workers: int
) -> None:
    root, videos = exact
    report = prepare(find_sources(root), tmp_path, workers=workers)
    assert report.problems == ()
    assert report.tracks == {"train": 8, "val": 4}
    for video in videos:
        found = by_name(tmp_path, video.split)
        for entity in video.entities:
            example, wanted = found[entity[0]], truth(video, entity)
            np.testing.assert_array_equal(example.clip.faces.numpy(), wanted["faces"])
            np.testing.assert_array_equal(example.clip.speaking.numpy(), wanted["speaking"])
            np.testing.assert_allclose(example.boxes, wanted["boxes"], atol=1e-9)
            np.testing.assert_allclose(example.timestamps_s, wanted["times_s"], atol=0.005)
            assert example.video_id == video.video_id
            assert example.clip.fps == pytest.approx(video.scene.fps, rel=0.02)
            start = round(example.timestamps_s[0] * 16_000)
            sound = example.clip.waveform.numpy()
            assert len(sound) / 16_000 == pytest.approx(
                len(wanted["times_s"]) / example.clip.fps, abs=0.01
            )
            # The file's int16, cut at the rounded time.
            kept = video.scene.waveform[start : start + len(sound)]
            assert np.abs(sound[: len(kept)] - kept).max() <= 1 / 32_768


def test_compression_is_all_that_changes_the_crops(
    tmp_path: Path, whole: Path, exact: tuple[Path, list[SyntheticAvaVideo]]
) -> None:
    prepare(find_sources(exact[0]), tmp_path)
    for split in ("train", "val"):
        lossy, clean = by_name(whole, split), by_name(tmp_path, split)
        assert set(lossy) == set(clean)
        for name, example in lossy.items():
            a, b = example.clip.faces.numpy().astype(float), clean[name].clip.faces.numpy()
            right = np.abs(a - b).mean()
            # A frame too early or too late would differ more than compression does.
            assert right < 4.0
            assert right < np.abs(a[1:] - b[:-1]).mean()


def test_it_is_a_data_set_like_any_other(whole: Path) -> None:
    tracks = open_tracks(whole, "train")
    assert list(faults(tracks)) == []
    batches, _ = loader(tracks, Plan(batch_frames=200, seed=0))
    assert sum(int(batch.n_frames.sum()) for batch in batches) == int(tracks.n_frames.sum())
    for command in (["data", "stats"], ["data", "verify"]):
        done = CliRunner().invoke(app, [*command, str(whole)])
        assert done.exit_code == 0, done.output


def damaged(tmp_path: Path, videos: list[SyntheticAvaVideo], root: Path) -> Path:
    """A copy with a cut-off video of train, one without its video, and a csv with a bad row."""
    copy = tmp_path / "damaged"
    shutil.copytree(root, copy)
    extra = write_synthetic_ava(tmp_path / "more", videos=4, seed=9, duration_s=1.0, size=SIZE)
    shutil.copytree(tmp_path / "more", copy, dirs_exist_ok=True)
    cut = copy / "orig_videos" / "trainval" / f"{extra[0].video_id}.mp4"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    (copy / "orig_videos" / "trainval" / f"{extra[1].video_id}.mp4").unlink()
    table = copy / "ava_activespeaker_train_v1.0" / f"{extra[2].video_id}-activespeaker.csv"
    lines = table.read_text().splitlines()
    lines[4] = lines[4].replace("SPEAKING", "SHOUTING")
    table.write_text("\n".join(lines))
    return copy


def test_what_is_broken_is_named_and_the_rest_is_done(
    tmp_path: Path, source: tuple[Path, list[SyntheticAvaVideo]]
) -> None:
    copy = damaged(tmp_path, source[1], source[0])
    extra = sorted(p.stem for p in (tmp_path / "more").rglob("*.mp4"))
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["data", "ava", str(copy), "--out", str(out)])
    assert done.exit_code == 1
    report = json.loads((out / "ava.json").read_text())
    said = {p["where"]: p["what"] for p in report["problems"] if p["lost"]}
    assert len(said) == 3
    text = " ".join(f"{where} {what}" for where, what in said.items())
    assert "line 5" in text
    assert "no file of this name" in text
    assert "mp4" in text
    assert sum(name in text for name in extra) == 3
    # 4 entities of each whole video: two of the first set and the fourth of the second.
    assert report["tracks"] == {"train": 8, "val": 8}
    again = CliRunner().invoke(app, ["data", "ava", str(copy), "--out", str(out)])
    assert again.exit_code == 1
    assert json.loads((out / "ava.json").read_text()) == report


def test_a_repaired_source_completes_the_set(
    tmp_path: Path, source: tuple[Path, list[SyntheticAvaVideo]], whole: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(source[0], root)
    video = next(v for v in source[1] if v.split == "train")
    path = root / "orig_videos" / "trainval" / video.path.name
    path.rename(tmp_path / "away.mp4")
    out = tmp_path / "out"
    first = prepare(find_sources(root), out)
    assert not first.whole
    (tmp_path / "away.mp4").rename(path)
    second = prepare(find_sources(root), out)
    assert second.whole
    for file in sorted(whole.rglob("*.arrow")):
        assert file.read_bytes() == (out / file.relative_to(whole)).read_bytes()


def test_killed_and_run_again(tmp_path: Path, source: tuple[Path, list[SyntheticAvaVideo]]) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pushpull", "data", "ava", str(source[0]), "--out", str(out)]
    run = subprocess.Popen([*command, "--workers", "1"], start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("*/shard-*.arrow")):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    kept = {p: p.stat().st_mtime_ns for p in out.glob("*/shard-*.arrow")}
    assert subprocess.run(command, check=False).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert len(open_tracks(out, "train")) == 8


def test_boxes_in_pixels_are_named_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    row = "v,{},{},SPEAKING_AUDIBLE,{}\n"
    path.write_text(
        row.format(0.0, "64,36,128,90", "v:pixels") + row.format(0.0, "0.1,0.1,0.4,0.4", "v:shares")
    )
    ((video, good, odd),) = entities_of(read_table(path))
    assert video == "v"
    assert [rows.entity for rows in good] == ["v:shares"]
    assert "no share of the picture" in odd[0].what
    assert odd[0].lost


def test_rows_know_their_rate_and_gaps() -> None:
    times_s = np.round(np.arange(60) * 1001 / 30_000, 2)
    rows = Rows(
        entity="e", timestamps_s=times_s, boxes=np.zeros((60, 4)), speaking=np.zeros(60, bool)
    )
    assert rows.gaps == 0
    assert rows.fps == pytest.approx(29.97, rel=0.005)
    holes = np.delete(times_s, slice(20, 30))
    gappy = Rows(
        entity="e", timestamps_s=holes, boxes=np.zeros((50, 4)), speaking=np.zeros(50, bool)
    )
    assert gappy.gaps == 1
    assert 25 < gappy.fps < 34


def test_rows_are_on_the_clock_of_a_file_whose_picture_begins_late(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "late.mkv",
        n_frames=75,
        size=(64, 48),
        picture=flashes((64, 48), [25]),
        sound=clicks([2.5]),
        video_start_s=1.5,
        audio_codec="pcm_s16le",
        options={"bf": "0"},
    )
    n = 26
    rows = Rows(
        entity="late:1",
        timestamps_s=2.0 + np.arange(n) / 25,
        boxes=np.tile([0.2, 0.2, 0.8, 0.8], (n, 1)),
        speaking=np.zeros(n, bool),
    )
    odd: list[object] = []
    (example,) = examples_of("late", path, [rows], odd)
    assert odd == []
    bright = example.clip.faces.float().mean((1, 2)) > 128
    (onset_s,) = onsets_s(example.clip.waveform.numpy(), 16_000, threshold=0.2)
    seen_s = float(rows.timestamps_s[bright.numpy()][0]) - 2.0
    assert seen_s == pytest.approx(0.5, abs=0.021)
    assert onset_s == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: None, "holds no annotations"),
        (lambda root: root.rmdir(), "no such folder"),
    ],
)
def test_folders_without_anything(tmp_path: Path, make: object, says: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    make(root)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=says):
        find_sources(root)


def test_other_annotations_do_not_mix(tmp_path: Path, whole: Path, small: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    with pytest.raises(OutputExists, match=r"made otherwise \(annotations is '[0-9a-f]+' there"):
        prepare(find_sources(small), out)


@pytest.mark.parametrize("command", ["synth", "talkset", "ava"])
def test_no_cluster_is_said(tmp_path: Path, pushpull, small: Path, command: str) -> None:
    source, out = small, tmp_path / "out"
    arguments = {
        "synth": [out, "--tracks", "3"],
        "talkset": [source / "orig_videos" / "trainval", "--out", out],
        "ava": [source, "--out", out],
    }
    address = ["--engine", "ray", "--ray-address", "127.0.0.1:9"]
    code, _, err = pushpull("data", command, *arguments[command], *address)
    assert code == 1
    assert "error: --ray-address is '127.0.0.1:9': no Ray cluster answers there" in err

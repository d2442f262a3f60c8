"""Small videos with a known right answer, each made from a real clip for one kind of fault.

They and their answers lie beside the project (`../shared/cases`); they are made when asked for.
"""

import csv
import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pushpull as pp
from pushpull.detection import Detection, find_faces
from pushpull.detection.face_finders import YuNet, overlap
from pushpull.errors import CheckpointError
from pushpull.media import Part, VideoWriter, probe, read_frames

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "cases"
CASES = json.loads((FOLDER / "cases.json").read_text())["cases"] if FOLDER.is_dir() else {}
LIMIT = "limit of the model"
EVERY = 4
"""Pictures on which faces are looked for apart from detection."""
COVERS = 0.4


@pytest.fixture(scope="module")
def environment(tmp_path_factory, shared):
    """PATH with an ffmpeg, the machine's own or that of imageio-ffmpeg."""
    own = shutil.which("ffmpeg")
    if own is not None:
        return {"PATH": str(Path(own).parent)}
    package = pytest.importorskip("imageio_ffmpeg", reason="cases are made with ffmpeg: none here")
    folder = tmp_path_factory.mktemp("bin")
    (folder / "ffmpeg").symlink_to(package.get_ffmpeg_exe())
    return {"PATH": str(folder)}


@pytest.fixture(scope="module")
def detector():
    return pp.load("light-asd-ava", device="cpu")


@pytest.fixture(scope="module")
def yunet():
    try:
        return YuNet()
    except CheckpointError as e:
        pytest.skip(f"needs YuNet's model: {e}")


@pytest.fixture
def make(tmp_path, shared, environment):
    def make(name):
        script = FOLDER / "make.py"
        command = [sys.executable, str(script), str(shared / "clips"), str(tmp_path), name]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        (made,) = tmp_path.glob(f"{name}*")
        return made

    return make


def seconds_wrong(turns, right):
    """Time that is in one of two lists of turns and not in the other."""
    edges = sorted({edge for turn in [*turns, *right] for edge in turn})
    wrong = 0.0
    for start, end in pairwise(edges):
        middle = (start + end) / 2
        inside = [any(a <= middle < b for a, b in one) for one in (turns, right)]
        wrong += (end - start) * (inside[0] != inside[1])
    return wrong


def turns_by_face(rttm: Path):
    """Turns of each face; those of a voice off screen are no face's."""
    turns: dict[str, list[tuple[float, float]]] = {}
    for line in rttm.read_text().splitlines():
        fields = line.split()
        if fields[7].endswith(":off-screen"):
            continue
        start, length = float(fields[3]), float(fields[4])
        turns.setdefault(fields[7], []).append((start, start + length))
    return turns


def boxes_by_time(table: Path):
    """Relative boxes of a csv by time in ms."""
    boxes: dict[int, list[list[float]]] = {}
    with table.open() as lines:
        for row in csv.DictReader(lines):
            box = [float(row[f"entity_box_{edge}"]) for edge in ("x1", "y1", "x2", "y2")]
            boxes.setdefault(round(1000 * float(row["frame_timestamp"])), []).append(box)
    return boxes


def share_covered(path, boxes, yunet):
    """Share of faces seen on single pictures for which the csv has a row there."""
    covered = counted = 0
    for frame in read_frames(path):
        if frame.index % EVERY:
            continue
        image = frame.rgb()
        size = np.array([image.shape[1], image.shape[0]] * 2)
        near = [t for t in boxes if abs(t - 1000 * frame.time_s) < 2]
        rows = np.array([box for t in near for box in boxes[t]]).reshape(-1, 4)
        for box in yunet.run(image, 0.75).boxes:
            counted += 1
            covered += bool(len(rows) and overlap(box / size, rows).max() >= COVERS)
    return covered / counted if counted else 1.0


def overlap_with_source(found: Detection, clip: Path, length_s: float):
    """Mean overlap of relative boxes with those of the clip that a case was made from."""
    source = find_faces(clip, face_finder="yunet", part=Part(0.0, length_s))
    (theirs,), (ours,) = source.tracks, [scored.track for scored in found.tracks]
    sizes = [np.array([i.width, i.height] * 2) for i in (source.info, found.info)]
    n = min(len(theirs), len(ours))
    pairs = zip(theirs.boxes[:n] / sizes[0], ours.boxes[:n] / sizes[1], strict=True)
    return np.mean([overlap(a, b[None])[0] for a, b in pairs])


@pytest.mark.skipif(not CASES, reason="needs ../shared/cases: not on this machine")
@pytest.mark.parametrize("name", [name for name in CASES if name != "files-folders"])
def test_a_case_is_answered_within_its_tolerance(name, make, shared, detector, yunet, tmp_path):
    case, path = CASES[name], make(name)
    right = case["right"]
    if name.endswith("turned-flag") and not probe(path).rotation_deg:
        pytest.skip("this ffmpeg writes no note of how a picture is turned")
    found = pp.detect(path, detector, face_finder="yunet")
    files = found.save(tmp_path / "out", video="fast" if "written_mp4" in right else "none")
    if "tracks" in right:
        assert len(found.tracks) == right["tracks"]
    if case["verdict"] == LIMIT:
        return
    turns = turns_by_face(files["rttm"])
    boxes = boxes_by_time(files["csv"])
    tolerance_s = right.get("turns_tolerance_s")
    if "turns" in right:
        every = [turn for one in turns.values() for turn in one]
        assert seconds_wrong(every, right["turns"]) <= tolerance_s
    if "turns_of_first_face" in right:
        first = turns[found.entity_id(found.tracks[0])]
        assert seconds_wrong(first, right["turns_of_first_face"]) <= tolerance_s
    if "first_row_s" in right:
        assert min(boxes) / 1000 == pytest.approx(right["first_row_s"], abs=0.05)
    if "duration_s" in right:
        said = json.loads(files["json"].read_text())["duration_s"]
        assert said == pytest.approx(right["duration_s"], abs=right["duration_tolerance_s"])
    if "covered_min" in right:
        assert share_covered(path, boxes, yunet) >= right["covered_min"]
    if "mean_overlap_of_relative_boxes_with_the_source_min" in right:
        clip = shared / "clips" / case["parameters"]["source"]
        least = right["mean_overlap_of_relative_boxes_with_the_source_min"]
        assert overlap_with_source(found, clip, case["parameters"]["t"]) >= least
    if "written_mp4" in right:
        assert shape(files["mp4"]) == pytest.approx(shape(path), rel=0.02)


def shape(path):
    """Width over height, as a player shows it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width * float(stream.sample_aspect_ratio or 1) / stream.height


@pytest.fixture(scope="module")
def talk(shared, tmp_path_factory, detector, yunet):
    """A real clip's pictures, its path, and who speaks in it when."""
    path = shared / "clips" / "grid_s31_lbig7s.mpg"
    return [frame.rgb() for frame in read_frames(path)], path, pp.detect(path, detector)


@st.composite
def camera_moves(draw):
    """For any time in seconds: how much larger the picture is, and where its middle has gone."""
    zoom, at_s = draw(st.floats(0.7, 1.9)), draw(st.floats(0.3, 2.0))
    in_s = draw(st.sampled_from([0.1, 0.16, 0.3, 1.0]))
    pan = np.array([draw(st.floats(-60, 60)), draw(st.floats(-25, 25))])
    shift = np.array([draw(st.floats(-40, 40)), draw(st.floats(-10, 30))])
    shake = np.array([draw(st.floats(0, 12)), draw(st.floats(0, 12))])
    rate_hz = draw(st.floats(0.5, 3.5))

    def move(time_s):
        factor = 1 + (zoom - 1) * np.clip((time_s - at_s) / in_s, 0, 1)
        swing = np.sin(2 * np.pi * 0.6 * time_s)
        return factor, shift + pan * swing + shake * np.sin(2 * np.pi * rate_hz * time_s)

    return move


@given(move=camera_moves())
@settings(
    max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
def test_tracks_and_turns_follow_the_camera(talk, detector, tmp_path, move):
    pictures, clip, still = talk
    size = still.info.width, still.info.height
    middle = np.array([*size]) / 2 + [0, 10]
    path = tmp_path / "moved.mp4"
    maps = []
    with VideoWriter(path, width=size[0], height=size[1], fps=25, audio=clip) as video:
        for i, picture in enumerate(pictures):
            factor, step = move(i / 25)
            maps.append((factor, middle - factor * middle + step))
            affine = np.array([[factor, 0, maps[-1][1][0]], [0, factor, maps[-1][1][1]]])
            video.write(cv2.warpAffine(picture, affine, size, borderValue=(90, 90, 90)))
    found = pp.detect(path, detector, face_finder="yunet")
    (before,), (after,) = [scored.track for scored in still.tracks], [s.track for s in found.tracks]
    assert after.frames.tolist() == before.frames.tolist()
    expected = np.array(
        [box * maps[i][0] + np.tile(maps[i][1], 2) for i, box in enumerate(before.boxes)]
    )
    overlaps = [overlap(a, b[None])[0] for a, b in zip(expected, after.boxes, strict=True)]
    assert np.mean(overlaps) > 0.75
    assert np.min(overlaps) > 0.4
    turns = [[(t.start_s, t.end_s) for t in one.tracks[0].turns] for one in (still, found)]
    assert seconds_wrong(*turns) <= 0.6


@pytest.mark.skipif(not CASES, reason="needs ../shared/cases: not on this machine")
def test_files_of_the_user_and_earlier_results_are_kept(
    make, pushpull, tmp_path, monkeypatch, yunet
):
    folder = make("files-folders")
    own = {path.name: path.read_bytes() for path in (folder / "own").iterdir()}
    monkeypatch.chdir(folder / "own")
    options = ("--face-finder", "yunet", "--quiet")
    code, _, message = pushpull("detect", "talk.mkv", "--out", ".", *options)
    assert {name: (folder / "own" / name).read_bytes() for name in own} == own
    assert code == 0 or "talk" in message

    monkeypatch.chdir(folder)
    assert pushpull("detect", "a/talk.mp4", "--out", "one", *options)[0] == 0
    before = {p: p.read_bytes() for p in (folder / "one").rglob("*") if p.is_file()}
    code, _, message = pushpull("detect", "b/talk.mp4", "--out", "one", *options)
    assert {p: p.read_bytes() for p in before} == before
    assert code == 0 or "talk" in message

    assert pushpull("detect", "a/talk.mp4", "b/talk.mp4", "--out", "two", *options)[0] == 0
    names = {path.stem for path in (folder / "two").rglob("*") if path.is_file()}
    assert {"talk", "talk-2"} <= names

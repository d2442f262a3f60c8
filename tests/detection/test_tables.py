"""Parquet beside the csv: the same rows, read back by Arrow."""

import csv
import json
import subprocess
import sys

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import pushpull as pp
from pushpull.detection.tables import write_parquet
from pushpull.errors import UnknownName
from pushpull.media import read_frames


@pytest.fixture(scope="module")
def found(talking):
    return pp.detect(talking, "synthetic-a", face_finder="dlib")


def test_rows_are_those_of_the_csv(found, tmp_path):
    files = found.save(tmp_path, video="none", parquet=True)
    rows = pq.read_table(files["parquet"]).to_pylist()
    with files["csv"].open() as file:
        expected = list(csv.DictReader(file))
    assert len(rows) == len(expected) > 0
    for row, other in zip(rows, expected, strict=True):
        assert f"{row['video']}:{row['track_id']}" == other["entity_id"]
        assert row["timestamp_s"] == pytest.approx(float(other["frame_timestamp"]), abs=1e-6)
        assert row["score"] == float(other["score"])
        assert row["probability"] == pytest.approx(float(other["probability"]), abs=1e-12)
        assert row["speaking"] == (other["speaking"] == "1")
        assert row["person"] is None
    boxes = [float(other["entity_box_x1"]) for other in expected]
    assert [row["x1"] for row in rows] == pytest.approx(boxes, abs=1e-6)
    (track,) = json.loads(files["json"].read_text())["tracks"]
    assert [row["frame"] for row in rows] == track["frame_numbers"]
    assert [row["detected"] for row in rows] == track["detected"]


def test_many_are_one_table_also_with_one_that_has_no_face(found, tmp_path):
    size = {"width": 64, "height": 48}
    write_parquet(tmp_path / "none.parquet", "none", [], **size)
    write_parquet(tmp_path / "one.parquet", "one", found.tracks, **size)
    both = ds.dataset([str(tmp_path / f"{name}.parquet") for name in ("none", "one")]).to_table()
    assert both["video"].unique().to_pylist() == ["one"]
    assert np.isfinite(both["score"]).all()


ALONE = """
import sys
from pathlib import Path
import numpy as np
import pyarrow.parquet as pq
from pushpull.detection import ScoredTrack
from pushpull.detection.tables import write_parquet
from pushpull.schema import Track

track = Track(
    track_id=3,
    frames=np.arange(5, 16),
    timestamps_s=np.arange(11) / 25,
    boxes=np.array([[-4.0, 20.0, 90.0, 85.0]] * 11),
    detected=np.arange(11) % 3 == 0,
)
scored = [ScoredTrack(track=track, scores=np.linspace(-1, 1, 11), person=p) for p in (None, 2)]
write_parquet(Path("talk.parquet"), "tälk", scored, width=100, height=200)
assert "pandas" not in sys.modules
rows = pq.read_table("talk.parquet").to_pylist()
assert [row["person"] for row in rows] == [None] * 11 + [2] * 11
assert [row["detected"] for row in rows] == 2 * track.detected.tolist()
assert [row["score"] for row in rows] == 2 * np.linspace(-1, 1, 11).tolist()
assert {(row["video"], row["track_id"], row["x1"], row["y1"]) for row in rows} == {
    ("tälk", 3, 0.0, float(np.float32(0.1)))
}
"""


def test_pandas_is_not_loaded_for_it(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_a_video_that_cannot_be_made_so_is_refused(found, tmp_path):
    with pytest.raises(UnknownName, match="slow"):
        found.save(tmp_path / "out", video="slow")
    assert not (tmp_path / "out").exists()


def test_a_full_video_is_better_and_is_not_taken_for_a_fast_one(pushpull, tmp_path, large):
    out = tmp_path / "out"
    line = ("detect", large, "-d", "synthetic-a", "--face-finder", "dlib", "--out", out)
    assert pushpull(*line)[0] == 0
    fast = apart(large, out / "large.mp4")
    code, _, err = pushpull(*line, "--video", "full")
    assert code == 2
    assert "--overwrite" in err
    assert pushpull(*line, "--video", "full", "--overwrite")[0] == 0
    assert apart(large, out / "large.mp4") < fast


def apart(path, drawn):
    """Mean change of pixels that nothing is drawn on, in the lowest rows."""
    pairs = zip(read_frames(path), read_frames(drawn), strict=True)
    return np.mean([np.abs(a.gray()[-90:].astype(float) - b.gray()[-90:]).mean() for a, b in pairs])


@pytest.fixture
def large(tmp_path):
    from pushpull.synthetic import one_face_video

    path = tmp_path / "large.mp4"
    one_face_video(path, seed=1, duration_s=0.4, size=(1280, 720))
    return path

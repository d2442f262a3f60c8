"""TalkNet's folders are read as they are; what is missing in them is said by name."""

import cv2
import numpy as np
import pytest
import torch

from pushpull.data import faults, open_tracks, splits_of
from pushpull.errors import DatasetError
from pushpull.media import write_wav

ENTITY = "abc_def-hij_0900_0960:1"
VIDEO = "abc_def-hij"


def layout(root, line=None, pictures=5):
    (root / "csv").mkdir()
    line = line or f"{ENTITY}\t5\t25.0\t[0, 0, 1, 1, 0]\t17"
    (root / "csv" / "train_loader.csv").write_text(line + "\n")
    faces = root / "clips_videos" / "train" / VIDEO / ENTITY
    faces.mkdir(parents=True)
    for k in range(pictures):
        picture = np.full((90, 70, 3), 10 * k + 20, np.uint8)
        cv2.imwrite(str(faces / f"{9.96 + 0.04 * k:.2f}.jpg"), picture)
    sound = root / "clips_audios" / "train" / VIDEO
    sound.mkdir(parents=True)
    samples = np.sin(np.arange(2560) / 7).astype(np.float32) / 4
    write_wav(sound / f"{ENTITY}.wav", samples)
    return root


def test_a_track_is_read_as_the_published_loader_reads_it(tmp_path) -> None:
    tracks = open_tracks(layout(tmp_path), "train")
    example = tracks[0]
    assert splits_of(tmp_path) == ["train"]
    assert (len(tracks), tracks.n_frames.tolist(), tracks.track_ids) == (1, [5], [ENTITY])
    assert (example.video_id, example.clip.fps) == (VIDEO, 25.0)
    assert example.clip.speaking.tolist() == [0, 0, 1, 1, 0]
    # 9.96, 10.00, 10.04: in order of time, not of text.
    assert example.timestamps_s.tolist() == pytest.approx([9.96, 10.0, 10.04, 10.08, 10.12])
    levels = example.clip.faces.float().mean((1, 2))
    assert torch.allclose(levels, torch.tensor([20.0, 30.0, 40.0, 50.0, 60.0]), atol=1.5)
    assert example.clip.faces.shape == (5, 112, 112)
    assert len(example.clip.waveform) == 2560
    # One frame of sound less than pictures, as the published preparation cuts it, is no fault.
    whats = [fault.what for fault in faults(tracks)]
    assert whats == ["5 of 5 faces are of one grey level"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("only text", "line 1: got 'only text'; expected entity, number of frames"),
        (f"{ENTITY}\t5\t25.0\t[0, 0, 2, 1, 0]\t1", r"labels among \[0, 1, 2\]"),
        (f"{ENTITY}\t4\t25.0\t[0, 0, 1, 1, 0]\t1", "4 frames at 25.0 fps with 5 labels"),
        (f"{ENTITY}\t5\t0\t[0, 0, 1, 1, 0]\t1", "5 frames at 0.0 fps"),
        (f"{ENTITY}\t5\t25.0\t" + "[" * 5000, "expected entity, number of frames"),
        ("../../other\t5\t25.0\t[0, 0, 1, 1, 0]\t1", "is no name of a track"),
        ("/else\t5\t25.0\t[0, 0, 1, 1, 0]\t1", "is no name of a track"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says) -> None:
    with pytest.raises(DatasetError, match=says):
        open_tracks(layout(tmp_path, line), "train")


def test_what_is_missing_is_named(tmp_path) -> None:
    root = layout(tmp_path, pictures=4)
    tracks = open_tracks(root, "train")
    with pytest.raises(DatasetError, match="has 4 pictures; the list says 5 frames"):
        tracks[0]
    folder = root / "clips_videos" / "train" / VIDEO / ENTITY
    (folder / "10.12.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"10\.12\.jpg: cannot be read as a picture"):
        tracks[0]
    (found,) = faults(tracks)
    assert found.track_id == ENTITY
    (folder / "10.12.jpg").rename(folder / "last.jpg")
    with pytest.raises(DatasetError, match=r"last\.jpg: is not named after its time"):
        tracks[0]
    (folder / "last.jpg").unlink()
    cv2.imwrite(str(folder / "10.12.jpg"), np.zeros((9, 9), np.uint8))
    (root / "clips_audios" / "train" / VIDEO / f"{ENTITY}.wav").unlink()
    with pytest.raises(DatasetError, match=f"track {ENTITY}: "):
        tracks[0]

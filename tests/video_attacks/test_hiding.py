import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushpull.detection.face_finders import YuNet
from pushpull.errors import ConfigError, MediaError, UnknownName
from pushpull.media import Part, VideoWriter, probe, read_frames
from pushpull.schema import Track
from pushpull.synthetic import one_face_video
from pushpull.video_attacks import hide_faces
from pushpull.video_attacks.hiding import HIDDEN_FILES, faces_in, found_again

needs_yunet = pytest.mark.skipif(not YuNet.is_here(), reason="YuNet's model is not here")


def change_of(video, hidden, part=None):
    """Change of luma and of colour, frame by frame, read by the package's reader."""
    how = {} if part is None else {"part": part}
    pairs = zip(read_frames(video, **how), read_frames(hidden), strict=True)
    return np.stack([after.ycc().astype(int) - before.ycc() for before, after in pairs])


@needs_yunet
@settings(max_examples=4, deadline=None)
@given(levels=st.integers(1, 40), steps=st.integers(1, 3), seed=st.integers(0, 9))
def test_the_written_file_keeps_the_budget(tmp_path_factory, levels, steps, seed):
    folder = tmp_path_factory.mktemp("budget")
    video = folder / "talk.mp4"
    one_face_video(video, seed=seed, duration_s=0.32, size=(160, 120))
    how = {"levels": levels, "steps": steps, "seed": seed, "face_finder": "dlib"}
    found = hide_faces(video, folder / "out", **how)
    change = change_of(video, found.outputs["hidden.mkv"])
    assert not change[:, 1:].any()
    assert 0 < np.abs(change[:, 0]).max() == found.linf <= levels
    assert float((change[:, 0] != 0).mean()) == pytest.approx(found.changed)


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """A second of a real clip, hidden."""
    if not YuNet.is_here():
        pytest.skip("YuNet's model is not here")
    video = shared / "clips" / "grid_s31_bgiq6p.mpg"
    part = Part(0.0, 0.6)
    folder = tmp_path_factory.mktemp("hidden")
    how = {"levels": 16, "steps": 12, "face_finder": "yunet"}
    return video, part, hide_faces(video, folder, part=part, **how)


def test_a_real_face_is_not_found_any_more(real):
    _, _, found = real
    assert len(found.tracks) == 1
    assert found.frames == 15
    assert found.found["lossless"].known == 0
    assert found.found["h264"].known < found.frames
    # What is said is what the files say.
    for way, file in (("lossless", "hidden.mkv"), ("h264", "hidden.mp4")):
        assert found_again(found.outputs[file], found.tracks, "yunet") == found.found[way]


def test_files_have_the_frames_the_times_and_the_sound_of_the_part(real):
    video, part, found = real
    times_s = [frame.time_s for frame in read_frames(video, part=part)]
    assert probe(video).audio_codec is not None
    for file in HIDDEN_FILES[:2]:
        info = probe(found.outputs[file])
        assert info.audio_codec is not None
        written = [frame.time_s for frame in read_frames(found.outputs[file])]
        np.testing.assert_allclose(written, times_s, atol=1e-3)


def test_only_pixels_around_the_face_are_changed(real):
    video, part, found = real
    change = change_of(video, found.outputs["hidden.mkv"], part)[:, 0] != 0
    (track,) = found.tracks
    for frame, box in zip(track.frames, track.boxes, strict=True):
        rows, columns = np.nonzero(change[frame])
        far = 1.2 * (box[3] - box[1])
        assert np.abs(columns - (box[0] + box[2]) / 2).max() < far
        assert np.abs(rows - (box[1] + box[3]) / 2).max() < far


def test_the_record_says_what_was_done(real):
    _, _, found = real
    record = json.loads(found.outputs["results.json"].read_text())
    assert (record["kind"], record["schema_version"]) == ("face-hiding", 1)
    assert record["settings"]["levels"] == 16
    assert record["settings"]["part_s"] == [0.0, 0.6]
    assert record["lossless"]["share"] == 0.0
    assert record["change"]["linf"] == found.linf <= 16
    assert 20 < record["change"]["psnr_db"] < 40


@needs_yunet
def test_a_face_is_invented_where_there_is_none(shared, tmp_path):
    video = shared / "clips" / "sparsesync_lrs3.mp4"
    how = {"levels": 24, "steps": 60, "face_finder": "yunet", "part": Part(0.0, 0.4)}
    clean = found_again(video, faces_in(video, "yunet"), "yunet")
    assert clean.others == 0
    found = hide_faces(video, tmp_path, goal="invent", **how)
    assert found.frames == 10
    assert found.found["lossless"].others > 5


@needs_yunet
def test_the_same_seed_gives_the_same_file(talking, tmp_path):
    first, again = (
        hide_faces(talking, tmp_path / n, steps=2, part=Part(0.0, 0.4), face_finder="dlib")
        for n in "ab"
    )
    left, right = (
        change_of(talking, one.outputs["hidden.mkv"], Part(0.0, 0.4)) for one in (first, again)
    )
    assert np.array_equal(left, right)


def track(frames, box) -> Track:
    n = len(frames)
    return Track(
        track_id=0,
        frames=np.array(frames),
        timestamps_s=np.arange(n) / 25,
        boxes=np.array([box] * n, float),
        detected=np.ones(n, bool),
    )


def test_faces_are_found_again_frame_by_frame(talking):
    (seen,) = faces_in(talking, "dlib")
    elsewhere = track(range(25), [0, 0, 20, 30])
    everything = found_again(talking, [seen], "dlib")
    assert (everything.faces, everything.known, everything.others) == (1, len(seen), 0)
    nothing = found_again(talking, [elsewhere], "dlib")
    assert (nothing.faces, nothing.known, nothing.others) == (1, 0, len(seen))


@needs_yunet
def test_a_video_without_a_face_is_refused(tmp_path):
    with VideoWriter(tmp_path / "grey.mp4", width=160, height=120, fps=25) as writer:
        for _ in range(10):
            writer.write(np.full((120, 160, 3), 128, np.uint8))
    with pytest.raises(MediaError, match="no face was found by dlib; nothing to hide"):
        hide_faces(tmp_path / "grey.mp4", tmp_path / "out", face_finder="dlib")
    assert list((tmp_path / "out").rglob("*.m*")) == []


@pytest.mark.parametrize(
    ("setting", "value", "error", "message"),
    [
        ("levels", 0, ConfigError, "levels is 0; expected a whole number, 1 to 255"),
        ("levels", 1.5, ConfigError, "levels is 1.5"),
        ("steps", 0, ConfigError, "steps is 0; expected a whole number, 1 to 10000"),
        ("goal", "swap", UnknownName, "unknown goal 'swap': choose one of hide, invent"),
        ("crf", 99, ConfigError, "crf is 99"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(tmp_path, setting, value, error, message):
    with pytest.raises(error, match=message):
        hide_faces(tmp_path / "none.mp4", tmp_path / "out", **{setting: value})
    assert not (tmp_path / "out").exists()

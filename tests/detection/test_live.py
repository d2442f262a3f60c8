"""Who is speaking now: what comes early agrees with what a file gives, and nothing grows."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.media_files import make_video

import pushpull as pp
from pushpull.detection import Live
from pushpull.detection.live import RecentTimes, Sound
from pushpull.errors import ConfigError, ShapeError
from pushpull.media import read_frames, read_waveform


@pytest.fixture(scope="module")
def detector():
    return pp.load("synthetic-a")


def streamed(live, path, *, times=1, chunk=1600, late=0.0):
    """Everything that is said of a video that comes bit by bit, with when it was said."""
    frames = [(f.rgb(), f.time_s) for f in read_frames(path)]
    waveform = read_waveform(path)
    length_s = frames[-1][1] + 0.04
    said = []
    for turn in range(times):
        heard = 0
        for image, time_s in frames:
            now_s = turn * length_s + time_s
            said += [(now_s, one) for one in live.push_video(image, now_s)]
            while heard < len(waveform) and heard / 16000 <= time_s - late:
                piece = waveform[heard : heard + chunk]
                found = live.push_audio(piece, turn * length_s + heard / 16000)
                said += [(now_s, one) for one in found]
                heard += chunk
    said += [(now_s, one) for one in live.close()]
    return said


def test_scores_are_early_revised_once_and_those_of_the_file(talking, detector):
    live = Live(detector, face_finder="dlib", lookahead_s=0.4)
    said = streamed(live, talking)
    by_time = {}
    for now_s, one in said:
        by_time.setdefault((one.face, round(one.time_s, 3)), []).append((now_s, one))
    for tellings in by_time.values():
        assert 1 <= len(tellings) <= 2
        assert [one.final for _, one in tellings] in ([True], [False, True])
    finals = [one for _, one in said if one.final]
    assert [one.time_s for one in finals] == sorted(one.time_s for one in finals)
    assert all(now_s - tellings[0][1].time_s <= 1.0 for tellings in by_time.values()
               for now_s, _ in tellings[:1])  # fmt: skip
    whole = pp.detect(talking, detector, face_finder="dlib")
    assert len(by_time) >= 0.85 * len(whole.tracks[0].scores)


def test_decisions_on_a_real_clip_are_those_of_the_file(shared, monkeypatch):
    """12 s of a newsreader: all but a few frames are judged as with the whole file at hand."""
    path = shared / "clips/syncnet_example.avi"
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    detector = pp.load("light-asd-ava", device="cpu")
    finals = [one for _, one in streamed(Live(detector), path) if one.final]
    (track,) = pp.detect(path, detector).tracks
    offline = dict(zip(track.track.timestamps_s.round(2), track.scores, strict=True))
    pairs = np.array([(one.score, offline[round(one.time_s, 2)]) for one in finals])
    assert len(pairs) >= 0.97 * len(offline)
    assert ((pairs > 0)[:, 0] == (pairs > 0)[:, 1]).mean() > 0.93


def test_an_hour_needs_no_more_than_a_minute(talking, detector):
    """What is kept after many rounds is what was kept after few."""

    def kept(times):
        live = Live(detector, face_finder="dlib")
        streamed(live, talking, times=times)
        tracker = live.tracker
        sightings = sum(len(t.frames) for t in tracker.followed)
        return (
            len(live.faces), len(live.sound.samples) <= 9.1 * 16000, sightings <= 400,
            len(tracker.closed), len(tracker.times_s.kept) <= 2000,
        )  # fmt: skip

    assert kept(12) == (0, True, True, 0, True)


def test_late_sound_is_silence_after_a_second(talking, detector):
    live = Live(detector, face_finder="dlib", lookahead_s=0.2)
    for frame in read_frames(talking):
        found = live.push_video(frame.rgb(), frame.time_s)
        assert all(one.time_s <= frame.time_s - 0.9 for one in found)


def test_after_a_hole_a_face_is_another_one(talking, detector):
    """Whoever is there three seconds later may be somebody else; times go on as they were."""
    live = Live(detector, face_finder="dlib", lookahead_s=0.2)
    frames, waveform = list(read_frames(talking)), read_waveform(talking)
    said = []
    for begin_s in (0.0, 4.0):
        said += live.push_audio(waveform, begin_s)
        for frame in frames:
            said += live.push_video(frame.rgb(), begin_s + frame.time_s)
    said += live.close()
    finals = {
        face: [one.time_s for one in said if one.final and one.face == face] for face in (0, 1)
    }
    assert max(finals[0]) < 1.1
    assert min(finals[1]) >= 4.0
    assert {one.face for one in said} == {0, 1}
    assert len(set(finals[0])) == len(finals[0]) >= 20


def test_wrong_pushes_are_refused(detector):
    live = Live(detector, face_finder="dlib")
    picture = np.zeros((120, 160, 3), np.uint8)
    live.push_video(picture, 1.0)
    with pytest.raises(ConfigError, match=r"picture at 1\.0 s after one at 1\.0 s"):
        live.push_video(picture, 1.0)
    with pytest.raises(ShapeError, match="expected uint8"):
        live.push_video(picture[..., 0], 2.0)
    with pytest.raises(ShapeError, match=r"expected \(N,\)"):
        live.push_audio(np.zeros((2, 5), np.float32), 0.0)
    with pytest.raises(ConfigError, match="lookahead is 9"):
        Live(detector, face_finder="dlib", lookahead_s=9)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 4000), st.integers(0, 30000)), min_size=1, max_size=20),
    st.integers(0, 50),
)
def test_sound_is_heard_when_it_was_said(pieces, ticks):
    """Whatever the pieces and holes: each sample is where its time says."""
    sound, position = Sound(), 0
    said = np.zeros(16000 * 60, np.float32)
    for k, (length, hole) in enumerate(pieces):
        position += hole if hole > 640 else 0
        samples = np.full(length, (k + 1) / 32, np.float32)
        said[position : position + length] = samples
        sound.push(samples, position / 16000)
        position += length
    from_sample = max(0, position - 640 * ticks)
    heard = sound.between(from_sample / 16000, ticks)
    differs = heard != said[from_sample : from_sample + len(heard)]
    assert differs.mean() <= 2 * len(pieces) / max(1, len(heard)) if len(heard) else True


@given(st.integers(1, 5000))
def test_recent_times_are_known_by_number(n):
    times = RecentTimes()
    for k in range(n):
        times.append(k / 25)
    assert len(times) == n
    assert times[-1] == times[n - 1] == (n - 1) / 25
    assert all(times[k] == k / 25 for k in itertools.islice(range(n - 1, -1, -1), 1000))


def test_a_file_at_its_own_pace_by_the_command(pushpull, talking):
    """Faces are encoded in a thread there, and what is left at the end is told."""
    code, out, err = pushpull(
        "live", talking, "-d", "synthetic-a", "--face-finder", "dlib", "--json-lines"
    )
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    times_s = [line["time_s"] for line in lines]
    assert times_s == sorted(set(times_s)) != []
    assert f"{len(times_s)} scores" in err


def test_where_nothing_is_scored_no_share_of_it_is_said(pushpull, tmp_path):
    path = make_video(tmp_path / "wall.mp4", n_frames=10)
    line = ("live", path, "-d", "synthetic-a", "--face-finder", "dlib", "--unpaced")
    code, out, err = pushpull(*line)
    assert code == 0
    assert out == "0 faces, 0 scores; 0 pictures left out\n"
    assert f"{path}: no face was seen for long enough in 10 pictures to be scored" in err
    record = json.loads(pushpull(*line, "--json")[1])
    assert (record["scores"], record["within_1_s"], record["late_95_s"]) == (0, None, None)


def test_a_thread_beside_gives_the_same_scores(talking):
    found = {}
    for beside in (False, True):
        live = Live("synthetic-a", face_finder="dlib", lookahead_s=3.0, beside=beside)
        given = live.push_audio(read_waveform(talking), 0.0)
        for frame in read_frames(talking):
            given += live.push_video(frame.rgb(), frame.time_s)
        given += live.close()
        # Nothing is final before the end, so all of the sound and of the face has been seen.
        found[beside] = [(one.time_s, one.score) for one in given if one.final]
    assert len(found[True]) > 10
    assert found[True] == found[False]


@pytest.mark.parametrize("level", [np.nan, np.inf])
def test_sound_that_is_no_number_is_refused(detector, level):
    live = Live(detector, face_finder="dlib")
    with pytest.raises(ShapeError, match="all of them numbers"):
        live.push_audio(np.array([0.1, level], np.float32), 0.0)

"""Whole videos and clips: what is seen, what is heard, and what is said to be true about it."""

import numpy as np
import pytest

from pushpull.errors import ConfigError
from pushpull.media import read_frames, read_waveform
from pushpull.models.weights import resolve_detector
from pushpull.synthetic import Case, demo_video, draw_clip, one_face_video
from pushpull.synthetic.scripts import draw_script

SMALL = {"duration_s": 5.0, "size": (320, 240)}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small demo video, its truth, its decoded pictures and sound."""
    path = tmp_path_factory.mktemp("demo") / "demo.mp4"
    scene = demo_video(path, seed=1, **SMALL)
    return scene, [frame.rgb() for frame in read_frames(path)], read_waveform(path)


def loudness(waveform, n_frames, fps=25.0):
    """Root mean square of the sound under each frame."""
    per_frame = round(16_000 / fps)
    waveform = np.asarray(waveform, float)[: n_frames * per_frame]
    return np.sqrt((waveform.reshape(n_frames, per_frame) ** 2).mean(1))


def correlation_by_lag(first, second, most=8):
    """Pearson correlation of first[t] and second[t + lag] for each lag."""
    lags = range(-most, most + 1)
    inner = slice(most, len(first) - most)
    return {lag: np.corrcoef(first[inner], np.roll(second, -lag)[inner])[0, 1] for lag in lags}


def test_the_same_seed_gives_the_same_video_to_the_last_bit(tmp_path):
    paths = [tmp_path / name for name in ("first.mp4", "same.mp4", "other.mp4")]
    first, same, other = (
        demo_video(path, seed=seed, duration_s=1.2, size=(160, 120))
        for path, seed in zip(paths, (3, 3, 4), strict=True)
    )
    np.testing.assert_array_equal(first.waveform, same.waveform)
    np.testing.assert_array_equal(first.boxes, same.boxes)
    np.testing.assert_array_equal(first.speaking, same.speaking)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert not np.array_equal(first.waveform, other.waveform)


def test_the_file_holds_what_the_truth_says(demo):
    scene, frames, waveform = demo
    assert len(frames) == 125
    assert scene.boxes.shape == (2, 125, 4)
    assert scene.speaking.shape == (2, 125)
    np.testing.assert_allclose(scene.timestamps_s, np.arange(125) / 25)
    assert frames[0].shape == (240, 320, 3)
    n = min(len(waveform), len(scene.waveform))
    assert n / 16_000 == pytest.approx(5.0, abs=0.1)
    assert np.corrcoef(waveform[:n], scene.waveform[:n])[0, 1] > 0.9


def test_both_speak_by_turns_and_somebody_off_screen_is_heard(demo):
    scene, _, _ = demo
    assert scene.speaking.any(1).all()
    assert not scene.speaking.all(0).any()
    nobody_seen = ~scene.speaking.any(0)
    loud = loudness(scene.waveform, 125) > 0.02
    assert (nobody_seen & loud).sum() >= 5
    assert (nobody_seen & ~loud).sum() >= 5


def test_people_are_apart_from_left_to_right_and_in_the_picture(demo):
    scene, _, _ = demo
    left, right = scene.boxes
    assert (left[:, 2] < right[:, 0]).all()
    assert scene.boxes.min() > 0
    assert (scene.boxes[..., 2] < 320).all()
    assert (scene.boxes[..., 3] < 240).all()


def test_dlib_finds_every_face_in_nearly_every_frame(demo):
    dlib = pytest.importorskip("dlib")
    detector = dlib.get_frontal_face_detector()
    scene, frames, _ = demo
    found = 0
    looked_at = range(0, len(frames), 5)
    for i in looked_at:
        # These faces are 80 pixels high, about the least that it finds without enlarging.
        middles = [(r.center().x, r.center().y) for r in detector(frames[i], 1)]
        assert len(middles) <= 2
        for x1, y1, x2, y2 in scene.boxes[:, i]:
            found += any(x1 < x < x2 and y1 < y < y2 for x, y in middles)
    assert found >= 0.95 * 2 * len(looked_at)


def test_the_mouth_that_is_seen_moves_with_the_sound_that_is_heard(tmp_path):
    path = tmp_path / "talk.mp4"
    peaks = []
    for seed in range(4):
        scene = one_face_video(path, seed=seed, duration_s=6.0, size=(240, 240), case=Case.SPEAKING)
        opening = np.array(
            [
                darkness_of_mouth(frame.gray(), box)
                for frame, box in zip(read_frames(path), scene.boxes[0], strict=True)
            ]
        )
        sound = loudness(scene.waveform, len(opening))
        by_lag = correlation_by_lag(opening, sound)
        best = max(by_lag, key=by_lag.__getitem__)
        peaks.append(best)
        assert by_lag[best] > 0.4
        # Apart from the right lag there is no sync.
        assert by_lag[best] > max(by_lag[-6], by_lag[6]) + 0.2
    assert all(abs(peak) <= 1 for peak in peaks)


def darkness_of_mouth(grey, box):
    """How much darker the darkest twelfth of the mouth's part of a face is than the skin."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    part = grey[
        round(y1 + 0.66 * height) : round(y1 + 0.95 * height),
        round(x1 + 0.3 * width) : round(x2 - 0.3 * width),
    ]
    levels = np.sort(part.ravel().astype(float))
    return np.median(levels) - levels[: len(levels) // 12].mean()


@pytest.mark.parametrize("case", list(Case))
def test_labels_and_sound_of_every_case(case):
    script = draw_script(np.random.default_rng(5), case, 4.0)
    times_s = np.arange(100) / 25 + 0.02
    speaking = script.speaking(times_s)
    own, other = script.own.voicing.any(), script.other.voicing.any()
    moves = script.mouth.gap.std() + script.mouth.jaw.std() + script.mouth.smile.std()
    expected = {
        Case.SPEAKING: (True, False, True),
        Case.SILENT: (False, False, False),
        Case.LISTENING: (False, True, False),
        Case.DUBBED: (False, True, True),
    }
    assert speaking.any() == (case in {Case.SPEAKING, Case.TURNS})
    assert speaking.all() == (case is Case.SPEAKING)
    if case in expected:
        assert (own, other, moves > 0.2) == expected[case]
    if case is Case.MOVING:
        assert not own
        assert moves > 0.2
    if case is Case.TURNS:
        assert own
        assert other


@pytest.mark.parametrize("case", list(Case))
def test_a_clip_of_every_case_is_what_a_detector_takes(case):
    clip, same = (draw_clip(np.random.default_rng(7), case, n_frames=30) for _ in range(2))
    assert clip.faces.shape == (30, 112, 112)
    assert clip.waveform.shape == (30 * 640,)
    assert clip.speaking is not None
    assert clip.speaking.shape == (30,)
    assert (clip.faces == same.faces).all()
    assert (clip.waveform == same.waveform).all()
    # A face fills the picture: it is neither flat nor black.
    assert clip.faces.float().std() > 15


@pytest.mark.parametrize("fps", [15.0, 24000 / 1001, 30.0, 60.0])
def test_a_clip_has_any_frame_rate(fps):
    clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=20, fps=fps)
    assert clip.faces.shape[0] == 20
    assert len(clip.waveform) == pytest.approx(20 / fps * 16_000, abs=100)


def test_labels_match_the_energy_of_the_sound():
    quiet, loud = [], []
    for seed in range(4):
        clip = draw_clip(np.random.default_rng(seed), Case.SPEAKING, n_frames=50)
        loud.append(np.median(loudness(clip.waveform, 50)))
        clip = draw_clip(np.random.default_rng(seed), Case.SILENT, n_frames=50)
        quiet.append(loudness(clip.waveform, 50).max())
    assert min(loud) > 5 * max(quiet)


@pytest.mark.parametrize("name", ["light-asd-ava", "lr-asd-ava"])
def test_detectors_trained_on_real_people_believe_the_synthetic_ones(shared, monkeypatch, name):
    monkeypatch.setenv("PUSHPULL_WEIGHTS_PATH", str(shared / "weights"))
    detector = resolve_detector(name, device="cpu")
    means = {}
    for case in (Case.SPEAKING, Case.LISTENING, Case.SILENT):
        clips = [draw_clip(np.random.default_rng(seed), case, n_frames=40) for seed in (11, 12)]
        scores = [
            detector(clip.waveform[None], clip.faces[None].float(), fps=25.0).score.mean().item()
            for clip in clips
        ]
        means[case] = np.mean(scores)
    assert means[Case.SPEAKING] > 1
    assert means[Case.LISTENING] < -1
    assert means[Case.SILENT] < -1


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration_s": 0.0},
        {"size": (0, 240)},
        {"fps": -25.0},
        {"duration_s": float("nan")},
        {"duration_s": float("inf")},
        {"duration_s": 1e12},
    ],
)
@pytest.mark.parametrize("make", [demo_video, one_face_video])
def test_impossible_videos_are_refused(tmp_path, make, wrong):
    with pytest.raises(ConfigError, match="expected numbers above 0"):
        make(tmp_path / "x.mp4", **wrong)
    assert not list(tmp_path.iterdir())

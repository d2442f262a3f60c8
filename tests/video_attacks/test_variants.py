"""A variant is the whole video: its sound, its pictures, and what was changed of each face."""

import numpy as np
import pytest

from pushpull.media import read_frames
from pushpull.video_attacks.variants import Variant


@pytest.fixture(scope="module")
def moved(crop_segment):
    """The first face 3 levels brighter, the whole sound louder."""
    sound = crop_segment.sound.waveform + 1e-3
    batch = crop_segment.batch
    faces = batch.faces.clone()
    faces[0] += 3.0
    points = {"audio": sound, "visual": faces}
    seen = crop_segment.seen(sound[0].numpy(), [f.byte().numpy() for f in faces.clamp(0, 255)])
    return Variant(name="moved", segments=(crop_segment,), points=(points,), batches=(seen,))


def test_what_was_changed_is_measured_face_by_face(moved):
    first, second = moved.changes
    assert first.visual_linf == 3.0
    assert (second.visual_linf, second.psnr_db, second.ssim) == (0.0, np.inf, 1.0)
    assert first.psnr_db == pytest.approx(20 * np.log10(255 / 3), abs=0.1)
    assert first.audio_linf == pytest.approx(1e-3, rel=1e-3)


def test_sound_outside_of_segments_stays(moved, crop_segment):
    first, stop = crop_segment.span
    before, after = moved.clips.waveform, moved.sound()
    assert np.allclose(after[first:stop] - before[first:stop], 1e-3, atol=1e-6)
    assert np.array_equal(after[:first], before[:first])
    assert np.array_equal(after[stop:], before[stop:])
    clean = Variant(
        name="clean", segments=(crop_segment,), points=({},), batches=(crop_segment.batch,)
    )
    assert np.array_equal(clean.sound(), before)


def test_pictures_show_what_was_changed_and_keep_colours(moved):
    frame = next(f for f in read_frames(moved.clips.path) if f.index == 12)
    before, after = frame.ycc(), moved.picture(frame)
    change = moved.change_of_luma(frame)
    assert change.max() == pytest.approx(3.0, abs=1e-3)
    assert np.abs(after[0].astype(int) - before[0] - change).max() <= 0.5
    assert np.array_equal(after[1:], before[1:])


def test_faces_of_all_segments_are_together_in_the_order_of_the_video(two_people, attacked):
    segments = [two_people.subset([i]) for i in (1, 0)]
    parts = [attacked.clean.segments[0].__class__.of(clips) for clips in segments]
    variant = Variant(
        name="clean", segments=tuple(parts), points=({}, {}), batches=tuple(p.batch for p in parts)
    )
    assert [track.track_id for track in variant.clips.tracks] == [0, 1]
    assert all(a is b for a, b in zip(variant.clips.faces, two_people.faces, strict=True))


def test_scores_and_labels_are_for_the_own_frames_of_a_face(attacked):
    clean = attacked.clean
    (scored,), (labels,) = clean.scored, clean.labels
    assert scored.track is clean.clips.tracks[0]
    assert scored.scores.tolist() == clean.as_found.score.tolist()
    assert labels.tolist() == (scored.scores > 0).astype(int).tolist()

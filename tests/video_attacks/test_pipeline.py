"""From a video file to an adversary, stage by stage."""

import numpy as np
import pytest
import torch
from support.attack_files import relabelled

from pushpull.detection import detect
from pushpull.errors import BudgetWarning
from pushpull.models import LRASD
from pushpull.models.weights import resolve_detector
from pushpull.schema import GRID
from pushpull.video_attacks import attack_video


def test_two_people_are_attacked_together_and_fooled(two_people_video, checkpoint):
    stages = []
    result = attack_video(
        two_people_video,
        checkpoint,
        "bim",
        eps=20,
        steps=2,
        face_finder="dlib",
        progress=lambda stage, done, total: stages.append(stage),
    )
    assert list(dict.fromkeys(stages)) == ["faces", "crops", "float"]
    assert list(result.seconds) == ["load", "sound", "faces", "crops", "score", "float", "files"]
    assert [track.track_id for track in result.clips.tracks] == [0, 1]
    assert result.clean.as_found.accuracy == 1.0
    assert result.asked.as_found.accuracy < 1.0
    assert result.name == "two"
    assert result.settings["face_finder"] == "dlib"
    assert result.settings["video"] == str(two_people_video)


@pytest.mark.parametrize("survive", [False, True])
def test_no_score_is_computed_twice(talking, checkpoint, survive):
    """The clean video once, then what the search asks, then what comes back from files."""
    detector, asked = resolve_detector(checkpoint), []
    detector.register_forward_hook(lambda module, args, output: asked.append(output.score.detach()))
    result = attack_video(
        talking, detector, "bim", steps=2, survive=survive, face_finder="dlib", modality="visual"
    )
    clean, tensors = 1, 2 + 1
    files_of_clean, files_of_found = 1, 2
    # Each gradient is taken halfway to the files, then the files are scored.
    through_codec = (2 * 2 + 1) + 2 if survive else 0
    expected = clean + tensors + files_of_clean + files_of_found + through_codec
    # Two looks of each search tell whether the detector is random.
    looks = 4 if survive else 2
    assert len(asked) == expected + looks
    # What was taken over is what the detector says of the same.
    with torch.inference_mode():
        for variant in result.variants:
            (segment,), (batch,) = variant.segments, variant.batches
            (row,) = segment.rows(detector(**batch.inputs).score)
            way = "as found"
            np.testing.assert_allclose(variant.scores[way].score, row, rtol=1e-4, atol=1e-4)


def test_scores_as_found_are_those_of_detection(talking, checkpoint):
    detection = detect(talking, checkpoint, face_finder="dlib")
    result = attack_video(talking, checkpoint, "fgsm", face_finder="dlib")
    (scored,) = result.clean.scored
    # Detection hears the sound before it is rounded to int16.
    assert scored.scores == pytest.approx(detection.tracks[0].scores, abs=1e-3)


def test_the_adversary_fools_the_detector_that_reads_its_tensors(attacked, checkpoint):
    detector = resolve_detector(checkpoint, device="cpu")
    (batch,) = attacked.asked.batches
    with torch.no_grad():
        score = detector(batch.waveform, batch.faces).score[0]
    assert score.tolist() == pytest.approx(attacked.asked.as_found.score.tolist(), abs=2e-3)


@pytest.mark.parametrize("space", ["crop", "frame"])
def test_quantised_adversaries_stay_on_the_grid_of_files(talking, checkpoint, space):
    result = attack_video(
        talking, checkpoint, "bim", eps=20, steps=2, quantise=True, face_finder="dlib", space=space
    )
    assert [variant.name for variant in result.variants] == ["clean", "float", "quantised"]
    (points,), (change,) = result.asked.points, result.asked.changes
    assert torch.equal(points["visual"], points["visual"].round())
    steps = points["audio"].double() / GRID["audio"]
    assert torch.equal(steps, steps.round())
    assert change.audio_linf == int(20e-4 / GRID["audio"]) * GRID["audio"]
    if space == "crop":
        assert result.asked.scores["lossless"].score.tolist() == (
            result.asked.as_found.score.tolist()
        )


def test_an_adversary_made_through_a_codec_is_measured_with_it(talking, checkpoint):
    result = attack_video(
        talking, checkpoint, "bim", eps=60, steps=2, survive=True, crf=30, face_finder="dlib"
    )
    assert [variant.name for variant in result.variants] == ["clean", "float", "through codec"]
    margins = {
        variant.name: float(variant.scores["h264 crf 30 + aac"].margin.mean())
        for variant in result.variants
    }
    assert margins["through codec"] < margins["clean"]


def test_a_surrogate_is_attacked_and_the_target_judges(talking, checkpoint):
    torch.manual_seed(5)
    other = LRASD().eval()
    result = attack_video(talking, checkpoint, surrogate=other, steps=2, face_finder="dlib")
    assert result.clean.as_found.accuracy == 1.0
    assert result.settings["surrogate"] == other.card.name
    assert result.settings["detector"] == checkpoint.name


def test_labels_of_a_csv_are_what_is_attacked(talking, checkpoint, tmp_path):
    detection = detect(talking, checkpoint, face_finder="dlib")
    table = detection.save(tmp_path, video="none")["csv"]
    # Half of the frames are labelled as the detector decides, half against it.
    wanted = detection.tracks[0].speaking ^ (np.arange(25) % 2 == 0)
    labels = relabelled(table, tmp_path / "labels.csv", wanted)
    result = attack_video(talking, checkpoint, labels=labels, steps=1, face_finder="dlib")
    assert result.clean.as_found.truth.tolist() == wanted.tolist()
    assert result.clean.as_found.accuracy == pytest.approx(12 / 25)
    assert result.settings["labels"] == str(labels)


def test_the_same_seed_gives_the_same_adversary(talking, checkpoint):
    sounds = [
        attack_video(talking, checkpoint, seed=seed, steps=1, face_finder="dlib").asked.sound()
        for seed in (3, 3, 4)
    ]
    assert np.array_equal(sounds[0], sounds[1])
    assert not np.array_equal(sounds[0], sounds[2])


def test_vanishing_budgets_do_not_leak_warnings(talking, checkpoint, recwarn):
    result = attack_video(talking, checkpoint, face_finder="dlib", eps=1.0, quantise=True, steps=1)
    assert result.asked.vanished == ("visual",)
    assert not [w for w in recwarn if issubclass(w.category, BudgetWarning)]

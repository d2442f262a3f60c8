"""`pushpull attack` on real files: what it writes, and one clear line for what it cannot do."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.attack_files import relabelled
from support.media_files import make_video

from pushpull.detection import detect
from pushpull.media import probe, read_frames, read_waveform
from pushpull.models import LRASD
from pushpull.models.checkpoints import save
from pushpull.models.weights import resolve_detector
from pushpull.runtime.outputs import RECORD
from pushpull.schema import GRID


@pytest.fixture
def run(pushpull, checkpoint):
    """Run `pushpull attack`, on random weights by default."""

    def run(*arguments, weights=checkpoint):
        return pushpull("attack", *arguments, "--detector", weights, "--face-finder", "dlib")

    return run


def test_everything_is_written_and_agrees(run, talking, tmp_path):
    code, out, err = run(
        talking, "--out", tmp_path, "--steps", 3, "--attack", "bim", "--json", "--quiet",
        "--video", "fast",
    )  # fmt: skip
    assert (code, err) == (0, "")
    (record,) = json.loads(out)["videos"]
    folder = tmp_path / "talking"
    assert sorted(p.name for p in folder.iterdir()) == [
        RECORD, "adversarial-int16.wav", "adversarial.safetensors", "adversarial.wav",
        "results.json", "side-by-side.mp4", "track-0.mkv", "track-0.mp4",
    ]  # fmt: skip
    assert json.loads((folder / "results.json").read_text()) == record
    clean = record["clean"]
    assert (clean["accuracy"], clean["accuracy_of_right"], clean["frames"]) == (1.0, 1.0, 25)
    # The detector's own decisions are the labels, so scores rank them perfectly where any speaks.
    assert clean["average_precision"] == (1.0 if clean["speaking"] else None)
    assert record["adversarial"]["accuracy"] < 1.0
    assert record["settings"]["steps"] == 3
    assert record["settings"]["eps"] == {"audio": 5e-4, "visual": 0.5}
    assert (record["forwards"], record["backwards"]) == (4, 3)
    (track,) = record["tracks"]
    assert len(track["adversarial_scores"]) == len(track["speaking"]) == 25
    assert len(track["loss_curve"]) == 4
    tensors = load_file(folder / "adversarial.safetensors")
    moved = tensors["track-0.adversarial.faces"] - tensors["track-0.clean.faces"]
    assert float(moved.abs().max()) == record["delta"]["visual_linf"] == 0.5
    sound = tensors["track-0.adversarial.waveform"] - tensors["track-0.clean.waveform"]
    assert float(sound.abs().max()) == pytest.approx(record["delta"]["audio_linf"])
    assert float(sound.double().abs().max()) <= 5e-4
    with safe_open(folder / "adversarial.safetensors", "pt") as file:
        assert json.loads(file.metadata()["settings"])["attack"] == "bim"
    # Both sides of the comparison stand in one picture, and the sound is the adversarial one.
    both = probe(folder / "side-by-side.mp4")
    assert (both.width, both.height, both.n_frames) == (640, 240, 25)
    heard = read_waveform(folder / "adversarial.wav")
    n = len(tensors["track-0.adversarial.waveform"])
    assert np.array_equal(heard[:n], tensors["track-0.adversarial.waveform"].numpy())
    kept = np.stack([frame.gray() for frame in read_frames(folder / "track-0.mkv")])
    assert np.array_equal(kept, tensors["track-0.adversarial.faces"].round().byte().numpy())


def test_the_adversary_fools_the_detector_that_reads_its_tensors(
    run, talking, tmp_path, checkpoint
):
    run(talking, "--out", tmp_path)
    record = json.loads((tmp_path / "talking" / "results.json").read_text())
    tensors = load_file(tmp_path / "talking" / "adversarial.safetensors")
    detector = resolve_detector(checkpoint, device="cpu")
    with torch.no_grad():
        output = detector(
            tensors["track-0.adversarial.waveform"][None],
            tensors["track-0.adversarial.faces"][None],
        )
    wanted = record["tracks"][0]["adversarial_scores"]
    assert output.score[0].tolist() == pytest.approx(wanted, abs=2e-3)


def test_quantised_adversaries_lose_nothing_in_lossless_files(run, talking, tmp_path):
    code, _, _ = run(talking, "--out", tmp_path, "--eps", 20, "--quantise")
    record = json.loads((tmp_path / "talking" / "results.json").read_text())
    assert code == 0
    clean, floats, quantised = record["survival"]
    assert [row["input"] for row in record["survival"]] == ["clean", "float", "quantised"]
    assert quantised["lossless"] == quantised["as found"]
    assert clean["lossless"]["accuracy"] == 1.0
    assert floats["as found"]["accuracy"] < 1.0
    assert record["delta"]["visual_linf"] == 2.0
    assert record["delta"]["audio_linf"] == int(20e-4 / GRID["audio"]) * GRID["audio"]


def test_a_budget_below_a_grey_level_is_said_to_vanish(run, talking, tmp_path):
    code, _, err = run(talking, "--out", tmp_path, "--eps", 5, "--quantise")
    assert code == 0
    assert "eps of visual is 0.5, below one step of what a file holds" in err
    record = json.loads((tmp_path / "talking" / "results.json").read_text())
    assert record["vanished"] == ["visual"]
    assert record["delta"]["visual_linf"] == 0.0


def test_frame_space_moves_pixels_of_the_video_and_detects_it_again(run, talking, tmp_path):
    code, out, err = run(
        talking, "--out", tmp_path, "--space", "frame", "--eps", 40, "--quantise", "--json", "-q"
    )
    assert (code, err) == (0, "")
    (record,) = json.loads(out)["videos"]
    folder = tmp_path / "talking"
    before = np.stack([f.ycc() for f in read_frames(talking)]).astype(int)
    after = np.stack([f.ycc() for f in read_frames(folder / "adversarial.mkv")]).astype(int)
    assert np.abs(after[:, 0] - before[:, 0]).max() == 4
    assert np.array_equal(after[:, 1:], before[:, 1:])
    # Pixels far from the face are as they were.
    assert np.array_equal(after[:, 0, :, :20], before[:, 0, :, :20])
    again = record["redetect"]["adversarial.mkv"]
    assert again["frames_found"] == again["frames_expected"] == 25
    assert again["accuracy"] < 0.8
    assert set(record["redetect"]) == {"adversarial.mkv", "adversarial.mp4"}


def test_only_one_modality_moves_if_asked(run, talking, tmp_path):
    for modality, still in (("audio", "visual_linf"), ("visual", "audio_linf")):
        out = tmp_path / modality
        run(talking, "--out", out, "--modality", modality)
        record = json.loads((out / "talking" / "results.json").read_text())
        assert record["delta"][still] == 0.0
        assert record["settings"]["eps"].keys() == {modality}


def test_detectors_are_attacked_one_beside_the_other(run, checkpoint, talking, tmp_path):
    line = (talking, "--out", tmp_path, "--attack", "fgsm", "--beside", "synthetic-a")
    code, out, err = run(*line)
    assert (code, err.count("failed")) == (0, 0)
    table = out[out.index("right before, after") :].splitlines()
    assert table[0].split()[-2:] == [checkpoint.stem, "synthetic-a"]
    records = [
        json.loads((tmp_path / name / "talking" / "results.json").read_text())
        for name in (checkpoint.stem, "synthetic-a")
    ]
    assert [r["settings"]["eps"] for r in records] == [records[0]["settings"]["eps"]] * 2
    said = [
        f"{100 * record[when]['accuracy']:.1f} %"
        for record in records
        for when in ("clean", "adversarial")
    ]
    assert re.findall(r"[\d.]+ %", table[1]) == said
    # The same again with one file there already of another making: said before any work.
    code, _, err = run(*line, "--eps", 3)
    assert (code, "random/talking/adversarial.safetensors: is there" in err) == (2, True)


def test_a_surrogate_is_attacked_and_the_target_judges(run, talking, tmp_path):
    other = tmp_path / "other.safetensors"
    torch.manual_seed(5)
    save(LRASD().eval(), other)
    code, out, _ = run(talking, "--out", tmp_path, "--surrogate", other)
    assert code == 0
    assert "made on other.safetensors" in out
    record = json.loads((tmp_path / "talking" / "results.json").read_text())
    assert record["clean"]["accuracy"] == 1.0
    assert record["settings"]["surrogate_sha256"] != record["settings"]["detector_sha256"]


def test_what_the_detector_got_wrong_before_is_reported(run, talking, tmp_path, checkpoint):
    detection = detect(talking, checkpoint, face_finder="dlib")
    table = detection.save(tmp_path, video="none")["csv"]
    # Half of the frames are labelled as the detector decides, half against it.
    wanted = detection.tracks[0].speaking ^ (np.arange(25) % 2 == 0)
    labels = relabelled(table, tmp_path / "labels.csv", wanted)
    code, out, _ = run(talking, "--out", tmp_path, "--labels", labels)
    assert code == 0
    record = json.loads((tmp_path / "talking" / "results.json").read_text())
    assert record["clean"]["accuracy"] == pytest.approx(12 / 25)
    assert "of frames that were right" in out
    assert record["tracks"][0]["speaking"] == wanted.astype(int).tolist()


def test_a_folder_of_videos_is_done_one_by_one_past_a_bad_one(run, talking, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(talking.read_bytes())
    (folder / "b.mp4").write_text("not a video")
    (folder / "notes.txt").write_text("not looked at")
    code, out, err = run(folder, "--out", tmp_path / "out", "--steps", 1, "--json")
    assert code == 1
    done, failed = json.loads(out)["videos"]
    assert done["name"] == "a"
    assert "b.mp4" in failed["error"]
    assert "1 of 2 videos failed" in err


def no_face(path):
    return make_video(path, size=(320, 240), picture=lambda i: np.full((240, 320, 3), 90, np.uint8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eps", "-1"], "eps of audio is -0.0001; expected a finite number, 0 or more"),
        (["--eps", "nan"], "eps of audio is nan; expected a finite number, 0 or more"),
        (["--eps", "five"], "--eps is 'five'; expected a number, or audio=NUMBER,visual=NUMBER"),
        (["--eps", "audio=1e-4"], "eps is given for audio; expected it for audio, visual"),
        (["--steps", "0"], "steps is 0; expected a whole number, 1 or more"),
        (["--attack", "cw"], "unknown attack 'cw': choose one of apgd, bim, fgsm, mim, noise"),
        (["--attack", "fgsm", "--steps", "3"], "fgsm has no setting steps"),
        (
            ["--objective", "dlr"],
            "unknown objective 'dlr': choose one of all, av, feature, flips, margin",
        ),
        (["--crf", "99"], "crf is 99; expected a whole number in 0..51"),
        (["--labels", "missing.csv"], "missing.csv"),
        (["--surrogate", "missing.pt"], "missing.pt"),
    ],
)
def test_bad_settings_are_one_line(run, talking, tmp_path, arguments, message):
    code, _, err = run(talking, "--out", tmp_path / "out", *arguments)
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 2
    assert not list((tmp_path / "out").rglob("*.*"))


def test_a_video_without_a_face_is_one_line(run, tmp_path):
    code, _, err = run(no_face(tmp_path / "grey.mp4"), "--out", tmp_path / "out")
    assert code == 1
    assert "no face was found by dlib in any of the" in err
    assert "there is nothing to attack" in err


def test_labels_of_another_video_are_refused(run, talking, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("v,900.00,0.1,0.1,0.2,0.2,SPEAKING_AUDIBLE,v:0\n")
    code, _, err = run(talking, "--out", tmp_path / "out", "--labels", labels)
    assert code == 1
    assert "25 of 25 frames of face 0 have no label, the first at 0.00 s" in err


def test_an_empty_folder_is_one_line(run, tmp_path):
    code, _, err = run(tmp_path, "--out", tmp_path / "out")
    assert code == 1
    assert "holds no video" in err


def test_scores_that_overflow_are_named_with_step_and_clip(run, talking, tmp_path):
    broken = LRASD().eval()
    with torch.no_grad():
        broken.head_av.weight.fill_(3e38)
    save(broken, tmp_path / "huge.safetensors")
    code, _, err = run(talking, "--out", tmp_path / "out", weights=tmp_path / "huge.safetensors")
    assert code == 1
    assert "the loss of clip 0 is not finite at step 0" in err

"""Commands on detectors, for programs: one document on stdout each."""

import json

import pytest

from pushpull.errors import ConfigError
from pushpull.media import read_waveform
from pushpull.models import build
from pushpull.models.checkpoints import save
from pushpull.training import read_config

TINY = ("model.options.width=0.0625", "model.options.face_step=4", "data.batch_frames=40",
        "data.workers=0", "optim.epochs=1")  # fmt: skip


def test_a_training_is_one_document(document, pushpull, dataset, tmp_path):
    out = tmp_path / "run"
    line = ("train", "talknet", *TINY, f"data.root={dataset}", "--out", out, "--seed", 3)
    code, record, _ = document(*line, "--device", "cpu", "--quiet")
    assert (code, record["kind"], record["epoch"]) == (0, "training", 1)
    assert record["best_weights"] == str(out / "best.safetensors")
    assert 0 <= record["best"] <= 1
    kept = json.loads((out / "config.json").read_text())["config"]["run"]
    assert (kept["seed"], kept["device"], kept["out"]) == (3, "cpu", str(out))
    code, _, err = pushpull(*line)
    assert code == 2
    assert "holds a run already; go on with --resume" in err
    assert document(*line, "--device", "cpu", "--resume")[0] == 0


def test_options_stand_for_settings_of_the_run(pushpull, tmp_path):
    code, _, err = pushpull("train", "talknet", "data.root=x", "run.seed=1", "--seed", -1)
    assert code == 2
    assert "--seed" in err
    with pytest.raises(ConfigError, match=r"run.seed is -1; expected at least 0"):
        read_config("talknet", ["data.root=x", "run.seed=-1"])


def test_an_evaluation_is_the_document_that_it_writes(document, checkpoint, dataset, tmp_path):
    line = ("evaluate", checkpoint, dataset, "--out", tmp_path, "--limit", 1)
    code, record, err = document(*line, "--attack", "fgsm")
    assert (code, record["kind"], err) == (0, "evaluation", "")
    assert record == json.loads((tmp_path / "results.json").read_text())
    assert record["clean"]["tracks"] == record["adversarial"]["tracks"] == 1
    assert 0 <= record["clean"]["accuracy"] <= 1
    code, record, _ = document(
        "evaluate", checkpoint, dataset, "--out", tmp_path, "--limit", 0, "--overwrite"
    )
    assert record["clean"]["tracks"] == 2
    assert "adversarial" not in record


def test_a_pattern_is_made_and_tried(document, pushpull, checkpoint, dataset, tmp_path):
    out = tmp_path / "pattern"
    line = ("universal", checkpoint, dataset, "--out", out, "--target", "silent", "--eps", 20)
    code, record, err = document(*line, "--steps", 6, "--batch-frames", 40, "--period", 0.2)
    assert (code, record["kind"], err) == (0, "universal", "")
    assert record["pattern"]["eps"] == {"audio": 0.002, "visual": 2.0}
    assert (record["pattern"]["period_s"], record["pattern"]["n_faces"]) == (0.2, 1)
    assert len(record["curve"]) == 6
    assert len(read_waveform(out / "pattern.wav")) == 3200
    for name in ("pattern", "control"):
        code, tried, err = document(
            "evaluate", checkpoint, dataset, "--split", "train", "--pattern",
            out / f"{name}.safetensors", "--out", tmp_path / f"with-{name}",
        )  # fmt: skip
        assert (code, err) == (0, "")
        assert tried["attack"]["attack"] == "universal"
        assert tried["clean"]["accuracy"] is not None
        assert tried["attack"]["period_s"] == 0.2
    code, _, err = pushpull("evaluate", checkpoint, dataset, "--pattern", out, "-a", "pgd")
    assert code == 2
    assert "takes the place of --attack" in err


def test_an_evaluation_over_the_air_says_what_rooms(document, checkpoint, dataset, tmp_path):
    line = ("evaluate", checkpoint, dataset, "--limit", 1, "--out", tmp_path, "--air")
    code, record, err = document(*line, "-a", "fgsm", "--modality", "audio", "--eps", 100)
    assert (code, err) == (0, "")
    assert record["attack"]["air"]["listeners"] == 4
    assert record["attack"]["air"]["rooms"]["absorption"] == [0.2, 0.7]
    assert record["adversarial"]["frames"] == record["clean"]["frames"]


def test_a_certificate_is_the_document_that_it_writes(
    document, pushpull, checkpoint, dataset, tmp_path
):
    line = ("certify", checkpoint, dataset, "--split", "train", "--limit", 2, "--frames", 3)
    line += ("--n", 40, "--n0", 5, "--out", tmp_path, "--sigma-visual", 4)
    code, record, err = document(*line)
    assert (code, record["kind"], err) == (0, "certificate", "")
    assert record == json.loads((tmp_path / "certificate.json").read_text())
    assert record["settings"]["sigma"] == {"audio": 0.001, "visual": 4.0}
    assert record["plain"]["frames"] == 6
    code, out, _ = pushpull(*line)
    assert code == 0
    assert "of 6 frames in 2 tracks" in out
    assert out.splitlines()[-1] == str(tmp_path / "certificate.csv")
    code, _, err = pushpull(*line[:-2], "--n", 5, "--overwrite")
    assert code == 1
    assert "n is 5: no frame can be certified" in err


def test_weights_are_one_document(document):
    code, record, err = document("weights")
    assert (code, record["kind"], err) == (0, "weights", "")
    assert {"name", "model", "licence", "where"} <= set(record["weights"][0])


def test_an_export_is_one_document(document, tmp_path):
    small, out = tmp_path / "small.safetensors", tmp_path / "small.pt"
    save(build("talknet", width=0.0625, face_step=4).eval(), small)
    code, record, err = document("export", small, "--format", "torchscript", "--out", out)
    assert (code, record["kind"], record["path"], err) == (0, "export", str(out), "")
    assert out.stat().st_size == record["n_bytes"]

"""What an attack found, as records and files."""

import json

import pytest
import torch
from safetensors.torch import load_file

from pushpull.attacks import attack
from pushpull.models import LRASD
from pushpull.runtime.records import read_json, unstamped
from pushpull.schema import Batch, Clip


@pytest.fixture(scope="module")
def found():
    """Two clips of unlike length, moved in their sound alone."""
    torch.manual_seed(0)
    clips = [
        Clip(
            waveform=torch.randn(640 * n) / 10,
            faces=torch.randint(0, 256, (n, 112, 112), dtype=torch.uint8),
            fps=25.0,
            speaking=torch.arange(n) % 2,
        )
        for n in (6, 4)
    ]
    return attack(LRASD().eval(), Batch.from_clips(clips), "bim", steps=2, modality="audio")


def test_scores_are_of_valid_frames_with_the_labels_that_were_attacked(found) -> None:
    scores = found.frame_scores
    assert scores.track.tolist() == [0] * 6 + [1] * 4
    assert scores.truth.tolist() == [bool(t % 2) for n in (6, 4) for t in range(n)]
    assert scores.by_track()[1].score.tolist() == found.score[1, :4].double().tolist()


def test_a_record_is_json_with_shares(found) -> None:
    record = found.as_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["frames"], record["tracks"], record["forwards"]) == (10, 2, 3)
    assert record["accuracy"] == found.frame_scores.accuracy
    assert 0 < record["average_precision"] <= 1
    assert record["attack"]["attack"] == "bim"
    assert set(record["linf"]) == {"audio"}


def test_files_hold_both_batches(found, tmp_path) -> None:
    paths = found.save(tmp_path / "new")
    assert unstamped(read_json(paths["results.json"], kind="batch-attack")) == found.as_dict()
    tensors = load_file(paths["adversarial.safetensors"])
    assert torch.equal(tensors["adversarial.waveform"], found.waveform)
    assert torch.equal(tensors["clean.faces"], tensors["adversarial.faces"])
    change = tensors["adversarial.waveform"] - tensors["clean.waveform"]
    assert float(change.abs().max()) == pytest.approx(float(found.linf["audio"].max()), rel=1e-5)
    assert torch.equal(tensors["speaking"], found.speaking)

"""Whole runs in real processes: killed and resumed, on two processes, with a full disk."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pushpull.data import SynthConfig, write_synth
from pushpull.errors import CheckpointError, ConfigError, GradientError, OutputExists
from pushpull.models.checkpoints import load
from pushpull.training import read_config, train
from pushpull.training.state import read_state

CONFIG = """
[data]
root = "{root}"
batch_frames = 40
workers = 0
[model]
name = "talknet"
options = {{width = 0.0625, face_step = 4}}
[optim]
lr = 1e-3
epochs = 2
[avil]
l1 = 1
l4 = 0.1
[run]
out = "{out}"
checkpoint_s = 0
"""


@pytest.fixture
def file(dataset, tmp_path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(root=dataset, out=tmp_path / "out"))
    return path


def command(file, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "pushpull", "train", str(file), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process) -> str:
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return err


def rows(path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def weights(out) -> dict[str, torch.Tensor]:
    return read_state(out / "last.ckpt", torch.device("cpu"))["model"]


def test_killed_and_resumed_ends_with_the_same_weights_bit_for_bit(file, tmp_path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    finished(command(file, f"run.out={whole}"))
    killed = command(file)
    steps = out / "steps.csv"
    deadline = time.monotonic() + 200
    # In the middle of the second epoch.
    first_epoch = len(rows(whole / "steps.csv")) // 2
    while not steps.is_file() or steps.read_text().count("\n") < first_epoch + 2:
        assert killed.poll() is None, killed.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stderr.close()
    at = read_state(out / "last.ckpt", torch.device("cpu"))["progress"]
    assert at.step < 2 * first_epoch
    finished(command(file, "--resume"))
    expected, found = weights(whole), weights(out)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert (out / "steps.csv").read_text() == (whole / "steps.csv").read_text()
    assert (out / "epochs.csv").read_text() == (whole / "epochs.csv").read_text()
    best = load(out / "best.safetensors").state_dict()
    best_whole = load(whole / "best.safetensors").state_dict()
    assert all(torch.equal(best[name], value) for name, value in best_whole.items())


@pytest.mark.parametrize(
    "model",
    [
        ["model.name=light_asd", "model.options={}"],
        # Dropout draws other masks in other processes.
        ["model.options={width=0.0625,face_step=4,dropout=0.0}"],
    ],
)
def test_two_processes_learn_what_one_learns(file, tmp_path, model) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    # In float64: Adam divides by the gradient's size, so in float32 rounding decides the direction
    # of steps whose gradient is next to nothing, and curves part by some thousandths.
    same = ["data.batch_frames=26", "optim.epochs=3", "data.augment=false", "data.limit=4"]
    same += ["run.precision=64-true", "run.checkpoint_s=1000", *model]
    finished(command(file, f"run.out={one}", *same))
    finished(command(file, f"run.out={two}", *same, "run.processes=2"))
    curves = [[float(r["total"]) for r in rows(out / "steps.csv")][:6] for out in (one, two)]
    assert len(curves[0]) == 6
    assert curves[1] == pytest.approx(curves[0], abs=1e-5)
    assert curves[0][0] != curves[0][-1]


def test_a_run_writes_what_others_need_and_its_rules_hold(file, tmp_path, dataset) -> None:
    config = read_config(file, ["optim.epochs=1"])
    result = train(config)
    out = tmp_path / "out"
    assert result.best == out / "best.safetensors"
    assert result.frames == sum(_frames(dataset, "train"))
    assert json.loads((out / "config.json").read_text())["config"] == config.as_dict()
    (epoch,) = rows(out / "epochs.csv")
    assert float(epoch["val_average_precision"]) == pytest.approx(result.progress.best)
    assert {"total", "ce_all", "l1", "l4", "norm_a", "margin", "lr"} <= set(
        rows(out / "steps.csv")[0]
    )
    assert list((out / "tensorboard").iterdir())
    with pytest.raises(OutputExists, match="holds a run already; go on with --resume"):
        train(config)
    with pytest.raises(ConfigError, match=r"other settings \(avil\.l4\)"):
        train(read_config(file, ["avil.l4=1"]), resume=True)
    # Done already: nothing is learnt, nothing lost.
    again = train(config, resume=True)
    assert (again.frames, again.progress) == (0, result.progress)
    # More epochs than were asked for at first are welcome.
    more = train(read_config(file, ["optim.epochs=2"]), resume=True)
    assert more.progress.epoch == 2
    assert len(rows(out / "epochs.csv")) == 2
    (out / "last.ckpt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: is no state of a training run"):
        train(config, resume=True)


def test_a_run_goes_on_where_folders_were_moved_but_on_no_other_data(file, tmp_path) -> None:
    config = read_config(file, ["optim.epochs=1"])
    train(config)
    moved, data = tmp_path / "moved", tmp_path / "data elsewhere"
    (tmp_path / "out").rename(moved)
    shutil.copytree(config.data.root, data)
    more = [f"data.root={data}", f"run.out={moved}", "optim.epochs=2"]
    assert train(read_config(file, more), resume=True).progress.epoch == 2
    shutil.rmtree(data)
    write_synth(data, SynthConfig(tracks=14, seed=4, min_frames=6, max_frames=12))
    with pytest.raises(ConfigError, match="is another data set than the one that the run in"):
        train(read_config(file, [*more, "optim.epochs=3"]), resume=True)


def test_the_best_epoch_is_the_one_that_keeps_most_under_attack(file, tmp_path, dataset) -> None:
    config = read_config(
        file,
        [
            "harden.validate=fgsm",
            "harden.validate_tracks=1",
            "harden.validate_frames=4",
            "optim.epochs=3",
            "data.limit=3",
        ],
    )
    result = train(config)
    out = tmp_path / "out"
    found = [float(row["val_attacked_average_precision"]) for row in rows(out / "epochs.csv")]
    assert result.progress.best == max(found)
    said = read_state_header(out / "best.safetensors")
    assert said["val_attacked_average_precision"] == max(found)
    assert said["epoch"] == found.index(max(found)) + 1
    clean = [float(row["val_average_precision"]) for row in rows(out / "epochs.csv")]
    assert said["val_average_precision"] == clean[said["epoch"] - 1]


def read_state_header(path) -> dict:
    from pushpull.models import checkpoints

    return checkpoints.read_state(path)[1]["metadata"]


def test_frozen_batch_norm_keeps_its_means_and_the_rest_learns(file, tmp_path) -> None:
    changes = ["data.limit=2", "optim.epochs=1", "harden.regime=mix", "harden.attack=fgsm"]
    train(read_config(file, [*changes, f"run.out={tmp_path / 'base'}"]))
    base = tmp_path / "base" / "final.safetensors"
    train(read_config(file, [*changes, f"run.init={base}", "optim.freeze_norm=true"]))
    before, after = (load(p).state_dict() for p in (base, tmp_path / "out" / "final.safetensors"))
    means = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert means
    assert all(torch.equal(before[name], after[name]) for name in means)
    weights_of = [name for name in before if name.endswith("weight")]
    assert any(not torch.equal(before[name], after[name]) for name in weights_of)


def test_terms_that_have_not_begun_change_nothing(file, tmp_path) -> None:
    def learnt(name, *changes):
        out = tmp_path / name
        train(read_config(file, [f"run.out={out}", "data.limit=2", *changes]))
        return [float(row["total"]) for row in rows(out / "steps.csv")]

    without = learnt("without", "avil.l1=0", "avil.l4=0")
    later = learnt("later", "avil.start_epochs=1")
    first = len(without) // 2
    assert later[:first] == without[:first]
    assert later[first:] != without[first:]


def _frames(dataset, split):
    from pushpull.data import open_tracks

    return open_tracks(dataset, split).n_frames


def test_training_goes_on_from_other_weights(file, tmp_path) -> None:
    train(read_config(file, ["optim.epochs=1", f"run.out={tmp_path / 'a'}"]))
    best = tmp_path / "a" / "best.safetensors"
    start = read_config(file, [f"run.init={best}", "optim.lr=1e-12", "optim.epochs=1"])
    train(start)
    old, new = load(best).state_dict(), weights(tmp_path / "out")
    assert torch.allclose(old["head_av.weight"], new["head_av.weight"])
    other = ["model.name=lr_asd", "model.options={}", "run.out=/tmp/none"]
    with pytest.raises(ConfigError, match=r"is a talknet; expected model\.name lr_asd"):
        train(read_config(file, [f"run.init={best}", *other]))


def test_a_loss_that_is_not_finite_is_named(file) -> None:
    with pytest.raises(GradientError, match=r"epoch 1, batch \d: the loss is (nan|inf)"):
        train(read_config(file, ["optim.lr=1e30"]))


def test_patience_ends_a_run(file) -> None:
    config = read_config(file, ["optim.lr=1e-12", "optim.patience=1", "optim.epochs=9"])
    progress = train(config).progress
    assert progress.stopped
    assert progress.epoch < 9


def test_a_full_disk_leaves_the_last_checkpoint(file, tmp_path) -> None:
    out = tmp_path / "out"
    train(read_config(file, ["optim.epochs=1"]))
    before = (out / "last.ckpt").read_bytes()
    # Files of this process may not grow beyond a size that a checkpoint exceeds.
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
        "from pushpull.cli import main; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", limited, "train", str(file), "--resume"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 1
    assert "cannot be written" in process.stderr
    assert "Traceback" not in process.stderr
    assert (out / "last.ckpt").read_bytes() == before
    assert not [p for p in out.iterdir() if p.name.startswith(".last")]
    finished(command(file, "--resume"))

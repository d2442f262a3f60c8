"""Attacks: cost of a step against a bare forward and backward pass, and against other libraries.

    python benchmarks/bench_attacks.py [--threads 2] [--frames 50] [--runs 5] [--json FILE]

Detectors have random weights: speed does not depend on them. Times of a step are differences of
whole attacks with more and with fewer steps, so that what happens once is not in them. Runs of two
sides alternate; a ratio is the median over such pairs, below 1 where ours is faster. A library that
is not installed is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pushpull.attacks import attack
from pushpull.losses import cross_entropy_all
from pushpull.memory import keep_freed_memory
from pushpull.models import MODELS, Detector
from pushpull.schema import Batch, Clip

EPS = {"audio": 5e-4, "visual": 0.5}
LENGTHS = (25, 50, 100, 250, 500)
STEPS = (1, 2, 5, 10)
CLIPS = (1, 2, 4)
PACKED_STEPS = 5


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one-length", nargs=2, metavar=("MODEL", "FRAMES"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    if args.one_length:
        model, frames = args.one_length
        print(json.dumps(one_length(model, int(frames))))
        return
    record: dict[str, Any] = {
        "threads": args.threads,
        "frames": args.frames,
        "runs": args.runs,
        "step": {},
        "packed": {},
    }
    for name in ("light_asd", "talknet"):
        record["step"][name] = step_against_bare(name, args.frames, args.runs)
        show(name, record["step"][name])
    for library in ("foolbox", "art", "torchattacks"):
        record["packed"][library] = packed_against(library, args.frames, args.runs)
        show(library, record["packed"][library])
    record["audio_only"] = audio_only(args.frames, args.runs)
    show("audio only, talknet", record["audio_only"])
    record["by_steps"] = {
        n: timed(lambda n=n: attacked("light_asd", batch_of(25), steps=n), args.runs) for n in STEPS
    }
    record["by_clips"] = {
        n: timed(lambda n=n: attacked("light_asd", batch_of(25, n), steps=2), args.runs)
        for n in CLIPS
    }
    show("seconds by steps", record["by_steps"])
    show("seconds by clips", record["by_clips"])
    record["by_length"] = [
        apart(name, frames, args.threads) for name in ("light_asd", "talknet") for frames in LENGTHS
    ]
    for row in record["by_length"]:
        show("length", row)
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


def show(what: str, values: Any) -> None:
    """One line."""
    print(f"{what}: {json.dumps(values)}", flush=True)


def built(name: str) -> Detector:
    """A detector, always the same."""
    if name not in BUILT:
        torch.manual_seed(0)
        BUILT[name] = MODELS[name]().eval().requires_grad_(False)
    return BUILT[name]


BUILT: dict[str, Detector] = {}


def batch_of(frames: int, clips: int = 1) -> Batch:
    """Noise, labelled half and half, far from the ends of its range."""
    generator = torch.Generator().manual_seed(0)
    return Batch.from_clips(
        [
            Clip(
                waveform=0.1 * torch.randn(640 * frames, generator=generator).clamp(-5, 5),
                faces=torch.rand(frames, 112, 112, generator=generator) * 200 + 20,
                fps=25.0,
                speaking=torch.arange(frames) % 2,
            )
            for _ in range(clips)
        ]
    )


def attacked(name: str, batch: Batch, *, steps: int, modality: str = "both") -> Any:
    """Our attack: PGD."""
    return attack(built(name), batch, "pgd", eps=5.0, modality=modality, steps=steps)


def clocked(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def timed(run: Callable[[], object], runs: int) -> float:
    """Median seconds, after one call to warm up."""
    run()
    return statistics.median(clocked(run) for _ in range(runs))


def pairs(ours: Callable[[], float], theirs: Callable[[], float], runs: int) -> dict[str, float]:
    """Medians of both sides, alternating, and of their ratio."""
    ours(), theirs()
    measured = [(ours(), theirs()) for _ in range(runs)]
    return {
        "ours_s": statistics.median(a for a, _ in measured),
        "theirs_s": statistics.median(b for _, b in measured),
        "ratio": statistics.median(a / b for a, b in measured),
    }


def bare_passes(detector: Detector, batch: Batch, passes: int) -> None:
    """What an attack cannot do without: the loss and its gradient in both inputs."""
    assert batch.speaking is not None
    for _ in range(passes):
        waveform = batch.waveform.detach().requires_grad_()
        faces = batch.faces.detach().requires_grad_()
        inputs = {**batch.inputs, "waveform": waveform, "faces": faces}
        loss = cross_entropy_all(detector(**inputs), batch.speaking).sum()
        torch.autograd.grad(loss, (waveform, faces))


def step_against_bare(name: str, frames: int, runs: int) -> dict[str, float]:
    """A step of joint PGD against a forward and backward pass."""
    batch, few, many = batch_of(frames), 1, 5

    def ours() -> float:
        long = clocked(lambda: attacked(name, batch, steps=many))
        return (long - clocked(lambda: attacked(name, batch, steps=few))) / (many - few)

    def bare() -> float:
        return clocked(lambda: bare_passes(built(name), batch, many - few)) / (many - few)

    return pairs(ours, bare, runs)


class Packed(nn.Module):
    """A detector's loss as two logits of one input in [0, 1]: what other libraries can attack.

    Both inputs are w with x = x0 + eps (2 w - 1), so that a ball of 1/2 is both budgets.
    """

    def __init__(self, detector: Detector, batch: Batch) -> None:
        super().__init__()
        self.detector, self.batch = detector, batch
        self.eval()

    def forward(self, w: Tensor) -> Tensor:
        """Logits (B, 2) whose cross-entropy for class 0 is the loss of each clip."""
        batch = self.batch
        assert batch.speaking is not None
        a, v = w.flatten(1).split([batch.waveform[0].numel(), batch.faces[0].numel()], 1)
        waveform = batch.waveform + EPS["audio"] * (2 * a - 1)
        faces = batch.faces + EPS["visual"] * (2 * v - 1).view_as(batch.faces)
        inputs = {**batch.inputs, "waveform": waveform, "faces": faces}
        loss = cross_entropy_all(self.detector(**inputs), batch.speaking).sum(1)
        return torch.stack((torch.zeros_like(loss), loss.expm1().log()), 1)

    def start(self) -> Tensor:
        """The middle of the ball."""
        batch = self.batch
        width = batch.waveform[0].numel() + batch.faces[0].numel()
        return torch.full((len(batch.faces), 1, 1, width), 0.5)


def packed_against(library: str, frames: int, runs: int) -> dict[str, Any]:
    """The same BIM by another library on the packed input, whole calls."""
    if find_spec(library) is None:
        return {"left_out": f"{library} is not installed"}
    packed = Packed(built("light_asd"), batch_of(frames))
    try:
        theirs = LIBRARIES[library](packed)
    except ImportError as e:
        return {"left_out": f"{library} cannot be imported: {e}"}

    def ours() -> float:
        return clocked(
            lambda: attack(packed.detector, packed.batch, "bim", eps=5.0, steps=PACKED_STEPS)
        )

    return pairs(ours, lambda: clocked(theirs), runs)


def by_foolbox(packed: Packed) -> Callable[[], object]:
    """Foolbox's BIM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox

    model = foolbox.PyTorchModel(packed, bounds=(0, 1), device="cpu")
    run = foolbox.attacks.LinfBasicIterativeAttack(
        abs_stepsize=0.5 / PACKED_STEPS, steps=PACKED_STEPS, random_start=False
    )
    labels = torch.zeros(len(packed.start()), dtype=torch.long)
    return lambda: run(model, packed.start(), labels, epsilons=0.5)


def by_art(packed: Packed) -> Callable[[], object]:
    """ART's BIM."""
    from art.attacks.evasion import BasicIterativeMethod
    from art.estimators.classification import PyTorchClassifier

    start = packed.start().numpy()
    classifier = PyTorchClassifier(
        packed,
        nn.CrossEntropyLoss(reduction="sum"),
        start.shape[1:],
        2,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    run = BasicIterativeMethod(
        classifier,
        eps=0.5,
        eps_step=0.5 / PACKED_STEPS,
        max_iter=PACKED_STEPS,
        batch_size=len(start),
        verbose=False,
    )
    return lambda: run.generate(start, np.zeros(len(start), dtype=np.int64))


def by_torchattacks(packed: Packed) -> Callable[[], object]:
    """Torchattacks' PGD from the clean point."""
    from torchattacks import PGD

    run = PGD(packed, eps=0.5, alpha=0.5 / PACKED_STEPS, steps=PACKED_STEPS, random_start=False)
    labels = torch.zeros(len(packed.start()), dtype=torch.long)
    return lambda: run(packed.start(), labels)


LIBRARIES = {"foolbox": by_foolbox, "art": by_art, "torchattacks": by_torchattacks}


def audio_only(frames: int, runs: int) -> dict[str, float]:
    """A step on the sound alone, faces encoded once, against a joint step; on TalkNet."""
    batch, few, many = batch_of(frames), 1, 5

    def step(modality: str) -> float:
        long = clocked(lambda: attacked("talknet", batch, steps=many, modality=modality))
        short = clocked(lambda: attacked("talknet", batch, steps=few, modality=modality))
        return (long - short) / (many - few)

    record = pairs(lambda: step("audio"), lambda: step("both"), runs)
    return {**record, "times_faster": 1 / record["ratio"], "gradient_difference": gradients()}


def gradients() -> float:
    """Largest difference of the sound's gradient with faces encoded once, relative."""
    detector, batch = built("talknet"), batch_of(25)
    assert batch.speaking is not None
    with torch.no_grad():
        e_v = detector(**batch.inputs).e_v
    found = []
    for kept in ({}, {"e_v": e_v}):
        waveform = batch.waveform.detach().requires_grad_()
        output = detector(**{**batch.inputs, "waveform": waveform}, **kept)
        loss = cross_entropy_all(output, batch.speaking).sum()
        found += torch.autograd.grad(loss, waveform)
    return float((found[0] - found[1]).abs().max() / found[0].abs().max())


def apart(name: str, frames: int, threads: int) -> dict[str, float | str]:
    """One length in a process of its own, for its peak memory."""
    command = [sys.executable, __file__, "--threads", str(threads)]
    done = subprocess.run(
        [*command, "--one-length", name, str(frames)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float | str] = json.loads(done.stdout)
    return found


def peak_mib() -> float:
    """Most memory that this process has held; `getrusage` counts its parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def one_length(name: str, frames: int) -> dict[str, float | str]:
    """Seconds of a joint step on one clip, a third of an attack of three."""
    batch = batch_of(frames)
    attacked(name, batch, steps=1)
    step_s = clocked(lambda: attacked(name, batch, steps=3)) / 3
    return {"model": name, "frames": frames, "step_s": step_s, "peak_mib": peak_mib()}


if __name__ == "__main__":
    main()

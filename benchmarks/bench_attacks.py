"""Attacks: cost of a step against a bare forward and backward pass, and against other libraries.

    python benchmarks/bench_attacks.py [--threads 2] [--frames 50] [--runs 7] [--json FILE]

Detectors have random weights: speed does not depend on them. A step lasts from one evaluation with
a gradient to the next, so what an attack does once is not in it; whole calls are given beside it.
Two sides alternate; a ratio is the median over such pairs, below 1 where ours is faster. A library
that is not installed is left out, and the result says so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pushpull.attacks import attack
from pushpull.attacks.search import Search, held_still
from pushpull.attacks.space import CropSpace
from pushpull.attacks.threat import Threat
from pushpull.losses import Goal, build_objective, cross_entropy_all
from pushpull.models import MODELS, Detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.schema import Batch, Clip

EPS_AV = 5.0
EPS = {"audio": 5e-4, "visual": 0.5}
LENGTHS = (25, 50, 100, 250, 500)
STEPS = (1, 2, 5, 10)
CLIPS = (1, 2, 4)
PACKED_STEPS = 5
PEAK_SIDE = 2048
MIB = 1024 * 1024


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one-length", nargs=2, metavar=("MODEL", "FRAMES"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # For all sides: else a quarter of the time is the system's, spent on zeroing pages.
    keep_freed_memory()
    if args.one_length:
        model, frames = args.one_length
        print(json.dumps(one_length(model, int(frames))))
        return
    frames, runs = args.frames, args.runs
    record: dict[str, Any] = {"threads": args.threads, "frames": frames, "runs": runs}
    parts: dict[str, Callable[[], Any]] = {
        "step": lambda: {n: step_against_bare(n, frames, runs) for n in ("light_asd", "talknet")},
        "arithmetic": lambda: arithmetic(("light_asd", "lr_asd", "talknet"), frames, runs),
        "packed": lambda: {name: packed_against(name, frames, runs) for name in LIBRARIES},
        "audio_only": lambda: audio_only(frames, runs),
        "by_steps": lambda: growth(
            {n: lambda n=n: whole("light_asd", batch_of(25), n) for n in STEPS}, runs
        ),
        "by_clips": lambda: growth(
            {n: lambda n=n: whole("light_asd", batch_of(25, n), 2) for n in CLIPS}, runs
        ),
        "by_length": lambda: [
            apart(name, length, args.threads)
            for name in ("light_asd", "talknet")
            for length in LENGTHS
        ],
    }
    for name, part in parts.items():
        record[name] = part()
        print(f"{name}: {json.dumps(record[name])}", flush=True)
        # After each part, so that what was measured outlives an interruption.
        if args.json:
            args.json.write_text(json.dumps(record, indent=1) + "\n")


BUILT: dict[str, Detector] = {}


def built(name: str) -> Detector:
    """A detector, always the same."""
    if name not in BUILT:
        torch.manual_seed(0)
        BUILT[name] = MODELS[name]().eval().requires_grad_(False)
    return BUILT[name]


def batch_of(frames: int, clips: int = 1) -> Batch:
    """Noise, labelled half and half, farther from the ends of its range than any budget."""
    generator = torch.Generator().manual_seed(0)
    return Batch.from_clips(
        [
            Clip(
                waveform=(0.1 * torch.randn(640 * frames, generator=generator)).clamp(-0.5, 0.5),
                faces=torch.rand(frames, 112, 112, generator=generator) * 200 + 20,
                fps=25.0,
                speaking=torch.arange(frames) % 2,
            )
            for _ in range(clips)
        ]
    )


def clocked(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def whole(name: str, batch: Batch, steps: int) -> float:
    """Seconds of a whole joint PGD."""
    return clocked(lambda: attack(built(name), batch, "pgd", eps=EPS_AV, steps=steps))


def steps_of(
    detector: Detector,
    batch: Batch,
    method: str,
    steps: int,
    *,
    modality: str = "both",
    between: Callable[[], object] = lambda: None,
) -> list[float]:
    """Seconds of the steps of one attack, from each gradient to the next: one less than `steps`.

    Args:
        detector: What is attacked.
        batch: Clips.
        method: Of the attack.
        steps: Gradients.
        modality: What is attacked.
        between: Called after each evaluation, with the clock stopped.
    """
    seconds: list[float] = []
    start = 0.0

    def watch(evaluations: int) -> None:
        nonlocal start
        seconds.append(time.perf_counter() - start)
        between()
        start = time.perf_counter()

    attack(detector, batch, method, eps=EPS_AV, modality=modality, steps=steps, watch=watch)
    # The first has the set-up in it; the last is a look at where the last step led.
    return seconds[1:-1]


def compared(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Medians of both sides and of the ratio of pairs."""
    return {
        "ours_s": statistics.median(ours),
        "theirs_s": statistics.median(theirs),
        "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
    }


def bare_pass(detector: Detector, batch: Batch) -> None:
    """What an attack cannot do without: the loss and its gradient in both inputs."""
    assert batch.speaking is not None
    waveform, faces = batch.waveform.clone(), batch.faces.clone()
    with torch.enable_grad():
        inputs = {
            **batch.inputs,
            "waveform": waveform.requires_grad_(),
            "faces": faces.requires_grad_(),
        }
        loss = cross_entropy_all(detector(**inputs), batch.speaking).sum()
        loss.backward()


def step_against_bare(name: str, frames: int, runs: int) -> dict[str, float]:
    """Steps of joint PGD, with a bare pass of the same detector after each."""
    detector, batch, bare = built(name), batch_of(frames), []
    pairs = 2 * runs
    ours = steps_of(
        detector,
        batch,
        "pgd",
        pairs + 2,
        between=lambda: bare.append(clocked(lambda: bare_pass(detector, batch))),
    )
    # One pair to warm up. The passes after the first and the last evaluation have no step.
    return {**compared(ours[1:], bare[2:-1]), "pairs": pairs}


def arithmetic(names: Sequence[str], frames: int, runs: int) -> dict[str, Any]:
    """Arithmetic a second of a bare pass, beside the most that this machine does.

    The most is that of a product of two large square matrices in float32, taken in turn with the
    passes. Operations are those that PyTorch counts: products and convolutions, forward and back;
    recurrent layers, a small part, are not among them.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(PEAK_SIDE, PEAK_SIDE, generator=generator) for _ in range(2))
    batch, peak = batch_of(frames), []
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for run in range(runs + 1):
        took = clocked(lambda: a @ b)
        if run:
            peak.append(2 * PEAK_SIDE**3 / took / 1e9)
        for name, of in seconds.items():
            took = clocked(lambda name=name: bare_pass(built(name), batch))
            if run:
                of.append(took)
    most = statistics.median(peak)
    models = {}
    for name, of in seconds.items():
        with FlopCounterMode(display=False) as counter:
            bare_pass(built(name), batch)
        gflop = counter.get_total_flops() / 1e9
        reached = gflop / statistics.median(of)
        models[name] = {"gflop": gflop, "gflop_per_s": reached, "share": reached / most}
    return {"peak_gflop_per_s": most, "models": models}


class Packed(nn.Module):
    """A detector's loss as two logits of one input in [0, 1]: what other libraries can attack.

    Both inputs are w with x = x0 + eps (2 w - 1), so that a ball of 1/2 is both budgets.

    Attributes:
        asked: When each evaluation with a gradient began.
    """

    def __init__(self, detector: Detector, batch: Batch) -> None:
        super().__init__()
        self.detector, self.batch = detector, batch
        self.asked: list[float] = []
        self.eval()

    def forward(self, w: Tensor) -> Tensor:
        """Logits (B, 2) whose cross-entropy for class 0 is the loss of each clip."""
        if w.requires_grad:
            self.asked.append(time.perf_counter())
        loss = self.loss(w)
        # log(1 + exp(z)) = loss, without the overflow of exp(loss).
        return torch.stack((torch.zeros_like(loss), loss + (-(-loss).expm1()).log()), 1)

    def loss(self, w: Tensor) -> Tensor:
        """Of each clip (B,)."""
        batch = self.batch
        assert batch.speaking is not None
        a, v = w.flatten(1).split([batch.waveform[0].numel(), batch.faces[0].numel()], 1)
        waveform = batch.waveform + EPS["audio"] * (2 * a - 1)
        faces = batch.faces + EPS["visual"] * (2 * v - 1).view_as(batch.faces)
        inputs = {**batch.inputs, "waveform": waveform, "faces": faces}
        return cross_entropy_all(self.detector(**inputs), batch.speaking).sum(1)

    def start(self) -> Tensor:
        """The middle of the ball."""
        batch = self.batch
        width = batch.waveform[0].numel() + batch.faces[0].numel()
        return torch.full((len(batch.faces), 1, 1, width), 0.5)


def packed_against(library: str, frames: int, runs: int) -> dict[str, Any]:
    """The same BIM by another library on the packed input: a step, a whole call, what it reached.

    A whole call of ours has one evaluation more than a library that does not look at the point
    where its last step led.
    """
    if find_spec(library) is None:
        return {"left_out": f"{library} is not installed{HINTS.get(library, '')}"}
    detector, batch = built("light_asd"), batch_of(frames)
    packed = Packed(detector, batch)
    try:
        theirs = LIBRARIES[library](packed)
    except ImportError as e:
        return {"left_out": f"{library} cannot be imported: {e}"}
    steps: list[tuple[float, float]] = []
    calls: list[tuple[float, float]] = []
    for run in range(runs + 1):
        own: list[float] = []
        call = clocked(lambda own=own: own.extend(steps_of(detector, batch, "bim", PACKED_STEPS)))
        packed.asked.clear()
        their_call = clocked(theirs)
        asked = packed.asked
        assert len(asked) == PACKED_STEPS, f"{library} took {len(asked)} gradients"
        # The first of each warms up.
        if run:
            between = [b - a for a, b in pairwise(asked)]
            steps.append((statistics.median(own), statistics.median(between)))
            calls.append((call, their_call))
    found = torch.as_tensor(theirs()).reshape(packed.start().shape)
    with torch.no_grad():
        their_loss = packed.loss(found)
    our_loss = attack(detector, batch, "bim", eps=EPS_AV, steps=PACKED_STEPS).loss * frames
    return {
        "step": compared(*(list(side) for side in zip(*steps, strict=True))),
        "call": compared(*(list(side) for side in zip(*calls, strict=True))),
        "loss_ratio": float((our_loss / their_loss).mean()),
    }


def by_foolbox(packed: Packed) -> Callable[[], Any]:
    """Foolbox's BIM; it asks once more whether it succeeded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox

    model = foolbox.PyTorchModel(packed, bounds=(0, 1), device="cpu")
    run = foolbox.attacks.LinfBasicIterativeAttack(
        abs_stepsize=0.5 / PACKED_STEPS, steps=PACKED_STEPS, random_start=False
    )
    labels = torch.zeros(len(packed.start()), dtype=torch.long)
    return lambda: run(model, packed.start(), labels, epsilons=0.5)[1]


def by_art(packed: Packed) -> Callable[[], Any]:
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


def by_torchattacks(packed: Packed) -> Callable[[], Any]:
    """Torchattacks' PGD from the clean point."""
    from torchattacks import PGD

    run = PGD(packed, eps=0.5, alpha=0.5 / PACKED_STEPS, steps=PACKED_STEPS, random_start=False)
    labels = torch.zeros(len(packed.start()), dtype=torch.long)
    return lambda: run(packed.start(), labels)


LIBRARIES = {"foolbox": by_foolbox, "art": by_art, "torchattacks": by_torchattacks}

# It requires torchvision, which does not import beside CPU torch, but never imports it.
HINTS = {"torchattacks": " (pip install --no-deps torchattacks==3.5.1)"}


def audio_only(frames: int, runs: int) -> dict[str, float]:
    """A step on the sound alone, faces encoded once, against a joint step; on TalkNet."""
    detector, batch = built("talknet"), batch_of(frames)
    seconds: dict[str, list[float]] = {"audio": [], "both": []}
    for run in range(runs + 1):
        for modality, of in seconds.items():
            taken = steps_of(detector, batch, "pgd", 4, modality=modality)
            if run:
                of.append(statistics.median(taken))
    record = compared(seconds["audio"], seconds["both"])
    return {
        **record,
        "times_faster": 1 / record["ratio"],
        "gradient_difference": gradient_difference(detector, batch),
    }


def gradient_difference(detector: Detector, batch: Batch) -> float:
    """Largest difference between the sound's gradients of both attacks, relative to the largest."""
    assert batch.speaking is not None
    objective = build_objective("all", Goal(labels=batch.speaking))
    found = []
    with held_still(detector):
        for modality in ("audio", "both"):
            space = CropSpace(batch, Threat.of(EPS_AV, modality=modality))
            search = Search(detector, space, objective)
            # The second evaluation of an attack on the sound has the faces' embeddings kept.
            for _ in range(2):
                gradient = search.gradient(search.start)[1]["audio"]
            found.append(gradient)
    return float((found[0] - found[1]).abs().max() / found[1].abs().max())


def growth(sizes: dict[int, Callable[[], float]], runs: int) -> dict[str, Any]:
    """Seconds by size, sizes taking turns, and how far they are from the line through them."""
    seconds: dict[int, list[float]] = {n: [] for n in sizes}
    for run in range(runs + 1):
        for n, measure in sizes.items():
            taken = measure()
            if run:
                seconds[n].append(taken)
    medians = {n: statistics.median(of) for n, of in seconds.items()}
    slope, once = np.polyfit(list(medians), list(medians.values()), 1)
    return {
        "seconds": medians,
        "each_s": float(slope),
        "once_s": float(once),
        "over_line": {n: float(s / (once + slope * n)) for n, s in medians.items()},
    }


def apart(name: str, frames: int, threads: int) -> dict[str, float | str]:
    """One length in a process of its own, for its peak memory."""
    command = [sys.executable, __file__, "--threads", str(threads)]
    process = subprocess.run(
        [*command, "--one-length", name, str(frames)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float | str] = json.loads(process.stdout)
    return found


def one_length(name: str, frames: int) -> dict[str, float | str]:
    """Seconds of a joint step on one clip, and the peak memory before and after it."""
    detector, batch = built(name), batch_of(frames)
    before = peak_mib()
    seconds = steps_of(detector, batch, "pgd", 4)
    return {
        "model": name,
        "frames": frames,
        "step_s": statistics.median(seconds),
        "before_mib": before,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    """Peak resident set of this process.

    Not `ru_maxrss`: a process has at least its parent's there, from before its own program began.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / MIB


if __name__ == "__main__":
    main()

"""Training: loading against TalkNet's published loader, adversarial against clean steps.

    python benchmarks/bench_training.py [--peer TalkNet-ASD] [--threads 2] [--json FILE]

Both loaders give the same tracks, augmented, in one process: ours from packed files, theirs from
jpg folders and wavs of the same faces and sound, written here. TalkNet's preparation keeps crops as
large as they were found, so they are written twice: 112 x 112, the least that either needs, and as
high as AVA's boxes are in videos of 480 lines. Theirs makes MFCC while ours leaves that to the
model, so theirs is timed without MFCC, too. Passes over all tracks alternate; a ratio is the median
over such pairs. Before each pass both wait until threads of the other have gone to sleep.

Whether loading can hold up a GPU is computed: frames per second of one loader process, its batches
handed over, times 16, against what a GPU could learn from at all: its arithmetic peak over the
operations of a training step, counted.

Adversarial training with k steps is compared with its parts in clean steps, each a forward and
backward pass of the model in training mode: k + 1 where all of the loss is adversarial (mix 1), one
more where the clean batch is learnt from, too (mix 0.5); and the forward pass in which an attack
looks at the last of its iterates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from pushpull.data import Plan, SynthConfig, loader, open_tracks, write_synth
from pushpull.losses.avil import Avil
from pushpull.media import write_wav
from pushpull.models import build
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.schema import FACE_SIZE, SAMPLE_RATE_HZ, Batch, Clip
from pushpull.training.config import HardenConfig
from pushpull.training.regimes import build_regime

TRACKS = 200
BATCH_FRAMES = 500
REDUCED = {"width": 0.25, "face_step": 2}
STEP_FRAMES = {"light_asd": 150, "talknet": 500}
PAUSE_S = 0.2
GPU_CORES = 16
GPU = {"name": "NVIDIA H100 SXM, bf16 without sparsity (NVIDIA's data sheet)", "peak": 989.4e12}
# Percentiles 10, 25, 50, 75, 90 of box heights in the 2 676 314 rows of AVA-ActiveSpeaker v1.0
# train, as shares of the picture's height, in 480 lines.
AVA_SIDES = [round(480 * share) for share in (0.107, 0.175, 0.303, 0.511, 0.696)]


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    record: dict[str, Any] = {"threads": args.threads, "runs": args.runs}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        write_synth(root, SynthConfig(tracks=TRACKS, seed=0, min_frames=40, max_frames=120))
        record["loader"] = loaders(root, Path(folder) / "talknet", args.peer, args.runs)
        record["gpu"] = {
            "cores": GPU_CORES,
            **GPU,
            "worker_fps": handed_over(root, args.runs),
            "flops_per_frame": {name: operations(name) for name in ("talknet", "light_asd")},
        }
        record["adversarial"] = [
            adversarial(root, name, options, steps, mix, args.runs)
            for name, options in (("light_asd", {}), ("talknet", REDUCED))
            for steps in (1, 5)
            for mix in (1.0, 0.5)
        ]
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


def pairs(one: Callable[[], float], other: Callable[[], float], runs: int) -> list[float]:
    """Ratios of alternating runs, after one of each."""
    one(), other()
    return [one() / other() for _ in range(runs)]


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    time.sleep(PAUSE_S)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def loaders(root: Path, talknet: Path, peer: Path | None, runs: int) -> dict[str, Any]:
    """Frames per second of a pass over all tracks, and ratios of theirs to ours."""
    tracks = open_tracks(root, "train")
    frames = int(tracks.n_frames.sum())

    def ours() -> None:
        for batch in loader(tracks, Plan(batch_frames=BATCH_FRAMES, seed=1))[0]:
            assert isinstance(batch, Batch)

    ours()
    seconds = statistics.median(timed(ours) for _ in range(runs))
    found: dict[str, Any] = {"tracks": len(tracks), "frames": frames, "ours_fps": frames / seconds}
    if peer is None:
        return found | {"peer": "left out: --peer names no checkout"}
    theirs = published(peer)
    kept = theirs.python_speech_features.mfcc
    for crops, sides in (("112", [FACE_SIZE]), ("ava", AVA_SIDES)):
        folder = talknet / crops
        as_talknet(root, folder, sides)
        for sound, mfcc in (("mfcc", kept), ("no_mfcc", no_mfcc)):
            theirs.python_speech_features.mfcc = mfcc
            batches = theirs.train_loader(
                str(folder / "csv" / "train_loader.csv"),
                str(folder / "clips_audios" / "train"),
                str(folder / "clips_videos" / "train"),
                BATCH_FRAMES,
            )

            def one_pass(batches: Any = batches) -> None:
                for i in range(len(batches)):
                    batches[i]

            ratios = pairs(lambda work=one_pass: timed(work), lambda: timed(ours), runs)
            # Theirs cuts each clip to the shortest of its batch, so it loads fewer frames.
            loaded = sum(len(batch) * int(batch[-1].split("\t")[1]) for batch in batches.miniBatch)
            found[f"{crops}_{sound}"] = statistics.median(ratios) * frames / loaded
    theirs.python_speech_features.mfcc = kept
    return found


def handed_over(root: Path, runs: int) -> float:
    """Frames per second of one loader process, from its second batch on."""
    tracks = open_tracks(root, "train")

    def rate() -> float:
        times, frames = [], []
        for batch in loader(tracks, Plan(batch_frames=BATCH_FRAMES, seed=1), workers=1)[0]:
            times.append(time.perf_counter())
            frames.append(int(batch.n_frames.sum()))
        return sum(frames[1:]) / (times[-1] - times[0])

    return statistics.median(rate() for _ in range(runs))


def operations(name: str, frames: int = 50) -> float:
    """Floating-point operations of a training step for each frame."""
    clip = Clip(
        waveform=torch.zeros(frames * SAMPLE_RATE_HZ // 25),
        faces=torch.zeros(frames, FACE_SIZE, FACE_SIZE),
        fps=25.0,
        speaking=torch.arange(frames) % 2,
    )
    model = build(name).train()
    counted = FlopCounterMode(display=False)
    with counted:
        regime = build_regime(HardenConfig(), Avil())
        regime(model, model, Batch.from_clips([clip]), 0)["total"].backward()
    return float(counted.get_total_flops()) / frames


def no_mfcc(audio: Any, rate: int, *, winstep: float, **_: Any) -> Any:
    """As many rows of zeros as the front end would give."""
    return np.zeros((int(len(audio) / rate / winstep), 13))


def as_talknet(root: Path, out: Path, sides: list[int]) -> None:
    """The training tracks in TalkNet's folders, crops of each size in turn."""
    tracks = open_tracks(root, "train")
    lines = []
    (out / "csv").mkdir(parents=True)
    for i in range(len(tracks)):
        example = tracks[i]
        # Their loader takes the first 11 characters for the video.
        video = f"v{i:010d}"
        entity = f"{video}_0000_0060:1"
        faces = out / "clips_videos" / "train" / video / entity
        faces.mkdir(parents=True)
        for k, face in enumerate(example.clip.faces.numpy()):
            side = sides[i % len(sides)]
            crop = face if side == FACE_SIZE else cv2.resize(face, (side, side))
            cv2.imwrite(str(faces / f"{k / example.clip.fps:.2f}.jpg"), crop)
        (out / "clips_audios" / "train" / video).mkdir(parents=True)
        sound = out / "clips_audios" / "train" / video / f"{entity}.wav"
        write_wav(sound, example.clip.waveform.numpy())
        labels = example.clip.speaking.tolist()
        lines.append(f"{entity}\t{len(labels)}\t{example.clip.fps}\t{labels}\t{i}")
    (out / "csv" / "train_loader.csv").write_text("\n".join(lines) + "\n")


def published(peer: Path) -> Any:
    """Their loader; what this machine lacks for it, and it does not use, is stood in for."""
    import random

    transforms = types.ModuleType("torchvision.transforms")
    transforms.RandomCrop = None  # type: ignore[attr-defined]
    sys.modules.setdefault("torchvision", types.ModuleType("torchvision"))
    sys.modules.setdefault("torchvision.transforms", transforms)
    sys.path.insert(0, str(peer))
    import dataLoader

    # It samples from sets, which Python 3.11 refuses.
    dataLoader.random = types.SimpleNamespace(
        sample=lambda values, n: random.sample(sorted(values), n),
        uniform=random.uniform,
        randint=random.randint,
        choice=random.choice,
    )
    return dataLoader


def adversarial(
    root: Path, name: str, options: dict[str, Any], steps: int, mix: float, runs: int
) -> dict[str, Any]:
    """Time of a PGD-trained step against what it is made of."""
    tracks = open_tracks(root, "train")
    batches = loader(tracks, Plan(batch_frames=STEP_FRAMES[name], seed=2))[0]
    batch = max(batches, key=lambda b: int(b.n_frames.sum())).as_float()
    torch.manual_seed(0)
    model = build(name, **options).train()
    harden = HardenConfig(regime="mix", attack="pgd", steps=steps, mix=mix)
    clean, hard = build_regime(HardenConfig(), Avil()), build_regime(harden, Avil())
    parts = steps + 1 if mix == 1 else steps + 2

    def step(regime: Any) -> None:
        model.zero_grad()
        regime(model, model, batch, 0)["total"].backward()

    def made_of() -> None:
        # Without a pause in between, as the parts of the adversarial step have none.
        for _ in range(parts):
            step(clean)
        with torch.no_grad():
            model(**batch.inputs)

    ratios = pairs(lambda: timed(lambda: step(hard)), lambda: timed(made_of), runs)
    return {
        "model": name,
        "options": options,
        "steps": steps,
        "mix": mix,
        "clips": len(batch.n_frames),
        "frames": int(batch.n_frames.sum()),
        "ratio": statistics.median(ratios),
    }


if __name__ == "__main__":
    main()

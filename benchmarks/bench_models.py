"""Detectors against the published code: same weights, same inputs, same threads, in one process.

    python benchmarks/bench_models.py --peer-talknet DIR --peer-light-asd DIR --peer-lr-asd DIR \
        [--threads 2] [--frames 100] [--runs 7] [--bf16] [--json FILE]

DIR is a checkout of TaoRuijie/TalkNet-ASD, Junhua-Liao/Light-ASD, Junhua-Liao/LR-ASD. Both sides
take one clip of ready MFCC and faces, with frozen parameters, in eval mode. `forward` is without
gradient, `forward_backward` goes to both inputs. Runs alternate between the sides; a ratio is the
median over such pairs, below 1 where ours is faster. With --bf16 ours runs under autocast and is
compared with the published code in float32 and, as `bf16_both`, under autocast too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pushpull.models import MODELS, Detector
from pushpull.runtime.malloc import keep_freed_memory

# Where each published checkout keeps its network, and the width of what its heads see.
PEERS = {
    "talknet": ("model.talkNetModel", "talkNetModel", {"av": 256, "a": 128, "v": 128}),
    "light_asd": ("model.Model", "ASD_Model", {"av": 128, "v": 128}),
    "lr_asd": ("model.Model", "ASD_Model", {"av": 128, "v": 128}),
}
TOLERANCE = 1e-5


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in PEERS:
        parser.add_argument(f"--peer-{name.replace('_', '-')}", dest=name, type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    chosen = {name: folder for name in PEERS if (folder := getattr(args, name))}
    if not chosen:
        parser.error("give at least one --peer-... folder")
    torch.set_num_threads(args.threads)
    # For both sides: else a quarter of the time is the system's, spent on zeroing pages.
    keep_freed_memory()
    record: dict[str, Any] = {
        "machine": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": args.threads,
        "frames": args.frames,
        "runs": args.runs,
        "models": {},
    }
    for name, folder in chosen.items():
        torch.manual_seed(0)
        ours, published = both(name, folder)
        record["models"][name] = measure(ours, published, args.frames, args.runs, args.bf16)
        print_rows(name, record["models"][name])
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


class Published(nn.Module):
    """The published network and its heads, called as its own evaluation does."""

    def __init__(self, network: nn.Module, widths: dict[str, int]) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleDict({k: nn.Linear(width, 2) for k, width in widths.items()})

    def forward(self, features: Tensor, faces: Tensor) -> dict[str, Tensor]:
        """Embeddings and logits of one clip."""
        e_a = a = self.network.forward_audio_frontend(features)
        e_v = v = self.network.forward_visual_frontend(faces)
        if hasattr(self.network, "forward_cross_attention"):
            a, v = self.network.forward_cross_attention(e_a, e_v)
        streams = {"av": self.network.forward_audio_visual_backend(a, v), "a": a[0], "v": v[0]}
        logits = {k: head(streams[k]) for k, head in self.heads.items()}
        return {"e_a": e_a[0], "e_v": e_v[0], **logits}


def both(name: str, folder: Path) -> tuple[Detector, Published]:
    """Our detector and the published one with the same weights and settled batch norms."""
    module, network, widths = PEERS[name]
    with importable(folder):
        published = Published(getattr(importlib.import_module(module), network)(), widths)
    for part in published.modules():
        if isinstance(part, _BatchNorm):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.8, 1.2)
    ours = MODELS[name]()
    heads = {f"head_{k}": v for k, v in published.heads.state_dict().items()}
    ours.load_state_dict({**published.network.state_dict(), **heads})
    for model in (ours, published):
        model.eval().requires_grad_(False)
    return ours, published


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Import from a checkout; all of them call their package `model`."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for module in [m for m in sys.modules if m == "model" or m.startswith("model.")]:
            del sys.modules[module]


def ours_as_published(detector: Detector, features: Tensor, faces: Tensor) -> dict[str, Tensor]:
    output = detector.from_features(features, faces)
    named = {"e_a": output.e_a, "e_v": output.e_v, "av": output.logits}
    named |= {"a": output.logits_a, "v": output.logits_v}
    return {k: v[0] for k, v in named.items() if v is not None}


def measure(
    ours: Detector, published: Published, frames: int, runs: int, bf16: bool
) -> dict[str, Any]:
    inputs = (torch.randn(1, 4 * frames, 13), 255 * torch.rand(1, frames, 112, 112))
    sides = {
        "ours": lambda a, v: ours_as_published(ours, a, v),
        "published": published,
    }
    result: dict[str, Any] = {"difference": difference(sides, inputs)}
    assert result["difference"] <= TOLERANCE, f"outputs differ by {result['difference']:.1e}"
    result["float32"] = timed_pair(sides, inputs, runs, (False, False))
    if bf16:
        result["bf16"] = timed_pair(sides, inputs, runs, (True, False))
        result["bf16_both"] = timed_pair(sides, inputs, runs, (True, True))
    return result


def difference(sides: dict[str, Callable[..., Any]], inputs: tuple[Tensor, ...]) -> float:
    """Largest difference of any output, relative to the largest value of that output."""
    with torch.no_grad():
        ours, published = (sides[k](*inputs) for k in ("ours", "published"))
    assert ours.keys() == published.keys()
    return max(float((ours[k] - v).abs().max() / v.abs().max()) for k, v in published.items())


def timed_pair(
    sides: dict[str, Callable[..., Any]],
    inputs: tuple[Tensor, ...],
    runs: int,
    autocast: tuple[bool, bool],
) -> dict[str, dict[str, float]]:
    result = {}
    for step, backward in (("forward", False), ("forward_backward", True)):
        seconds: dict[str, list[float]] = {who: [] for who in sides}
        for run in range(runs + 1):
            for (who, side), low in zip(sides.items(), autocast, strict=True):
                taken = timed(side, inputs, backward, low)
                # The first run of each warms up.
                if run:
                    seconds[who].append(taken)
        pairs = zip(seconds["ours"], seconds["published"], strict=True)
        result[step] = {
            **{f"{who}_ms": 1e3 * statistics.median(s) for who, s in seconds.items()},
            "ratio": statistics.median(a / b for a, b in pairs),
            "ratio_of_fastest": min(seconds["ours"]) / min(seconds["published"]),
        }
    return result


def timed(side: Callable[..., Any], inputs: tuple[Tensor, ...], backward: bool, low: bool) -> float:
    leaves = tuple(v.clone().requires_grad_(backward) for v in inputs)
    context = torch.autocast("cpu", torch.bfloat16) if low else nullcontext()
    start = time.perf_counter()
    with torch.set_grad_enabled(backward), context:
        score = side(*leaves)["av"].float().sum()
    if backward:
        score.backward()
    return time.perf_counter() - start


def print_rows(name: str, result: dict[str, Any]) -> None:
    for precision, steps in result.items():
        if precision == "difference":
            print(f"{name}: outputs differ by {steps:.1e} relative")
            continue
        for step, values in steps.items():
            print(
                f"{name:10} {precision:9} {step:17} published {values['published_ms']:8.1f} ms   "
                f"ours {values['ours_ms']:8.1f} ms   ratio {values['ratio']:.3f}   "
                f"of fastest {values['ratio_of_fastest']:.3f}",
                flush=True,
            )


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((li.partition(": ")[2] for li in lines if li.startswith("model name")), "")


if __name__ == "__main__":
    main()

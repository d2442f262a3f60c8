"""Put the small detectors of a `pushpull reproduce --preset standard` run into the package.

    python scripts/ship_weights.py RUN
    python scripts/ship_weights.py --hardened WEIGHTS

With `--hardened`, what `pushpull train light-asd-hardened` or `scripts/harden_real.py` left.

Matrices and kernels are kept in half precision, which halves the files; all else, such as running
means, in full. The header says how each was made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushpull.models.checkpoints import HEADER, read_state
from pushpull.models.weights import HARDENED, SHIPPED
from pushpull.reproduce import PRESETS
from pushpull.reproduce.plan import training
from pushpull.reproduce.rows import SURROGATES

TRAINED_ON = "AVA-ActiveSpeaker, then adversaries of clips of eight people under free licences"
KEPT = ("data", "epoch", "versions", "crop")


def main() -> None:
    """Write what was asked for."""
    if sys.argv[1] == "--hardened":
        ship_hardened(Path(sys.argv[2]))
    else:
        ship_synthetic(Path(sys.argv[1]))


def ship_hardened(weights: Path) -> None:
    """The hardened Light-ASD."""
    state, header = read_state(weights)
    said = header["metadata"]
    config = {k: v for k, v in said["config"].items() if k != "data"}
    config["run"] = {"seed": said["config"]["run"]["seed"], "init": said["config"]["run"]["init"]}
    header["metadata"] = {
        **{k: said[k] for k in KEPT},
        "config": config,
        "licence": "MIT",
        "trained_on": TRAINED_ON,
        "made_by": "scripts/harden_real.py",
    }
    write(SHIPPED[HARDENED], state, header)


def ship_synthetic(run: Path) -> None:
    """Rows of Table 1 and surrogates."""
    preset = PRESETS["standard"]
    for name, path in SHIPPED.items():
        if name == HARDENED:
            continue
        row = name.removeprefix("synthetic-")
        stage = training(preset, row if row in SURROGATES else row.upper(), 0)
        state, header = read_state(stage.folder(run / "stages") / "model.safetensors")
        said = header["metadata"]
        config = {k: v for k, v in said["config"].items() if k != "data"}
        config["run"] = {"seed": said["config"]["run"]["seed"]}
        header["metadata"] = {
            **{k: said[k] for k in KEPT},
            "config": config,
            "licence": "MIT",
            "trained_on": "synthetic talking faces only",
            "made_by": f"pushpull reproduce --preset standard, stage {stage.name}-{stage.key}",
        }
        write(path, state, header)


def write(path: Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """One file, with matrices and kernels in half precision."""
    from safetensors.torch import save_file

    small = {k: v.half() if v.is_floating_point() and v.dim() > 1 else v for k, v in state.items()}
    if not all(bool(torch.isfinite(v).all()) for v in small.values()):
        raise SystemExit(f"{path.name}: a weight does not fit into half precision")
    path.parent.mkdir(exist_ok=True)
    save_file(small, path, metadata={HEADER: json.dumps(header)})
    epoch = header["metadata"]["epoch"]
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, epoch {epoch}")


if __name__ == "__main__":
    main()

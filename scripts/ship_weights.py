"""Put the small detectors of a `pushpull reproduce --preset standard` run into the package.

    python scripts/ship_weights.py RUN

Matrices and kernels are kept in half precision, which halves the files; all else, such as running
means, in full. The header says how each was made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from pushpull.models.checkpoints import HEADER, read_state
from pushpull.models.weights import SHIPPED
from pushpull.reproduce import PRESETS
from pushpull.reproduce.plan import training
from pushpull.reproduce.rows import SURROGATES

KEPT = ("data", "epoch", "versions", "crop")


def main(run: Path) -> None:
    """Write every file of `SHIPPED`."""
    from safetensors.torch import save_file

    preset = PRESETS["standard"]
    for name, path in SHIPPED.items():
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
        small = {
            k: v.half() if v.is_floating_point() and v.dim() > 1 else v for k, v in state.items()
        }
        if not all(bool(torch.isfinite(v).all()) for v in small.values()):
            raise SystemExit(f"{stage.name}: a weight does not fit into half precision")
        path.parent.mkdir(exist_ok=True)
        save_file(small, path, metadata={HEADER: json.dumps(header)})
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, epoch {said['epoch']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

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
from pushpull.weights import SHIPPED

KEPT = ("data", "epoch", "versions", "crop")


def main(run: Path) -> None:
    """Write every file of `SHIPPED`."""
    from safetensors.torch import save_file

    results = json.loads((run / "results.json").read_text())
    stages = {s["name"]: s["key"] for s in results["stages"]}
    for name, path in SHIPPED.items():
        row = name.removeprefix("synthetic-")
        stage = f"train-{row if row in ('spec', 'nc') else row.upper()}-s0"
        key = stages[stage]
        state, header = read_state(run / "stages" / f"{stage}-{key}" / "model.safetensors")
        said = header["metadata"]
        config = {k: v for k, v in said["config"].items() if k != "data"}
        config["run"] = {"seed": said["config"]["run"]["seed"]}
        header["metadata"] = {
            **{k: said[k] for k in KEPT},
            "config": config,
            "licence": "MIT",
            "trained_on": "synthetic talking faces only",
            "made_by": f"pushpull reproduce --preset {results['name']}, stage {stage}-{key}",
        }
        small = {
            k: v.half() if v.is_floating_point() and v.dim() > 1 else v for k, v in state.items()
        }
        if not all(bool(torch.isfinite(v).all()) for v in small.values()):
            raise SystemExit(f"{stage}: a weight does not fit into half precision")
        path.parent.mkdir(exist_ok=True)
        save_file(small, path, metadata={HEADER: json.dumps(header)})
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, epoch {said['epoch']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

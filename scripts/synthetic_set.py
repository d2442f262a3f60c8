"""What the synthetic set looks like, and how far one modality alone gets on it.

    python scripts/synthetic_set.py RUN --report docs/measurements/synthetic.md \
        --pictures docs/images

RUN is the folder of `pushpull reproduce --preset standard` (begun, finished or new): models that
are not there yet are trained as its stages. The heads on z_a and z_v of ncTalkNet, which has no
cross-attention, see one modality each; both heads of all are trained together.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushpull.data import SynthConfig, open_tracks
from pushpull.data.synth import CASES, synth_example
from pushpull.losses import log_odds
from pushpull.media import VideoWriter
from pushpull.metrics import average_precision
from pushpull.models.checkpoints import load
from pushpull.reproduce import PRESETS
from pushpull.reproduce.plan import training
from pushpull.runtime.stages import run_stages
from pushpull.schema import SAMPLE_RATE_HZ, Batch

FRAMES, ZOOM, SHOWN_S = 10, 3, 2.5
MARK = re.compile(r"(<!-- baselines -->\n).*?(<!-- end -->)", re.DOTALL)


def sheet(path: Path, config: SynthConfig, per_case: int = 2) -> None:
    """Two tracks of each case, ten frames each, with a bar over frames that speak."""
    import cv2

    rows, found = [], dict.fromkeys(CASES, 0)
    for number in range(400):
        example = synth_example(config, "test", number)
        case = next(c for c in CASES if c.value == example.case)
        if found[case] == per_case:
            continue
        found[case] += 1
        at = np.linspace(0, len(example.clip.faces) - 1, FRAMES).astype(int)
        row = np.hstack([example.clip.faces[k].numpy() for k in at]).copy()
        assert example.clip.speaking is not None  # noqa: S101
        for j, k in enumerate(at):
            if example.clip.speaking[k]:
                row[:4, j * 112 : (j + 1) * 112] = 255
        cv2.putText(row, example.case, (4, 108), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255, 1)
        rows.append((list(CASES).index(case), row))
        if all(count == per_case for count in found.values()):
            break
    cv2.imwrite(str(path), np.vstack([row for _, row in sorted(rows, key=lambda r: r[0])]))


def film(path: Path, config: SynthConfig, *, fps: float = 25.0) -> None:
    """One track of each case after the other, with its sound and a bar while it speaks."""
    import cv2

    size = 112 * ZOOM
    pictures: list[NDArray[np.uint8]] = []
    sounds: list[NDArray[np.float32]] = []
    seen: set[str] = set()
    for number in range(400):
        example = synth_example(config, "test", number)
        faces = example.clip.faces.numpy()
        if example.case in seen or example.clip.fps != fps or len(faces) < 50:
            continue
        seen.add(example.case)
        count = min(len(faces), round(SHOWN_S * fps))
        assert example.clip.speaking is not None  # noqa: S101
        for face, speaks in zip(faces[:count], example.clip.speaking[:count], strict=False):
            picture = cv2.resize(face, (size, size), interpolation=cv2.INTER_CUBIC)
            picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
            if speaks:
                picture[:10] = (40, 200, 60)
            cv2.putText(picture, example.case, (8, size - 10), 0, 0.6, (255, 255, 255), 1)
            pictures.append(picture)
        n = round(count / fps * SAMPLE_RATE_HZ)
        sounds.append(np.resize(example.clip.waveform.numpy(), n).astype(np.float32))
        if len(seen) == len(CASES):
            break
    with VideoWriter(
        path, width=size, height=size, fps=fps, audio=np.concatenate(sounds), crf=28
    ) as writer:
        for picture in pictures:
            writer.write(picture)


def baselines(run: Path, seeds: int) -> list[dict[str, float]]:
    """Average precision on the test split, of each seed: both modalities, sound, picture."""
    preset = PRESETS["standard"]
    stages = [training(preset, "nc", seed) for seed in range(seeds)]
    run_stages(stages, run / "stages", workers=2, progress=print)
    rows = []
    for stage in stages:
        detector = load(stage.folder(run / "stages") / "model.safetensors")
        tracks = open_tracks(stage.needs["data"].folder(run / "stages") / "data", "test")
        scores: dict[str, list[Any]] = {"both": [], "audio": [], "visual": [], "truth": []}
        for i in range(len(tracks)):
            batch = Batch.from_clips([tracks[i].clip])
            with torch.no_grad():
                output = detector(**batch.inputs)
            heads = (output.logits, output.logits_a, output.logits_v)
            for name, logits in zip(scores, heads, strict=False):
                assert logits is not None  # noqa: S101
                scores[name].append(log_odds(logits)[0].double().numpy())
            assert batch.speaking is not None  # noqa: S101
            scores["truth"].append(batch.speaking[0].numpy().astype(bool))
        truth = np.concatenate(scores.pop("truth"))
        rows.append(
            {name: 100 * average_precision(np.concatenate(s), truth) for name, s in scores.items()}
            | {"chance": 100 * float(truth.mean())}
        )
    return rows


def table(rows: list[dict[str, float]]) -> str:
    """The rows in markdown, with mean and standard deviation."""
    names = list(rows[0])
    lines = ["| seed | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for seed, row in enumerate(rows):
        lines.append(f"| {seed} | " + " | ".join(f"{row[n]:.1f}" for n in names) + " |")
    if len(rows) > 1:
        values = {n: [row[n] for row in rows] for n in names}
        cells = [f"{np.mean(v):.1f} ± {np.std(v, ddof=1):.1f}" for v in values.values()]
        lines.append("| mean ± sd | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw, film, train, measure, and write the table into the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    config = SynthConfig(**PRESETS["standard"].synth)
    if asked.pictures:
        asked.pictures.mkdir(parents=True, exist_ok=True)
        sheet(asked.pictures / "synthetic.png", config)
        film(asked.pictures / "synthetic.mp4", config)
    if asked.seeds:
        found = table(baselines(asked.run, asked.seeds))
        print(found)
        if asked.report:
            text = asked.report.read_text()
            asked.report.write_text(MARK.sub(lambda m: m[1] + found + m[2], text))


if __name__ == "__main__":
    main()

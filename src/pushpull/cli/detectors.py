"""Commands on detectors: train, evaluate, audit, reproduce, score, weights, export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from pushpull.cli.console import note, progress_bar, say
from pushpull.cli.options import (
    AttackOption,
    DetectorArgument,
    DeviceChoice,
    DeviceOption,
    EpsOption,
    JsonFlag,
    LimitOption,
    ModalityChoice,
    ModalityOption,
    NormChoice,
    NormOption,
    ObjectiveOption,
    SeedOption,
    SplitOption,
    StepsOption,
    attack_settings,
    budget_of,
)
from pushpull.report.tables import percent
from pushpull.runtime.records import as_json_text, read_json

__all__ = ["audit", "configs", "evaluate", "export", "reproduce", "score", "train", "weights"]


def train(
    config: Annotated[
        str, typer.Argument(help="A name that `pushpull configs` lists, or a TOML file.")
    ],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As in optim.lr=3e-4.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in run.out.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a detector, by itself or against adversaries of its own making.

    Writes checkpoints and logs into run.out; a stopped run goes on with --resume.
    """
    from dataclasses import asdict

    from pushpull.training import read_config
    from pushpull.training import train as train_detector

    asked = read_config(config, changes or [])
    with progress_bar(asked.run.out) as report:
        result = train_detector(asked, resume=resume, progress=report)
    if as_json:
        record = asdict(result.progress) | {
            "best_weights": str(result.best),
            "seconds": result.seconds,
            "frames": result.frames,
        }
        say(as_json_text(record, kind="training"))
        return
    for remark in result.notes:
        note(remark)
    at = result.progress
    say(
        f"{at.epoch} epochs, {at.step} steps; best validation mAP {percent(at.best, 2)} in epoch "
        f"{at.best_epoch + 1}"
    )
    if result.frames:
        say(f"{result.frames} frames in {result.seconds:.0f} s")
    say(str(result.best))


def configs(
    name: Annotated[str | None, typer.Argument(help="Which; all are listed by default.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to copy it to, to be changed.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the training configurations in the package, print one, or copy it to a file."""
    from pushpull.errors import OutputError, UnknownName
    from pushpull.runtime.files import written_whole
    from pushpull.training.config import CONFIGS, title_of

    if name is None:
        rows = {known: title_of(known) for known in CONFIGS}
        if as_json:
            say(as_json_text({"configs": rows}, kind="configs"))
            return
        for known, title in rows.items():
            say(f"{known:14} {title}")
        return
    if name not in CONFIGS:
        raise UnknownName("configuration", name, CONFIGS)
    text = CONFIGS[name].read_text(encoding="utf-8")
    if out is None:
        say(as_json_text({"configs": {name: text}}, kind="configs") if as_json else text.rstrip())
        return
    if out.exists():
        raise OutputError(f"{out}: is there already, perhaps changed; give another --out")
    with written_whole(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    say(as_json_text({"configs": {name: out}}, kind="configs") if as_json else str(out))


def evaluate(
    detector: DetectorArgument,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")],
    split: SplitOption = "test",
    attack: Annotated[
        str | None,
        typer.Option(
            "--attack", "-a", help="Also under this attack: fgsm, bim, mim, pgd, apgd, ..."
        ),
    ] = None,
    eps: EpsOption = "5",
    steps: StepsOption = None,
    modality: ModalityOption = ModalityChoice.both,
    norm: NormOption = NormChoice.linf,
    objective: ObjectiveOption = "all",
    limit: LimitOption = 0,
    batch_frames: Annotated[int, typer.Option(help="Frames run at once.")] = 2500,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.")] = Path(
        "pushpull-evaluate"
    ),
    device: DeviceOption = DeviceChoice.auto,
    as_json: JsonFlag = False,
) -> None:
    """Score a detector on a data set, as it is and under attack, by case.

    Writes results.json, and truth.csv with clean.csv and adversarial.csv for `pushpull score`.
    """
    from pushpull.evaluation import evaluate as evaluate_detector

    asked = None
    if attack is not None:
        asked = attack_settings(
            attack,
            eps,
            steps,
            modality=modality.value,
            norm=norm.value,
            objective=objective,
            seed=seed,
        )
    with progress_bar(data.name) as report:
        evaluate_detector(
            detector,
            data,
            out=out,
            split=split,
            attack=asked,
            limit=limit,
            batch_frames=batch_frames,
            device=device.value,
            progress=report,
        )
    record = read_json(out / "results.json", kind="evaluation")
    if as_json:
        say(as_json_text(record, kind="evaluation"))
        return
    for line in evaluation_lines(record):
        say(line)
    say(str(out / "results.json"))


def audit(
    detector: DetectorArgument,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")],
    split: SplitOption = "test",
    fast: Annotated[bool, typer.Option("--fast", help="A coarse look, in minutes.")] = False,
    eps: EpsOption = "5",
    claim: Annotated[
        float | None, typer.Option(help="mAP claimed, in percent; what is measured by default.")
    ] = None,
    attack: AttackOption = "pgd",
    steps: Annotated[int, typer.Option(help="Of the claim's attack, where it has steps.")] = 5,
    limit: Annotated[
        int | None, typer.Option(help="Tracks; 0 for all. 12 with --fast, else all by default.")
    ] = None,
    surrogate: Annotated[
        list[str] | None, typer.Option(help="Detector to transfer from; may be repeated.")
    ] = None,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.")] = Path(
        "pushpull-audit"
    ),
    device: DeviceOption = DeviceChoice.auto,
    as_json: JsonFlag = False,
) -> None:
    """Find out whether a detector's robustness is real: robust, masked or broken, and why.

    Writes audit.json, audit.csv, audit.md and pictures. A stopped audit goes on where it was.
    """
    from dataclasses import replace

    from pushpull.auditing import FAST, FULL, Claim, audit_lines
    from pushpull.auditing import audit as audit_detector

    config = replace(FAST if fast else FULL, seed=seed)
    if limit is not None:
        config = replace(config, tracks=limit)
    settings = {} if attack == "fgsm" else {"steps": steps}
    share = None if claim is None else claim / 100
    claimed = Claim(attack=attack, settings=settings, average_precision=share)
    budget = budget_of(eps)
    with progress_bar(data.name) as report:
        found = audit_detector(
            detector,
            data,
            out=out,
            split=split,
            eps=budget,
            claim=claimed,
            config=config,
            surrogates=surrogate or (),
            device=device.value,
            progress=report,
        )
    if as_json:
        say(as_json_text(read_json(out / "audit.json", kind="audit"), kind="audit"))
        return
    for line in audit_lines(found.as_dict()):
        say(line)
    say(str(out / "audit.md"))


def reproduce(
    what: Annotated[str, typer.Argument(help="table1, figure3, figure4 or all.")] = "all",
    preset: Annotated[str, typer.Option(help="How much: demo, quick, standard or paper.")] = "demo",
    data: Annotated[
        Path | None, typer.Option(help="A data set; the preset's synthetic one by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of stages and results.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Trainings of rows A, B3, D3 and E3; the preset's.")
    ] = None,
    rows: Annotated[str, typer.Option(help="Rows of Table 1, such as A,B3,D3; the preset's.")] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="Tracks of table, figures and audits; 0: the preset's.")
    ] = 0,
    workers: Annotated[
        int, typer.Option(help="Stages at a time; 1 for one at a time, as on a GPU.")
    ] = 2,
    device: Annotated[DeviceChoice, typer.Option(help="Where models run.")] = DeviceChoice.auto,
    as_json: JsonFlag = False,
) -> None:
    """Reproduce Push-Pull's Table 1 and Figures 3 and 4, and say what of them holds.

    The same command again goes on where it was stopped.
    """
    from pushpull.report.page import opening
    from pushpull.reproduce import preset_of
    from pushpull.reproduce import reproduce as run

    changes: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    if rows:
        changes["rows"] = tuple(name.strip() for name in rows.split(","))
    if limit:
        changes |= dict.fromkeys(("tracks", "figure_tracks", "audit_tracks"), limit)
    chosen = preset_of(preset, changes)
    folder = Path(f"reproduce-{preset}") if out is None else out
    with progress_bar(preset) as report:
        results = run(
            chosen,
            folder,
            name=preset,
            what=what,
            data=data,
            workers=workers,
            device=device.value,
            progress=lambda s: report("; ".join(s.running), s.done, s.total),
        )
    if as_json:
        say(as_json_text(results, kind="reproduction"))
        return
    for line in opening(results):
        say(line)
    for name in ("report.html", "results.json"):
        say(f"  {folder / name}")


def score(
    ground_truth: Annotated[Path, typer.Argument(metavar="GROUND_TRUTH.csv")],
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS.csv")],
    allow_missing: Annotated[
        bool,
        typer.Option(help="Drop rows that only one file has, as the official tool does silently."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Average precision of AVA-ActiveSpeaker, in percent, and the range that ties allow."""
    from dataclasses import asdict

    from pushpull.metrics.scoring import score_files

    result = score_files(ground_truth, predictions, allow_missing=allow_missing)
    if as_json:
        say(as_json_text(asdict(result), kind="score"))
        return
    ap = percent(result.average_precision, 4)
    say(f"mAP {ap}   {result.rows} rows, {result.positives} speaking")
    if result.high > result.low:
        say(f"ties alone allow {percent(result.low, 4)} to {percent(result.high, 4)}")
    missing = result.missing_predictions + result.missing_ground_truth
    if missing:
        note(f"{missing} rows stand in one file only and were left out")


def weights(as_json: JsonFlag = False) -> None:
    """List the public weights that are known by name, and which are on this machine."""
    from pushpull.models.weights import list_weights

    rows = list_weights()
    if as_json:
        say(as_json_text({"weights": rows}, kind="weights"))
        return
    for row in rows:
        say(f"{row['name']:20} {row['model']:10} {row['licence']:8} {row['where']}")


def export(
    detector: DetectorArgument,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="onnx, torchscript or safetensors.")
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File; named after the detector by default.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a detector, front end included, for other programs, and check what was written.

    The file takes a clip of any length and frame rate; docs/guide/export.md says what goes in.
    """
    from dataclasses import asdict

    from pushpull.models.export import export_detector

    result = export_detector(detector, format_, out)
    if as_json:
        say(as_json_text(asdict(result), kind="export"))
        return
    lengths = ", ".join(map(str, sorted(result.differences)))
    worst = max(result.differences.values())
    say(
        f"{result.path}: {result.detector} as {result.format}, {result.n_bytes / 1e6:.1f} MB; "
        f"scores differ by at most {worst:.1g} on clips of {lengths} frames"
    )


def evaluation_lines(record: dict[str, Any]) -> Iterator[str]:
    """What `evaluate` says about a record."""
    for kind in ("clean", "adversarial"):
        if kind not in record:
            continue
        row = record[kind]
        line = f"{kind:12} accuracy {percent(row['accuracy'], 2)}"
        if row["average_precision"] is not None:
            low, high = (percent(end, 2) for end in row["interval"])
            line += f", mAP {percent(row['average_precision'], 2)}"
            line += f" ({low} to {high} over tracks drawn again)"
        yield f"{line}, {row['tracks']} tracks, {row['frames']} frames"
        for case, part in row["by_case"].items():
            said = f"  {case:10} accuracy {percent(part['accuracy'])}"
            if part["average_precision"] is not None:
                said += f", mAP {percent(part['average_precision'])}"
            yield f"{said}, {part['tracks']} tracks"

"""Commands on detectors: train, evaluate, audit, certify, score and what they need."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pushpull.cli.console import Console, columns
from pushpull.cli.options import (
    AnyAttackOption,
    AnyDeviceOption,
    AnyOutOption,
    AnySeedOption,
    AttackOption,
    BatchFramesOption,
    BypassOption,
    DataArgument,
    DetectorArgument,
    DeviceChoice,
    DeviceOption,
    EngineChoice,
    EngineOption,
    EpsOption,
    JsonFlag,
    LimitOption,
    MatchChoice,
    ModalityChoice,
    ModalityOption,
    NormChoice,
    NormOption,
    ObjectiveOption,
    OutOption,
    OverwriteFlag,
    QuietFlag,
    RayAddressOption,
    SeedOption,
    SplitOption,
    StepsOption,
    SurrogatesOption,
    TargetChoice,
    TargetOption,
    WorkersOption,
    attack_settings,
    budget_of,
)
from pushpull.report.tables import percent
from pushpull.runtime.records import read_json

if TYPE_CHECKING:
    from pushpull.attacks import AttackSettings
    from pushpull.attacks.universal import UniversalPattern

__all__ = [
    "audit",
    "certify",
    "configs",
    "evaluate",
    "export",
    "reproduce",
    "score",
    "train",
    "universal",
    "weights",
]


def train(
    config: Annotated[
        str, typer.Argument(help="A name that `pushpull configs` lists, or a TOML file.")
    ],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As in optim.lr=3e-4.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    out: AnyOutOption = None,
    seed: AnySeedOption = None,
    device: AnyDeviceOption = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train a detector, by itself or against its own adversaries.

    Writes checkpoints and logs into run.out; a stopped run goes on with --resume. --out, --seed and
    --device stand for run.out, run.seed and run.device.
    """
    from dataclasses import asdict

    from pushpull.training import read_config
    from pushpull.training import train as train_detector

    console = Console(as_json=as_json, quiet=quiet)
    run = {"out": None if out is None else str(out), "seed": seed, "device": device}
    # As it is: an escape of what is no UTF-8 would be no TOML.
    given = [
        f"run.{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in run.items()
        if value is not None
    ]
    asked = read_config(config, [*(changes or []), *given])
    with console.progress(asked.run.out) as report:
        result = train_detector(asked, resume=resume, overwrite=overwrite, progress=report)
    for remark in result.notes:
        console.note(remark)
    at = result.progress
    record = asdict(at) | {
        "best_weights": result.best,
        "seconds": result.seconds,
        "frames": result.frames,
        "notes": result.notes,
    }
    lines = [
        f"{at.epoch} epochs, {at.step} steps; best validation mAP {percent(at.best, 2)} in epoch "
        f"{at.best_epoch + 1}"
    ]
    if result.frames:
        lines.append(f"{result.frames} frames in {result.seconds:.0f} s")
    console.result(record, kind="training", lines=[*lines, str(result.best)])


def configs(
    name: Annotated[str | None, typer.Argument(help="Which; all are listed by default.")] = None,
    out: AnyOutOption = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """List, print or copy the training configurations.

    Without --out the configuration is printed; with it, it is written to that file.
    """
    from pushpull.errors import OutputExists, UnknownName
    from pushpull.runtime.files import written_whole
    from pushpull.training.config import CONFIGS, title_of

    console = Console(as_json=as_json, quiet=quiet)
    if name is None:
        if out is not None:
            raise typer.BadParameter("say which is to be copied", param_hint="NAME")
        titles = {known: title_of(known) for known in CONFIGS}
        lines = [f"{known:14} {title}" for known, title in titles.items()]
        console.result({"configs": titles}, kind="configs", lines=lines)
        return
    if name not in CONFIGS:
        raise UnknownName("configuration", name, CONFIGS)
    text = CONFIGS[name].read_text(encoding="utf-8")
    if out is None:
        console.result({"configs": {name: text}}, kind="configs", lines=text.rstrip().splitlines())
        return
    if os.path.lexists(out):
        raise OutputExists(f"{out}: is there already, perhaps changed; give another --out")
    with written_whole(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    console.result({"configs": {name: out}}, kind="configs", lines=[str(out)])


def evaluate(
    detector: DetectorArgument,
    data: DataArgument,
    split: SplitOption = "test",
    attack: AnyAttackOption = None,
    eps: EpsOption = "5",
    steps: StepsOption = None,
    modality: ModalityOption = ModalityChoice.both,
    norm: NormOption = NormChoice.linf,
    objective: ObjectiveOption = "all",
    air: Annotated[
        bool,
        typer.Option(
            "--air", help="Play the sound that is found in simulated rooms; with --modality audio."
        ),
    ] = False,
    pattern: Annotated[
        Path | None,
        typer.Option(help="In place of --attack: what `pushpull universal` found, for all clips."),
    ] = None,
    surrogate: SurrogatesOption = None,
    bypass: BypassOption = None,
    limit: LimitOption = None,
    batch_frames: BatchFramesOption = 2500,
    seed: SeedOption = 0,
    out: OutOption = Path("pushpull-evaluate"),
    device: DeviceOption = DeviceChoice.auto,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Score a detector on a data set, clean and under attack.

    Each case is scored by itself too. Writes results.json, and truth.csv with clean.csv and
    adversarial.csv for `pushpull score`. --surrogate is for the suite; one that was stopped
    goes on.
    """
    from pushpull.attacks.air import OverTheAir
    from pushpull.attacks.universal import UniversalPattern
    from pushpull.evaluation import evaluate as evaluate_detector
    from pushpull.models.weights import resolve_detector

    console = Console(as_json=as_json, quiet=quiet)
    if pattern is not None and attack is not None:
        raise typer.BadParameter("takes the place of --attack; give one", param_hint="--pattern")
    asked: AttackSettings | UniversalPattern | None = None
    if pattern is not None:
        asked = UniversalPattern.load(pattern)
    if attack is not None:
        asked = attack_settings(
            attack,
            eps,
            steps,
            modality=modality.value,
            norm=norm.value,
            objective=objective,
            seed=seed,
            bypass=tuple(bypass or ()),
            surrogates={
                name: resolve_detector(name, device=device.value) for name in surrogate or ()
            },
        )
    with console.progress(data.name) as report:
        evaluate_detector(
            detector,
            data,
            out=out,
            overwrite=overwrite,
            split=split,
            attack=asked,
            air=OverTheAir(listeners=4, seed=seed) if air else None,
            limit=limit or 0,
            batch_frames=batch_frames,
            device=device.value,
            progress=report,
        )
    record = read_json(out / "results.json", kind="evaluation")
    lines = [*evaluation_lines(record), str(out / "results.json")]
    console.result(record, kind="evaluation", lines=lines)


def universal(
    detector: DetectorArgument,
    data: DataArgument,
    split: SplitOption = "train",
    eps: EpsOption = "5",
    steps: StepsOption = None,
    modality: ModalityOption = ModalityChoice.both,
    objective: ObjectiveOption = "all",
    target: TargetOption = TargetChoice.none,
    period: Annotated[float, typer.Option(help="Seconds of the sound's loop.")] = 1.0,
    faces: Annotated[int, typer.Option(help="Pictures of the faces' loop.")] = 1,
    limit: LimitOption = None,
    batch_frames: BatchFramesOption = 250,
    seed: SeedOption = 0,
    out: OutOption = Path("pushpull-universal"),
    device: DeviceOption = DeviceChoice.auto,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Find one sound and one face pattern for all clips.

    Writes pattern.safetensors, control.safetensors (noise of the same budget) and pattern.wav, for
    `pushpull evaluate --pattern` on other people's clips, and results.json.
    """
    from pushpull.attacks.universal import UniversalPattern
    from pushpull.attacks.universal import universal as find_pattern
    from pushpull.data import index_of, open_tracks
    from pushpull.data.loading import in_batches
    from pushpull.media import write_wav
    from pushpull.models.weights import resolve_detector
    from pushpull.runtime.outputs import Origin, Outputs
    from pushpull.runtime.records import write_json

    console = Console(as_json=as_json, quiet=quiet)
    model = resolve_detector(detector, device=device.value)
    how: dict[str, Any] = {
        "eps": budget_of(eps),
        "steps": 200 if steps is None else steps,
        "modality": modality.value,
        "objective": objective,
        "targeted": True if target is TargetChoice.none else target.value,
        "period_s": period,
        "n_faces": faces,
        "seed": seed,
    }
    tracks = open_tracks(data, split)
    settings = how | {"limit": limit, "batch_frames": batch_frames, "split": split}
    origin = Origin(
        command="universal",
        inputs=(index_of(data, split),),
        settings={"detector": model.card.as_dict(), **settings},
    )
    outputs = Outputs(folder=out, origin=origin, overwrite=overwrite)
    names = ["pattern.safetensors", "control.safetensors", "pattern.wav", "results.json"]
    # What may not be replaced is said before minutes of work.
    outputs.check(names)
    curve: list[float] = []
    with console.progress(data.name) as report:

        def watch(step: int, loss: float) -> None:
            curve.append(loss)
            report("steps", step, how["steps"])

        batches = in_batches(tracks, batch_frames, limit=limit or 0)
        found = find_pattern(model, batches, **how, watch=watch)
    control = UniversalPattern.random(found.threat, period_s=period, n_faces=faces, seed=seed)
    record = {"settings": settings, "pattern": found.as_dict(), "curve": curve}
    with outputs.writing(names) as paths:
        found.save(paths["pattern.safetensors"])
        control.save(paths["control.safetensors"])
        write_wav(paths["pattern.wav"], found.waveform.numpy())
        write_json(paths["results.json"], record, kind="universal")
    # Batches differ, so that one loss says little: a tenth of them at each end.
    few = max(1, len(curve) // 10)
    first, last = (sum(part) / few for part in (curve[:few], curve[-few:]))
    lines = [
        f"{len(batches)} batches, {len(curve)} steps: objective per frame {first:.2f} at first, "
        f"{last:.2f} at last",
        *(str(out / name) for name in names),
    ]
    console.result(record, kind="universal", lines=lines)


def audit(
    detector: DetectorArgument,
    data: DataArgument,
    split: SplitOption = "test",
    fast: Annotated[bool, typer.Option("--fast", help="A coarse look, in minutes.")] = False,
    eps: EpsOption = "5",
    claim: Annotated[
        str | None,
        typer.Option(
            help="mAP claimed, in percent, or FILE.toml; what the attack leaves by default."
        ),
    ] = None,
    attack: AttackOption = "pgd",
    steps: StepsOption = None,
    limit: LimitOption = None,
    surrogate: SurrogatesOption = None,
    bypass: BypassOption = None,
    seed: SeedOption = 0,
    out: OutOption = Path("pushpull-audit"),
    device: DeviceOption = DeviceChoice.auto,
    workers: WorkersOption = 1,
    engine: EngineOption = EngineChoice.local,
    ray_address: RayAddressOption = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Find out whether a claim of robustness is true, and why.

    The verdict is masked, broken, overstated, holds or inconclusive. Writes audit.html
    to read, audit.json, audit.csv, audit.md and pictures. A stopped audit goes on where it was.
    --attack and --steps are those of the claim. By default 40 tracks are used, 12 with --fast.
    --surrogate may be given several times; two are chosen where none is.
    """
    from dataclasses import replace

    from pushpull.auditing import FAST, FULL, audit_lines, claim_of
    from pushpull.auditing import audit as audit_detector

    console = Console(as_json=as_json, quiet=quiet)
    config = replace(FAST if fast else FULL, seed=seed)
    if limit is not None:
        config = replace(config, tracks=limit)
    settings = {} if steps is None else {"steps": steps}
    claimed = claim_of(claim, attack=attack, settings=settings, bypass=tuple(bypass or ()))
    budget = budget_of(eps)
    with console.progress(data.name) as report:
        found = audit_detector(
            detector,
            data,
            out=out,
            overwrite=overwrite,
            split=split,
            eps=budget,
            claim=claimed,
            config=config,
            surrogates=surrogate,
            device=device.value,
            workers=workers,
            engine=engine.value,
            address=ray_address,
            progress=report,
        )
    lines = [*audit_lines(found.as_dict()), str(out / "audit.html")]
    console.result(read_json(out / "audit.json", kind="audit"), kind="audit", lines=lines)


def certify(
    detector: DetectorArgument,
    data: DataArgument,
    sigma_audio: Annotated[
        float, typer.Option(min=0, help="Noise in the sound, samples of -1..1; 0 for none.")
    ] = 0.001,
    sigma_visual: Annotated[
        float, typer.Option(min=0, help="Noise in the faces, grey levels; 0 for none.")
    ] = 8.0,
    n: Annotated[
        int, typer.Option("--n", min=1, max=10**9, help="Noisy copies that bound the probability.")
    ] = 1000,
    n0: Annotated[int, typer.Option(min=1, max=10**9, help="Further ones, that choose it.")] = 100,
    alpha: Annotated[
        float, typer.Option(help="Probability that a track has a frame certified wrongly.")
    ] = 0.001,
    split: SplitOption = "test",
    limit: LimitOption = None,
    frames: Annotated[
        int, typer.Option(min=0, help="Cut tracks to windows of so many; 0 for whole tracks.")
    ] = 0,
    batch_frames: BatchFramesOption = 1000,
    seed: SeedOption = 0,
    out: OutOption = Path("pushpull-certify"),
    device: DeviceOption = DeviceChoice.auto,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Prove how far sound and faces may change and decisions stay.

    Decisions are those of the smoothed detector; frames without proof abstain. Writes
    certificate.csv, a row for each frame, and certificate.json. A stopped run goes on where it was.
    The tracks are those of `pushpull audit`.
    """
    from pushpull.auditing import certify_tracks

    console = Console(as_json=as_json, quiet=quiet)
    with console.progress(data.name) as report:
        certify_tracks(
            detector,
            data,
            sigma={"audio": sigma_audio, "visual": sigma_visual},
            n=n,
            n0=n0,
            alpha=alpha,
            seed=seed,
            split=split,
            limit=limit or 0,
            frames=frames,
            out=out,
            overwrite=overwrite,
            batch_frames=batch_frames,
            device=device.value,
            progress=report,
        )
    record = read_json(out / "certificate.json", kind="certificate")
    lines = [*certificate_lines(record), str(out / "certificate.csv")]
    console.result(record, kind="certificate", lines=lines)


def reproduce(
    what: Annotated[str, typer.Argument(help="table1, figure3, figure4, map or all.")] = "all",
    preset: Annotated[
        str, typer.Option(help="How much: demo, quick, standard, full-width or paper.")
    ] = "demo",
    data: Annotated[
        Path | None, typer.Option(help="A data set; the preset's synthetic one by default.")
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option(
            help="Stages done elsewhere, such as those of published results: not done again."
        ),
    ] = None,
    out: AnyOutOption = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Trainings of rows A, B3, D3, E3 and of the map's corners; the preset's.",
        ),
    ] = None,
    rows: Annotated[str, typer.Option(help="Rows of Table 1, such as A,B3,D3; the preset's.")] = "",
    avil: Annotated[
        str, typer.Option(help="Weights of L1 and L4 in the map, such as 0,0.05,1; the preset's.")
    ] = "",
    limit: LimitOption = None,
    workers: WorkersOption = 2,
    engine: EngineOption = EngineChoice.local,
    ray_address: RayAddressOption = None,
    device: DeviceOption = DeviceChoice.auto,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Reproduce Push-Pull's table and figures, and map its weights.

    Says what of them holds. --limit is for the table, the figures and the audits alike. The
    same command again goes on where it was stopped. On a GPU take --workers 1. Results go to
    reproduce-PRESET by default.
    """
    from pushpull.report.page import opening
    from pushpull.reproduce import preset_of
    from pushpull.reproduce import reproduce as run

    console = Console(as_json=as_json, quiet=quiet)
    changes: dict[str, Any] = {} if seeds is None else {"seeds": seeds, "map_seeds": seeds}
    if rows:
        changes["rows"] = tuple(name.strip() for name in rows.split(","))
    if avil:
        changes["map"] = _weights(avil)
    if limit is not None:
        changes |= dict.fromkeys(("tracks", "figure_tracks", "audit_tracks"), limit)
    chosen = preset_of(preset, changes)
    folder = Path(f"reproduce-{preset}") if out is None else out
    with console.progress(preset) as report:
        results = run(
            chosen,
            folder,
            overwrite=overwrite,
            name=preset,
            what=what,
            data=data,
            kept=kept,
            workers=workers,
            engine=engine.value,
            address=ray_address,
            device=device.value,
            progress=report,
        )
    files = (f"  {folder / name}" for name in ("report.html", "results.json"))
    console.result(results, kind="reproduction", lines=[*opening(results), *files])


def _weights(text: str) -> tuple[float, ...]:
    """Weights in rising order, each once."""
    try:
        found = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        found = ()
    if not found or not 0 <= found[0] <= found[-1] < float("inf"):
        raise typer.BadParameter(
            f"got '{text}'; expected numbers of at least 0, such as 0,0.05,1",
            param_hint="--avil",
        )
    return found


def score(
    ground_truth: Annotated[
        Path, typer.Argument(metavar="GROUND_TRUTH", help="Csv of labels, as AVA publishes them.")
    ],
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="Csv of scores, as AVA wants them.")
    ],
    match: Annotated[
        MatchChoice,
        typer.Option(
            help="How rows find each other: by time and entity, or by time and where the boxes are."
        ),
    ] = MatchChoice.rows,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Drop rows that only one file has, as the official tool does silently.",
        ),
    ] = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Average precision of AVA-ActiveSpeaker, and what ties allow.

    With --match boxes the ground truth may name faces as it likes and have boxes of its own.
    """
    from dataclasses import asdict

    from pushpull.metrics.scoring import score_files

    console = Console(as_json=as_json, quiet=quiet)
    if match is MatchChoice.boxes:
        if allow_missing:
            raise typer.BadParameter(
                "counts nothing with --match boxes: what is missed is part of that score",
                param_hint="--allow-missing",
            )
        score_by_boxes(ground_truth, predictions, console)
        return
    result = score_files(ground_truth, predictions, allow_missing=allow_missing)
    missing = result.missing_predictions + result.missing_ground_truth
    if missing:
        console.note(f"{missing} rows stand in one file only and were left out")
    ap = percent(result.average_precision, 4)
    lines = [f"mAP {ap}   {result.rows} rows, {result.positives} speaking"]
    if result.high > result.low:
        lines.append(f"ties alone allow {percent(result.low, 4)} to {percent(result.high, 4)}")
    console.result(asdict(result) | {"match": "rows"}, kind="score", lines=lines)


def score_by_boxes(ground_truth: Path, predictions: Path, console: Console) -> None:
    """The score where names and boxes are somebody else's."""
    from dataclasses import asdict

    from pushpull.metrics.box_scoring import score_boxes

    found = score_boxes(ground_truth, predictions)
    lines = [
        f"mAP {percent(found.average_precision, 4)}   {found.rows} rows matched, "
        f"{found.positives} speaking; missed {found.missed}, {found.missed_positives} of them "
        f"speaking; {found.false_alarms} false alarms"
    ]
    if found.matched_average_precision is not None:
        lines.append(f"of matched rows alone {percent(found.matched_average_precision, 4)}")
    if found.high > found.low:
        ends = (percent(end, 4) for end in (found.low, found.high))
        lines.append("ties alone allow {} to {}".format(*ends))
    if found.unlabelled:
        console.note(f"{found.unlabelled} predictions are at times without labels; left out")
    console.result(asdict(found) | {"match": "boxes"}, kind="score", lines=lines)


def weights(as_json: JsonFlag = False, quiet: QuietFlag = False) -> None:
    """List the weights that are known by name, and which are here."""
    from pushpull.models.weights import list_weights

    rows = list_weights()
    lines = columns([[row[name] for name in ("name", "model", "licence", "where")] for row in rows])
    Console(as_json=as_json, quiet=quiet).result({"weights": rows}, kind="weights", lines=lines)


def export(
    detector: DetectorArgument,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="onnx, torchscript or safetensors.")
    ] = "onnx",
    out: AnyOutOption = None,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Write a detector for other programs, and check the file.

    The front end is included. The file is named after the detector unless --out names it. It
    takes a clip of any length and frame rate; docs/guide/export.md says what goes in.
    """
    from dataclasses import asdict

    from pushpull.models.export import export_detector

    result = export_detector(detector, format_, out, overwrite=overwrite)
    lengths = ", ".join(map(str, sorted(result.differences)))
    worst = max(result.differences.values())
    line = (
        f"{result.path}: {result.detector} as {result.format}, {result.n_bytes / 1e6:.1f} MB; "
        f"scores differ by at most {worst:.1g} on clips of {lengths} frames"
    )
    Console(as_json=as_json, quiet=quiet).result(asdict(result), kind="export", lines=[line])


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
            line += f" ({low} to {high} over {row['interval_over']} drawn again)"
        yield f"{line}, {row['tracks']} tracks, {row['frames']} frames"
        for case, part in row["by_case"].items():
            said = f"  {case:10} accuracy {percent(part['accuracy'])}"
            if part["average_precision"] is not None:
                said += f", mAP {percent(part['average_precision'])}"
            yield f"{said}, {part['tracks']} tracks"
    for note in record["notes"]:
        yield f"note: {note}"


def certificate_lines(record: dict[str, Any]) -> Iterator[str]:
    """What `certify` says about a record."""
    plain, right = record["plain"], record["right"]
    low, high = (percent(end) for end in right["interval"])
    yield (
        f"right {percent(right['share'])} of {plain['frames']} frames in {plain['tracks']} tracks "
        f"({low} to {high} over {record['interval_over']} drawn again), abstains "
        f"{percent(1 - record['decided'])}; "
        f"without noise right {percent(plain['accuracy'])}"
    )
    units = {"audio": "of sound, L2", "visual": "grey levels, L2"}
    for modality, points in record["curves"].items():
        shares = [(f"{p['radius']:.3g}", percent(p["share"], 0)) for p in points[::2]]
        said = ", ".join(f"{share} at {radius}" for radius, share in shares)
        yield f"{modality:7} certified {said} ({units[modality]})"
    reach = record["eps_av"]
    yield (
        f"as a box, eps_av {reach['median']:.2g} (median frame), {reach['largest']:.2g} (best); "
        "Push-Pull attacks with 1 to 5"
    )

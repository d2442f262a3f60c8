"""The `pushpull` command: reads arguments, calls one public function, writes its result.

Results go to stdout, progress and notes to stderr. Exit code 0: done; 1: something that the
message explains; 2: wrong usage. Heavy modules are imported inside the commands, so that
`score` does not wait for torch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from pushpull.errors import PushPullError
from pushpull.memory import keep_freed_memory

__all__ = ["app", "main"]

app = typer.Typer(
    name="pushpull",
    help="Detect who is speaking in a video, and find out how robust the detector is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Look at and prepare data.", no_args_is_help=True)
app.add_typer(data_app, name="data")


class DetectorChoice(str, Enum):
    """Face detectors; auto is yunet where its model file can be had, else dlib."""

    auto = "auto"
    dlib = "dlib"
    yunet = "yunet"


class CropChoice(str, Enum):
    """Face crops; auto is the better one for the weights, as docs/real-clips.md measured."""

    auto = "auto"
    ava = "ava"
    demo = "demo"


class DeviceChoice(str, Enum):
    """Devices; auto is cuda where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class ModalityChoice(str, Enum):
    """What is attacked."""

    audio = "audio"
    visual = "visual"
    both = "both"


class NormChoice(str, Enum):
    """What a budget measures."""

    linf = "linf"
    l2 = "l2"


class TargetChoice(str, Enum):
    """What every frame is to be taken for; none: the opposite of its label."""

    none = "none"
    silent = "silent"
    speaking = "speaking"


class SpaceChoice(str, Enum):
    """What is moved: face crops, or pixels of the video."""

    crop = "crop"
    frame = "frame"


class SurviveChoice(str, Enum):
    """What the search goes through."""

    nothing = "nothing"
    codec = "codec"


VIDEO_SUFFIXES = {
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".m4v",
}  # fmt: skip

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Weights = Annotated[
    str, typer.Option("--weights", "-w", help="Known name (see `pushpull weights`) or a path.")
]


def main() -> None:
    """Run the command line; errors of ours become one line and exit code 1."""
    keep_freed_memory()
    try:
        app()
    except PushPullError as e:
        complain(e)
        sys.exit(1)
    except KeyboardInterrupt:
        complain("stopped; finished files are kept")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our stdout went away (`| head`): nothing is left to say.
        sys.stderr.close()
        sys.exit(1)


def complain(message: object) -> None:
    """One line on stderr."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)  # noqa: T201


def say(text: str) -> None:
    """A result line on stdout."""
    print(text)  # noqa: T201


def note(text: str) -> None:
    """A remark on stderr."""
    print(text, file=sys.stderr)  # noqa: T201


def print_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from pushpull import __version__

        say(__version__)
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Detect who is speaking in a video, and find out how robust the detector is."""


@app.command()
def detect(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Video files.")],
    weights: Weights = "light-asd-ava",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.")] = Path(
        "pushpull-out"
    ),
    detector: Annotated[DetectorChoice, typer.Option(help="Face detector.")] = DetectorChoice.auto,
    crop: Annotated[CropChoice, typer.Option(help="Part of the face shown.")] = CropChoice.auto,
    device: Annotated[DeviceChoice, typer.Option(help="Where the model runs.")] = DeviceChoice.auto,
    video: Annotated[bool, typer.Option(help="Write the annotated mp4.")] = True,
    allow_silent: Annotated[
        bool, typer.Option(help="Score a video whose sound is silent instead of refusing.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Find every face and say for each frame whether it is speaking.

    Writes NAME.mp4, NAME.csv, NAME.json and NAME.rttm for each video. A video that cannot be done
    is reported, the others are done all the same, and the exit code is 1.
    """
    from pushpull.detection import detect as detect_video
    from pushpull.detection import output_names, summary, write_outputs
    from pushpull.files import output_dir
    from pushpull.weights import load_weights

    names = output_names(videos, out)
    loaded = load_weights(weights, device=device.value)
    output_dir(out)
    records: list[dict[str, Any]] = []
    failed = 0
    for path, name in zip(videos, names, strict=True):
        try:
            with progress_bar(path.name) as report:
                result = detect_video(
                    path,
                    loaded,
                    name=name,
                    detector=detector.value,
                    crop=crop.value,
                    allow_silent=allow_silent,
                    progress=report,
                )
                start = time.perf_counter()
                outputs = write_outputs(result, out, video=video, progress=report)
                outputs_s = round(time.perf_counter() - start, 3)
        except PushPullError as e:
            failed += 1
            complain(e)
            records.append({"video": str(path), "error": str(e)})
            continue
        record = summary(result) | {"outputs": {k: str(p) for k, p in outputs.items()}}
        record["seconds"]["outputs"] = outputs_s
        records.append(record)
        if not as_json:
            for line in summary_lines(record):
                say(line)
    if as_json:
        say(json.dumps(records, indent=1))
    if failed:
        note(f"{failed} of {len(videos)} videos failed")
        raise typer.Exit(1)


@app.command()
def attack(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Video, or folder of videos.")],
    weights: Weights = "light-asd-ava",
    method: Annotated[
        str, typer.Option("--method", "-m", help="fgsm, bim, mim, pgd, apgd, square or noise.")
    ] = "pgd",
    eps: Annotated[
        str,
        typer.Option(
            help="Push-Pull's eps_av (audio: 1e-4 of it, faces: 0.1 grey levels of it), or "
            "audio=5e-4,visual=0.5."
        ),
    ] = "5",
    steps: Annotated[
        int | None, typer.Option(help="Steps, or queries of square; the method's own by default.")
    ] = None,
    modality: Annotated[ModalityChoice, typer.Option(help="What moves.")] = ModalityChoice.both,
    norm: Annotated[NormChoice, typer.Option(help="Norm of the budget.")] = NormChoice.linf,
    objective: Annotated[
        str, typer.Option(help="What is maximised: all, av, margin or feature.")
    ] = "all",
    target: Annotated[
        TargetChoice, typer.Option(help="Class that all frames are to be taken for.")
    ] = TargetChoice.none,
    surrogate: Annotated[
        str | None, typer.Option(help="Weights that the adversary is made on (transfer).")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="AVA csv of the truth; the detector's own decisions by default."),
    ] = None,
    space: Annotated[SpaceChoice, typer.Option(help="What is moved.")] = SpaceChoice.crop,
    quantise: Annotated[
        bool, typer.Option(help="Search among 8-bit pixels and int16 samples too.")
    ] = False,
    survive: Annotated[
        SurviveChoice, typer.Option(help="Search through H.264 and AAC too.")
    ] = SurviveChoice.nothing,
    crf: Annotated[int, typer.Option(help="Quality of H.264, 0 (best) to 51.")] = 23,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.")] = Path(
        "pushpull-attack"
    ),
    seed: Annotated[int, typer.Option(help="Of random starts and searches.")] = 0,
    detector: Annotated[DetectorChoice, typer.Option(help="Face detector.")] = DetectorChoice.auto,
    crop: Annotated[CropChoice, typer.Option(help="Part of the face shown.")] = CropChoice.auto,
    device: Annotated[DeviceChoice, typer.Option(help="Where the model runs.")] = DeviceChoice.auto,
    video: Annotated[bool, typer.Option(help="Write the side-by-side mp4.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Change a video imperceptibly so that the detector is wrong about who speaks.

    Writes OUT/NAME/ with results.json, the adversarial sound and faces, and the clean and the
    adversarial video side by side.
    """
    from pushpull.adversarial import attack_video, detected_again, write_attack, write_record
    from pushpull.detection import output_names
    from pushpull.files import output_dir
    from pushpull.weights import load_weights

    videos = videos_of(source)
    settings: dict[str, Any] = {
        "eps": budget_of(eps),
        "modality": modality.value,
        "norm": norm.value,
        "objective": objective,
        "targeted": False if target is TargetChoice.none else target.value,
        "seed": seed,
    }
    if steps is not None:
        settings["steps"] = steps
    names = output_names(videos, out)
    loaded = load_weights(weights, device=device.value)
    other = None if surrogate is None else load_weights(surrogate, device=device.value)
    output_dir(out)
    records: list[dict[str, Any]] = []
    failed = 0
    for path, name in zip(videos, names, strict=True):
        try:
            with progress_bar(path.name) as report:
                result = attack_video(
                    path,
                    loaded,
                    method=method,
                    surrogate=other,
                    labels=labels,
                    space=space.value,
                    quantise=quantise,
                    survive=survive is SurviveChoice.codec,
                    crf=crf,
                    name=name,
                    detector=detector.value,
                    crop=crop.value,
                    progress=report,
                    **settings,
                )
                outputs = write_attack(result, out, video=video, progress=report)
                extra: dict[str, Any] = {"outputs": {k: str(p) for k, p in outputs.items()}}
                if space is SpaceChoice.frame:
                    extra["detected_again"] = {
                        k: detected_again(outputs[k], result, loaded)
                        for k in ("adversarial.mkv", "adversarial.mp4")
                    }
                written = write_record(result, out, extra)
        except PushPullError as e:
            failed += 1
            complain(e)
            records.append({"video": str(path), "error": str(e)})
            continue
        record = json.loads(written.read_text())
        records.append(record)
        if not as_json:
            for line in attack_lines(record, written):
                say(line)
    if as_json:
        say(json.dumps(records, indent=1))
    if failed:
        note(f"{failed} of {len(videos)} videos failed")
        raise typer.Exit(1)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml")],
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
        say(json.dumps(record, indent=1))
        return
    at = result.progress
    say(
        f"{at.epoch} epochs, {at.step} steps; best validation mAP {at.best:.2f} % in epoch "
        f"{at.best_epoch + 1}"
    )
    if result.frames:
        say(f"{result.frames} frames in {result.seconds:.0f} s")
    say(str(result.best))


@app.command()
def evaluate(
    weights: Annotated[str, typer.Argument(help="Known name or a path.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    attack: Annotated[
        str | None, typer.Option(help="Also under this attack: fgsm, bim, mim, pgd, apgd, ...")
    ] = None,
    eps: Annotated[str, typer.Option(help="As for `pushpull attack`.")] = "5",
    steps: Annotated[int | None, typer.Option(help="Of the attack.")] = None,
    modality: Annotated[ModalityChoice, typer.Option(help="What moves.")] = ModalityChoice.both,
    norm: Annotated[NormChoice, typer.Option(help="Norm of the budget.")] = NormChoice.linf,
    objective: Annotated[
        str, typer.Option(help="What is maximised: all, av, margin or feature.")
    ] = "all",
    limit: Annotated[int, typer.Option(help="Tracks, from the first; 0 for all.")] = 0,
    batch_frames: Annotated[int, typer.Option(help="Frames run at once.")] = 2500,
    seed: Annotated[int, typer.Option(help="Of random starts.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.")] = Path(
        "pushpull-evaluate"
    ),
    device: Annotated[DeviceChoice, typer.Option(help="Where the model runs.")] = DeviceChoice.auto,
    as_json: JsonFlag = False,
) -> None:
    """Score a detector on a data set, as it is and under attack, by case.

    Writes results.json, and truth.csv with clean.csv and adversarial.csv for `pushpull score`.
    """
    from pushpull.evaluation import evaluate as evaluate_weights
    from pushpull.weights import load_weights

    settings: dict[str, Any] = {
        "eps": budget_of(eps),
        "modality": modality.value,
        "norm": norm.value,
        "objective": objective,
    }
    if steps is not None:
        settings["steps"] = steps
    loaded = load_weights(weights, device=device.value)
    with progress_bar(data.name) as report:
        record = evaluate_weights(
            loaded,
            data,
            out,
            split=split,
            method=attack,
            settings=settings,
            limit=limit,
            batch_frames=batch_frames,
            seed=seed,
            progress=report,
        )
    if as_json:
        say(json.dumps(record, indent=1))
        return
    for line in evaluation_lines(record):
        say(line)
    say(str(out / "results.json"))


@app.command()
def audit(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="Known name or a path.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    fast: Annotated[bool, typer.Option("--fast", help="A coarse look, in minutes.")] = False,
    eps: Annotated[str, typer.Option(help="As for `pushpull attack`.")] = "5",
    claim: Annotated[
        float | None, typer.Option(help="mAP claimed, in percent; what is measured by default.")
    ] = None,
    method: Annotated[str, typer.Option(help="Attack of the claim.")] = "pgd",
    steps: Annotated[int, typer.Option(help="Of the claim's attack, where it has steps.")] = 5,
    limit: Annotated[
        int | None, typer.Option(help="Tracks; 0 for all. 24 with --fast, else all by default.")
    ] = None,
    surrogate: Annotated[
        list[str] | None, typer.Option(help="Weights to transfer from; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of tracks, starts and directions.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.")] = Path(
        "pushpull-audit"
    ),
    device: Annotated[DeviceChoice, typer.Option(help="Where the model runs.")] = DeviceChoice.auto,
    as_json: JsonFlag = False,
) -> None:
    """Find out whether a detector's robustness is real: robust, masked or broken, and why.

    Writes audit.json, audit.csv, audit.md and pictures. A stopped audit goes on where it was.
    """
    from dataclasses import replace

    from pushpull.audit import FAST, FULL, Claim, audit_lines
    from pushpull.audit import audit as audit_weights
    from pushpull.weights import load_weights

    config = replace(FAST if fast else FULL, seed=seed)
    if limit is not None:
        config = replace(config, tracks=limit)
    settings = {} if method == "fgsm" else {"steps": steps}
    claimed = Claim(method=method, settings=settings, map=claim)
    budget = budget_of(eps)
    loaded = load_weights(weights, device=device.value)
    others = [load_weights(name, device=device.value) for name in surrogate or []]
    with progress_bar(data.name) as report:
        found = audit_weights(
            loaded,
            data,
            out,
            split=split,
            eps=budget,
            claim=claimed,
            config=config,
            surrogates=others,
            progress=report,
        )
    if as_json:
        say((out / "audit.json").read_text())
        return
    for line in audit_lines(found.as_dict()):
        say(line)
    say(str(out / "audit.md"))


@app.command()
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

    from pushpull.scoring import score_files

    result = score_files(ground_truth, predictions, allow_missing=allow_missing)
    if as_json:
        say(json.dumps(asdict(result)))
        return
    say(f"mAP {result.map:.4f} %   {result.rows} rows, {result.positives} speaking")
    if result.map_high > result.map_low:
        say(f"ties alone allow {result.map_low:.4f} to {result.map_high:.4f} %")
    missing = result.missing_predictions + result.missing_ground_truth
    if missing:
        note(f"{missing} rows stand in one file only and were left out")


@app.command()
def weights(as_json: JsonFlag = False) -> None:
    """List the public weights that are known by name, and which are on this machine."""
    from pushpull.weights import list_weights

    rows = list_weights()
    if as_json:
        say(json.dumps(rows, indent=1))
        return
    for row in rows:
        say(f"{row['name']:20} {row['model']:10} {row['licence']:8} {row['where']}")


@app.command()
def export(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="Known name or a path.")],
    format_: Annotated[
        str, typer.Option("--format", "-f", help="onnx, torchscript or safetensors.")
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File; named after the weights by default.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a detector, front end included, for other programs, and check what was written.

    The file takes a clip of any length and frame rate; docs/export.md says what goes in.
    """
    from dataclasses import asdict

    from pushpull.export import export_weights

    result = export_weights(weights, format_, out)
    if as_json:
        say(json.dumps(asdict(result) | {"path": str(result.path)}))
        return
    lengths = ", ".join(map(str, sorted(result.differences)))
    worst = max(result.differences.values())
    say(
        f"{result.path}: {result.weights} as {result.format}, {result.n_bytes / 1e6:.1f} MB; "
        f"scores differ by at most {worst:.1g} on clips of {lengths} frames"
    )


@app.command()
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
    workers: Annotated[
        int, typer.Option(help="Stages at a time; 1 for one at a time, as on a GPU.")
    ] = 2,
    device: Annotated[DeviceChoice, typer.Option(help="Where models run.")] = DeviceChoice.auto,
    as_json: JsonFlag = False,
) -> None:
    """Reproduce Push-Pull's Table 1 and Figures 3 and 4, and say what of them holds.

    The same command again goes on where it was stopped.
    """
    from pushpull.report import opening
    from pushpull.reproduce import preset_of
    from pushpull.reproduce import reproduce as run

    changes: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    if rows:
        changes["rows"] = tuple(name.strip() for name in rows.split(","))
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
        say(json.dumps(results, indent=1))
        return
    for line in opening(results):
        say(line)
    for name in ("report.html", "results.json"):
        say(f"  {folder / name}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.")] = Path(
        "pushpull-demo"
    ),
    seed: Annotated[int, typer.Option(help="Of the people, voices and room.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Make a video of two talking people and detect who speaks in it."""
    from dataclasses import asdict

    from pushpull.demo import run_demo

    with progress_bar("demo") as report:
        result = run_demo(out, seed=seed, say=note, progress=report)
    if as_json:
        people = [asdict(person) for person in result.people]
        outputs = {name: str(path) for name, path in result.outputs.items()}
        record = {"weights": result.weights.name, "people": people, "outputs": outputs}
        say(json.dumps(record, indent=1))
        return
    for person in result.people:
        say(
            f"person {person.person + 1}: found in {person.frames} frames, speaks in "
            f"{100 * person.speaking:.0f} %, AP {person.ap:.1f} %, right in "
            f"{100 * person.accuracy:.0f} % of frames"
        )
    for path in result.outputs.values():
        say(str(path))


@app.command("app")
def web_app(
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.")] = 7860,
    weights: Weights = "light-asd-ava",
    runs: Annotated[
        Path, typer.Option(help="Folder whose reports and attacks can be looked at.")
    ] = Path(),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for ABX results.")] = Path(
        "pushpull-app"
    ),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
    memory_gib: Annotated[float, typer.Option(min=0.5, help="Memory of one job.")] = 4.0,
    upload_mib: Annotated[int, typer.Option(min=1, help="Largest upload.")] = 200,
    longest_s: Annotated[float, typer.Option(min=1, help="Longest video.")] = 60.0,
    detector: Annotated[DetectorChoice, typer.Option(help="Face detector.")] = DetectorChoice.auto,
) -> None:
    """Open the web app: detect, attack, ABX listening tests, reports."""
    from pushpull.app import AppConfig, serve

    config = AppConfig(
        host=host,
        port=port,
        weights=weights,
        runs=runs,
        results=out,
        workers=workers,
        memory_bytes=int(memory_gib * 2**30),
        upload_bytes=upload_mib * 2**20,
        longest_s=longest_s,
        detector=detector.value,
    )
    serve(config, say=say)


@data_app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.")],
    tracks: Annotated[int, typer.Option(help="Tracks of train, val and test together.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    min_frames: Annotated[int, typer.Option(help="Shortest track.")] = 25,
    max_frames: Annotated[int, typer.Option(help="Longest track.")] = 100,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.")] = 0,
) -> None:
    """Make a synthetic data set of talking faces; what is there already is kept."""
    import os

    from pushpull.dataset import SynthConfig, write_synth

    config = SynthConfig(tracks=tracks, seed=seed, min_frames=min_frames, max_frames=max_frames)
    with progress_bar(out.name) as report:
        write_synth(
            out,
            config,
            workers=workers or os.cpu_count() or 1,
            progress=lambda done, total: report("tracks", done, total),
        )
    say(f"{out}: " + ", ".join(f"{split} {count}" for split, count in config.counts.items()))


@data_app.command()
def talkset(
    clips: Annotated[Path, typer.Argument(metavar="CLIPS", help="Folder of talking heads.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.")],
    people: Annotated[
        Path | None,
        typer.Option(
            help="Csv with the columns file, person and, if wanted, speaks (yes, no); by default "
            "each subfolder is a person, or each video of a flat folder."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of splits, shifts and other sounds.")] = 0,
    held_out: Annotated[float, typer.Option(help="Share of people in val and in test.")] = 0.2,
    negatives: Annotated[int, typer.Option(help="Clips that do not speak, per clip.")] = 2,
    detector: Annotated[DetectorChoice, typer.Option(help="Face detector.")] = DetectorChoice.auto,
    crop: Annotated[CropChoice, typer.Option(help="Part of the face.")] = CropChoice.ava,
) -> None:
    """Make a data set of talking-head clips: with their own sound, none, another's, or shifted.

    A clip that cannot be used is reported, the others are done, and the exit code is 1.
    """
    from pushpull.talkset import TalksetConfig, read_sources, sources_in, write_talkset

    if not clips.is_dir():
        raise typer.BadParameter(f"{clips} is no folder", param_hint="CLIPS")
    config = TalksetConfig(
        seed=seed,
        held_out=held_out,
        negatives=negatives,
        detector=detector.value,
        crop="ava" if crop is CropChoice.auto else crop.value,
    )
    sources = sources_in(clips, VIDEO_SUFFIXES) if people is None else read_sources(people, clips)
    failures: list[str] = []
    with progress_bar(out.name) as report:
        counts = write_talkset(
            sources,
            out,
            config,
            progress=report,
            failed=lambda source, why: failures.append(why),
        )
    say(f"{out}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    for why in failures:
        complain(why)
    if failures:
        note(f"{len(failures)} of {len(sources)} clips could not be used")
        raise typer.Exit(1)


@data_app.command()
def ava(
    source: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder with AVA's annotations and videos.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set.")],
    workers: Annotated[int, typer.Option(help="Processes, a video each.")] = 2,
) -> None:
    """Make a data set of AVA-ActiveSpeaker; exit code 1 if tracks are missing."""
    from pushpull.ava import find_sources, prepare

    with progress_bar(out.name) as report:
        found = prepare(find_sources(source), out, workers=workers, progress=report)
    for split, count in found.tracks.items():
        done, total = found.videos[split]
        say(f"{out}: {split} {count} tracks of {done} of {total} videos")
    for problem in found.problems:
        (complain if problem.lost else note)(f"{problem.where}: {problem.what}")
    if not found.whole:
        note(f"what is missing stands in {out / 'ava.json'}; run again when it is there")
        raise typer.Exit(1)


@data_app.command(name="ava-download")
def ava_download(
    names: Annotated[
        Path, typer.Argument(metavar="LIST", help="File names, one a line, as AVA publishes them.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go.")],
    url: Annotated[str | None, typer.Option(help="Where they are; AVA's by default.")] = None,
) -> None:
    """Fetch the files of a list, with resume and checksums; exit code 1 if one is missing."""
    from pushpull.ava.download import AVA_URL, download_list, read_list

    with progress_bar(folder.name) as report:
        found = download_list(read_list(names), folder, url=url or AVA_URL, progress=report)
    missing = [f for f in found if not f.done]
    for failed in missing:
        complain(f"{failed.name}: {failed.what}")
    say(f"{folder}: {len(found) - len(missing)} of {len(found)} files")
    if missing:
        raise typer.Exit(1)


@data_app.command(name="ava-lookalike")
def ava_lookalike(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for videos and csv files.")],
    videos: Annotated[int, typer.Option(help="How many.")] = 4,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    duration: Annotated[float, typer.Option(help="Seconds of each.")] = 8.0,
) -> None:
    """Write synthetic videos with csv files as AVA's users have them, to try `data ava` on."""
    from pushpull.ava import write_lookalike

    with progress_bar(out.name) as report:
        made = write_lookalike(
            out,
            videos=videos,
            seed=seed,
            duration_s=duration,
            progress=lambda done, total: report("videos", done, total),
        )
    say(f"{out}: {len(made)} videos, {sum(len(v.entities) for v in made)} entities")


@data_app.command()
def stats(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="Data set, or AVA csv file, folder of them, or tar archive."
        ),
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw balance, lengths and rates of a data set.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Summarise a data set, or check and summarise AVA-ActiveSpeaker annotation files."""
    from dataclasses import asdict

    from pushpull.annotations import summarise
    from pushpull.dataset import is_dataset

    if is_dataset(source):
        dataset_stats(source, plot, as_json)
        return
    result = asdict(summarise(source))
    if as_json:
        say(json.dumps(result))
        return
    for name, value in result.items():
        if name == "problems":
            for problem in value:
                say(f"problem: {problem['count']} {problem['what']}, first {problem['example']}")
        elif isinstance(value, dict):
            say(f"{name}: " + ", ".join(f"{k} {v}" for k, v in value.items()))
        elif isinstance(value, (tuple, list)):
            low, *quartiles, high = value
            say(f"{name}: min {low}, quartiles {' '.join(map(str, quartiles))}, max {high}")
        else:
            say(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")


@data_app.command()
def verify(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a data set.")],
    as_json: JsonFlag = False,
) -> None:
    """Read every track of a data set and name what is broken; exit code 1 if anything is."""
    from pushpull.dataset import faults, open_tracks, splits_of

    found: list[dict[str, str]] = []
    count = 0
    with progress_bar(source.name) as report:
        for split in splits_of(source):
            tracks = open_tracks(source, split)
            count += len(tracks)
            watch = partial(report, split)
            for fault in faults(tracks, progress=watch):
                found.append({"split": split, "track": fault.track_id, "what": fault.what})
    if as_json:
        say(json.dumps({"tracks": count, "faults": found}, indent=1))
    else:
        for fault_row in found:
            say(f"{fault_row['split']} {fault_row['track']}: {fault_row['what']}")
        say(f"{count} tracks read, {len(found)} faults")
    if found:
        raise typer.Exit(1)


def dataset_stats(source: Path, plot: Path | None, as_json: bool) -> None:
    """Print the numbers of each split, and draw them."""
    from dataclasses import asdict

    from pushpull.dataset import describe, draw_stats, open_tracks, splits_of

    splits = {split: open_tracks(source, split) for split in splits_of(source)}
    with progress_bar(source.name) as report:
        stats = {
            split: describe(tracks, progress=partial(report, split))
            for split, tracks in splits.items()
        }
    if plot is not None:
        draw_stats(stats, splits, plot)
    if as_json:
        say(json.dumps({split: asdict(row) for split, row in stats.items()}, indent=1))
        return
    for split, row in stats.items():
        say(
            f"{split}: {row.tracks} tracks, {row.frames} frames, {row.duration_s / 60:.1f} min, "
            f"{100 * row.speaking:.1f} % speaking; lengths {' '.join(map(str, row.lengths))} "
            "(shortest, quartiles, longest)"
        )
        for name, counts in (("fps", row.fps), ("cases", row.cases)):
            if counts:
                say(f"  {name}: " + ", ".join(f"{k} {v}" for k, v in counts.items()))


def evaluation_lines(record: dict[str, Any]) -> Iterator[str]:
    """What `evaluate` says about a record."""
    for kind in ("clean", "adversarial"):
        if kind not in record:
            continue
        row = record[kind]
        line = f"{kind:12} accuracy {row['accuracy']:.2f} %"
        if row["map"] is not None:
            line += f", mAP {row['map']:.2f} %"
        if row["interval"] is not None:
            low, high = row["interval"]
            line += f" ({low:.2f} to {high:.2f} over tracks drawn again)"
        yield f"{line}, {row['tracks']} tracks, {row['frames']} frames"
        for case, part in row["by_case"].items():
            ap = "" if part["map"] is None else f", mAP {part['map']:.1f} %"
            yield f"  {case:10} accuracy {part['accuracy']:.1f} %{ap}, {part['tracks']} tracks"


def summary_lines(record: dict[str, Any]) -> Iterator[str]:
    """The short form of one result for people."""
    seconds = record["seconds"]
    yield (
        f"{record['video']}: {len(record['tracks'])} faces in {record['duration_s']:.1f} s of video"
        f", done in {sum(seconds.values()):.1f} s"
    )
    for track in record["tracks"]:
        yield (
            f"  {track['track_id']}: {track['start_s']:.2f}-{track['end_s']:.2f} s, speaking "
            f"{100 * track['speaking_share']:.0f} % of frames, mean score {track['mean_score']:.2f}"
        )
    for remark in record["notes"]:
        yield f"  note: {remark}"
    for path in record["outputs"].values():
        yield f"  {path}"


def videos_of(source: Path) -> list[Path]:
    """A video, or the videos of a folder by name."""
    from pushpull.errors import MediaError

    if not source.is_dir():
        return [source]
    videos = sorted(p for p in source.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise MediaError(
            f"{source}: holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}); expected at least one"
        )
    return videos


def budget_of(text: str) -> float | dict[str, float]:
    """`5`, or `audio=5e-4,visual=0.5`."""
    from pushpull.errors import ConfigError

    try:
        if "=" not in text:
            return float(text)
        pairs = (part.split("=") for part in text.split(","))
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError as e:
        raise ConfigError(
            f"--eps is {text!r}; expected a number, or audio=NUMBER,visual=NUMBER"
        ) from e


def attack_lines(record: dict[str, Any], path: Path) -> Iterator[str]:
    """The short form of one attack for people."""
    clean, found, delta = record["clean"], record["adversarial"], record["delta"]
    settings = record["settings"]
    against = "" if settings["surrogate"] is None else f" made on {settings['surrogate']}"
    yield (
        f"{record['video']}: {settings['method']}{against} on {settings['weights']}, "
        f"{len(record['tracks'])} faces, {clean['frames']} frames, in "
        f"{sum(record['seconds'].values()):.1f} s"
    )
    yield f"  right before: {percent(clean['accuracy'])} of frames, AP {percent(clean['ap'])}"
    yield f"  right after:  {percent(found['accuracy'])} of frames, AP {percent(found['ap'])}"
    if clean["accuracy"] < 1:
        yield f"  after, of frames that were right: {percent(found['accuracy_of_right'])}"
    yield (
        f"  change: sound up to {delta['audio_linf']:.2g} ({decibels(delta['snr_db'])} SNR), faces "
        f"up to {delta['visual_linf']:.3g} grey levels ({decibels(delta['psnr_db'])} PSNR, SSIM "
        f"{delta['ssim']:.4f})"
    )
    ways = [way for way in record["survival"][0] if way != "input"]
    yield "  right in % of frames " + "".join(f"{way:>24}" for way in ways)
    for row in record["survival"]:
        cells = "".join(f"{percent(row[way]['accuracy']):>24}" for way in ways)
        yield f"    {row['input']:<19}{cells}"
    for name, again in record.get("detected_again", {}).items():
        yield (
            f"  {name} detected again from nothing: right in {percent(again['accuracy'])} of "
            f"{again['frames_found']} frames found (of {again['frames_expected']})"
        )
    for remark in record["notes"]:
        yield f"  note: {remark}"
    yield f"  {path}"


def percent(share: float | None) -> str:
    """A share in percent."""
    return "none" if share is None else f"{100 * share:.1f} %"


def decibels(value: float | None) -> str:
    """A ratio in decibels; None where nothing changed."""
    return "unchanged," if value is None else f"{value:.1f} dB"


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on stderr: `report(stage, done, total)`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[title]}"),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as p:
        task = p.add_task("", total=None, title=title)

        def report(stage: str, done: int, total: int | None) -> None:
            p.update(task, description=stage, completed=done, total=total)

        yield report

"""The kinds of inputs: from what a case is made, and what is done with it.

Seeds are all ours: synthetic people, sets and weights, made when they are needed.
"""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.judging import as_command, library
from fuzz.mutation import VALUES, mutated, mutated_json, mutated_text, spoilt_value

__all__ = ["KINDS", "Kind"]

ROOT = Path(__file__).resolve().parent.parent

Action = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of input.

    Attributes:
        seeds: Makes what is spoilt, in a folder of its own.
        case: Writes one case into a folder, from the seeds, and says what is to be done with it.
        about: What is tried, for the page.
    """

    seeds: Callable[[Path], None]
    case: Callable[[Path, Path, random.Random], Action]
    about: str


# Media

CONTAINERS = {
    "talk.mkv": ("mpeg4", "pcm_s16le"),
    "talk.avi": ("mjpeg", "pcm_s16le"),
    "talk.ts": ("mpeg2video", "mp2"),
    "talk.mov": ("mpeg4", "aac"),
}


def media_seeds(folder: Path) -> None:
    """A talking person of 0.5 s in five containers, and its sound alone."""
    from pushpull.media import read_waveform, write_wav
    from pushpull.synthetic import one_face_video

    first = folder / "talk.mp4"
    one_face_video(first, seed=1, duration_s=0.5, size=(160, 120))
    for name, codecs in CONTAINERS.items():
        _rewritten(first, folder / name, *codecs)
    write_wav(folder / "talk.wav", read_waveform(first), sample_format="int16")


def _rewritten(source: Path, target: Path, video: str, audio: str) -> None:
    import av

    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        pictures = new.add_stream(video, rate=25)
        pictures.width, pictures.height = 160, 120
        pictures.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        sound = new.add_stream(audio, rate=44_100 if audio == "mp2" else 16_000)
        sound.codec_context.open()
        size = sound.codec_context.frame_size or None
        form = sound.codec_context
        resampler = av.AudioResampler(form.format, form.layout, form.sample_rate, size)
        for frame in old.decode(video=0):
            # Without what the first encoder decided of it.
            picture = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), "rgb24")
            new.mux(pictures.encode(picture.reformat(format=pictures.pix_fmt)))
        new.mux(pictures.encode(None))
        old.seek(0)
        for frame in old.decode(audio=0):
            frame.pts = None
            for piece in resampler.resample(frame):
                piece.pts = None
                new.mux(sound.encode(piece))
        new.mux(sound.encode(None))


def media_case(seeds: Path, folder: Path, rng: random.Random) -> Action:
    """A spoilt file under its name or another; read to its end, or one in ten detected."""
    files = sorted(seeds.iterdir())
    seed = rng.choice(files)
    others = [path.read_bytes() for path in files]
    name = rng.choice((seed.name, seed.name, rng.choice(files).name, "talk.jpg", "im%d.mp4"))
    path = folder / name
    path.write_bytes(mutated(seed.read_bytes(), rng, others=others))
    if rng.random() < 0.1:
        how = ("-d", "synthetic-a", "--face-finder", "dlib", "--video", "none", "--json")
        return as_command("detect", path, *how, "--out", folder / "out")

    def read() -> None:
        from pushpull.media import probe, read_frames, read_sound

        quiet: Callable[[str], None] = lambda line: None  # noqa: E731
        probe(path)
        for _ in read_frames(path, on_damage=quiet):
            pass
        read_sound(path, on_damage=quiet)

    return library(read)


# Tables and transcripts

HEADER = (
    "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,"
    "entity_id"
)


def table_seeds(folder: Path) -> None:
    """Labels and scores of two people, and a transcript in both forms."""
    rows, scored = [HEADER], [f"{HEADER},score"]
    for frame in range(12):
        for person in range(2):
            row = f"talk,{900 + frame / 25:.2f},0.1,0.1,0.4,0.6"
            label = "SPEAKING_AUDIBLE" if (frame + person) % 3 else "NOT_SPEAKING"
            rows.append(f"{row},{label},talk:{person}")
            scored.append(f"{row},SPEAKING_AUDIBLE,talk:{person},{(frame * 7 + person) % 11 / 11}")
    (folder / "truth.csv").write_text("\n".join(rows) + "\n")
    (folder / "scores.csv").write_text("\n".join(scored) + "\n")
    words = [{"word": "good", "start": 0.1, "end": 0.2}, {"word": "day", "start": 0.2, "end": 0.4}]
    segments = [{"start": 0.1, "end": 0.4, "text": "good day", "words": words}]
    (folder / "talk.json").write_text(json.dumps({"segments": segments, "language": "en"}))
    (folder / "talk.srt").write_text("1\n00:00:00,100 --> 00:00:00,400\nGood day\n\n")


def table_case(seeds: Path, folder: Path, rng: random.Random) -> Action:
    """Spoilt labels, scores or transcripts: scored, summarised, read."""
    truth, scores = folder / "truth.csv", folder / "scores.csv"
    for path in (truth, scores):
        shutil.copy(seeds / path.name, path)
    kind = rng.randrange(4)
    if kind == 3:
        path = folder / rng.choice(("talk.json", "talk.srt"))
        text = (seeds / path.name).read_text()
        is_json = path.suffix == ".json" and rng.random() < 0.7
        spoilt = mutated_json(json.loads(text), rng) if is_json else mutated_text(text, rng)
        path.write_text(spoilt, errors="surrogatepass")

        def read() -> None:
            from pushpull.detection import read_transcript

            read_transcript(path)

        return library(read)
    path = rng.choice((truth, scores))
    if rng.random() < 0.5:
        path.write_bytes(mutated(path.read_bytes(), rng))
    else:
        path.write_text(mutated_text(path.read_text(), rng), errors="surrogatepass")
    if kind == 2:
        return as_command("data", "stats", path, "--json")
    more = ("--match", "boxes") if kind == 1 else rng.choice(((), ("--allow-missing",)))
    return as_command("score", truth, scores, "--json", *more)


# Checkpoints


def checkpoint_seeds(folder: Path) -> None:
    """One detector as its publisher writes it, as we do, and in a training checkpoint."""
    import torch

    from pushpull.models import build
    from pushpull.models.checkpoints import published_state, save

    torch.manual_seed(0)
    detector = build("lr_asd")
    save(detector, folder / "own.safetensors", trained_on="nothing")
    torch.save(published_state(detector), folder / "published.model")


def checkpoint_case(seeds: Path, folder: Path, rng: random.Random) -> Action:
    """Spoilt bytes, a spoilt header, or spoilt contents; loaded."""
    kind = rng.randrange(3)
    if kind == 0:
        seed = rng.choice(sorted(seeds.iterdir()))
        path = folder / seed.name
        path.write_bytes(mutated(seed.read_bytes(), rng))
    elif kind == 1:
        path = folder / "own.safetensors"
        path.write_bytes(_other_header((seeds / path.name).read_bytes(), rng))
    else:
        path = folder / "published.model"
        _write_other_content(seeds / path.name, path, rng)

    def load() -> None:
        from pushpull.models.checkpoints import load as load_detector

        load_detector(path)

    return library(load)


def _other_header(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header, or what we say in it, is spoilt."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if rng.random() < 0.5:
        said = json.loads(header["__metadata__"]["pushpull"])
        header["__metadata__"]["pushpull"] = mutated_json(said, rng)
        text = json.dumps(header)
    else:
        text = mutated_json(header, rng)
    raw = text.encode(errors="replace")
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + data[8 + size :]


def _write_other_content(seed: Path, path: Path, rng: random.Random) -> None:
    """A pickle of what no training writes."""
    import torch

    state: dict[Any, Any] = torch.load(seed, weights_only=True)
    for _ in range(rng.choice((1, 1, 3))):
        # What is no tensor any more stays as it is.
        key = rng.choice([name for name, value in state.items() if torch.is_tensor(value)])
        state[key] = rng.choice(CONTENTS)(state[key], rng)
    nest: Any = state
    for _ in range(rng.choice((0, 0, 1, 2, 20))):
        nest = {rng.choice(("model", "state_dict", "module", 3)): nest}
    if rng.random() < 0.1:
        nest["model"] = nest
    try:
        torch.save(nest, path)
    except (RecursionError, RuntimeError, NotImplementedError, pickle.PicklingError):
        torch.save({"model": 3}, path)


def _dtype(value: Any, rng: random.Random) -> Any:
    import torch

    names = ("float16", "float64", "bfloat16", "float8_e5m2", "complex64", "bool", "int8", "int64")
    return value.to(getattr(torch, rng.choice(names)))


def _odd_number(value: Any, rng: random.Random) -> Any:
    import torch

    return torch.full_like(value.float(), rng.choice((float("nan"), float("inf"), 1e38)))


def _shape(value: Any, rng: random.Random) -> Any:
    return rng.choice((value.flatten(), value[None], value[:0] if value.dim() else value[None]))


CONTENTS: tuple[Callable[[Any, random.Random], Any], ...] = (
    _dtype,
    _odd_number,
    _shape,
    lambda value, rng: rng.choice(VALUES[:60]),
    lambda value, rng: value.to("meta"),
    lambda value, rng: value.float().to_sparse(),
    lambda value, rng: [value],
)


# Settings

SETTINGS = (
    *("data.root", "data.train", "data.batch_frames", "data.limit", "data.workers", "data.augment"),
    *("optim.lr", "optim.decay", "optim.epochs", "optim.accumulate", "optim.clip_norm"),
    *("harden.regime", "harden.attack", "harden.eps", "harden.steps", "harden.mix", "harden.beta"),
    *("harden.modality", "harden.objective", "run.out", "run.seed", "run.device", "run.precision"),
    *("run.checkpoint_s", "run.init", "run.processes", "model.name", "model.options.width"),
    *("avil.l1", "avil.l4_distance", "model", "optim", "a", ""),
)


def settings_seeds(folder: Path) -> None:
    """The configurations in the package."""
    from pushpull.training.config import CONFIGS

    for path in CONFIGS.values():
        shutil.copy(path, folder)


def settings_case(seeds: Path, folder: Path, rng: random.Random) -> Action:
    """A spoilt file with odd changes, as far as a model and a regime are made of it."""
    seed = rng.choice(sorted(seeds.iterdir()))
    path = folder / seed.name
    text = seed.read_text()
    if rng.random() < 0.5:
        text = mutated_text(text, rng)
    path.write_text(text, errors="surrogatepass")
    changes = ["data.root=faces"]
    for _ in range(rng.choice((0, 1, 1, 2))):
        value = rng.choice(VALUES)
        said = rng.choice((str, json.dumps))(value)
        changes.append(f"{rng.choice(SETTINGS)}={rng.choice((said, mutated_text(said, rng)))}")

    def make() -> None:
        from pushpull.errors import ConfigError
        from pushpull.models import build
        from pushpull.training import read_config
        from pushpull.training.regimes import build_regime

        config = read_config(path, changes)
        build_regime(config.harden, config.avil)
        if ":" not in config.model.name:
            try:
                build(config.model.name, **config.model.options)
            except TypeError as e:
                # As the training loop says it.
                raise ConfigError(str(e)) from e

    return library(make)


# Data sets


def dataset_seeds(folder: Path) -> None:
    """Five short tracks."""
    from pushpull.data import SynthConfig, write_synth

    write_synth(folder, SynthConfig(tracks=5, seed=3, min_frames=4, max_frames=5))


def dataset_case(seeds: Path, folder: Path, rng: random.Random) -> Action:
    """One file spoilt or gone; verified, summarised, or read as for training."""
    root = folder / "data"
    shutil.copytree(seeds, root)
    path = rng.choice(
        sorted(p for p in root.rglob("*") if p.is_file() and ".pushpull" not in p.parts)
    )
    if rng.random() < 0.03:
        path.unlink()
    elif path.suffix == ".json":
        record = json.loads(path.read_text())
        path.write_text(mutated_json(spoilt_value(record, rng), rng), errors="surrogatepass")
    else:
        others = [p.read_bytes() for p in root.rglob("*.arrow")]
        path.write_bytes(mutated(path.read_bytes(), rng, others=others))
    kind = rng.randrange(3)
    if kind == 0:
        return as_command("data", "verify", root, "--json")
    if kind == 1:
        return as_command("data", "stats", root, "--json")

    def read() -> None:
        from pushpull.data import open_tracks, splits_of

        for split in splits_of(root):
            tracks = open_tracks(root, split)
            for i in range(len(tracks)):
                tracks.clip(i)
                tracks.waveform(i)

    return library(read)


# Records


def record_seeds(folder: Path) -> None:
    """What detect and evaluate write, and a leaderboard."""
    from pushpull.data import SynthConfig, write_synth
    from pushpull.detection import detect
    from pushpull.evaluation import evaluate
    from pushpull.runtime.files import temporary_folder
    from pushpull.runtime.records import write_json
    from pushpull.synthetic import one_face_video

    with temporary_folder() as inner:
        one_face_video(inner / "talk.mp4", seed=1, duration_s=0.5, size=(160, 120))
        found = detect(inner / "talk.mp4", "synthetic-a", face_finder="dlib")
        write_json(folder / "talk.json", found.as_dict(), kind="detection")
        write_synth(inner / "data", SynthConfig(tracks=5, seed=3, min_frames=4, max_frames=5))
        evaluate("synthetic-a", inner / "data", attack="fgsm", out=inner / "out")
        shutil.copy(inner / "out" / "results.json", folder)
    shutil.copy(ROOT / "docs" / "results" / "leaderboard.json", folder)


def record_case(seeds: Path, folder: Path, rng: random.Random) -> Action:
    """A spoilt record: faces taken of it, added to a leaderboard, or a leaderboard itself."""
    seed = rng.choice(sorted(seeds.iterdir()))
    path = folder / seed.name
    text = seed.read_text()
    if rng.random() < 0.2:
        path.write_bytes(mutated(text.encode(), rng))
    else:
        path.write_text(mutated_json(json.loads(text), rng), errors="surrogatepass")
    if seed.name == "results.json":
        return as_command("leaderboard", "add", path, "--defence", "none", "--by", "us", "--json")

    def read() -> None:
        from pushpull.detection.given_faces import read_faces
        from pushpull.leaderboard import read_board, write_board

        if seed.name == "talk.json":
            read_faces(path, "talk", width=160, height=120)
        else:
            write_board(folder / "again.json", read_board(path))

    return library(read)


KINDS = {
    "media": Kind(
        seeds=media_seeds,
        case=media_case,
        about="mp4, mkv, avi, ts, mov and wav, bytes spoilt; read to the end, one in ten detected",
    ),
    "tables": Kind(
        seeds=table_seeds,
        case=table_case,
        about="csv of labels and scores, transcripts as json and srt; scored, summarised, read",
    ),
    "checkpoints": Kind(
        seeds=checkpoint_seeds,
        case=checkpoint_case,
        about="safetensors and pickles, bytes, headers and contents spoilt; loaded",
    ),
    "settings": Kind(
        seeds=settings_seeds,
        case=settings_case,
        about="TOML and KEY=VALUE; read, model and regime made of them",
    ),
    "records": Kind(
        seeds=record_seeds,
        case=record_case,
        about="what detect and evaluate wrote, and leaderboards, as JSON; read, added, made a page",
    ),
    "datasets": Kind(
        seeds=dataset_seeds,
        case=dataset_case,
        about="packed data sets, one file spoilt; verified, summarised, read",
    ),
}
"""Kinds whose cases are one call each; `http` has a server to itself."""

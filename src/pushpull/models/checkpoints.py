"""Weights on disk: published checkpoints, read strictly, and own ones with their config inside.

Published checkpoints are pickles, and unpickling can run any code, so they are read with
`weights_only=True`. Their keys are ours but for three things: a `model.` prefix, wrappers of
data-parallel training (`module.`, `model.module.`), and the classifier heads, which the published
code keeps in its losses (TalkNet, Light-ASD, LR-ASD: `lossAV.FC`; 3D-Speaker: `fcAV`).

Own checkpoints are safetensors: no code inside, and a header that rebuilds the model. Which kind a
file is follows from its content, never from its name.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushpull.errors import CheckpointError, ConfigError, OutputError
from pushpull.models import MODELS, build
from pushpull.models.detector import Detector, Wrapped
from pushpull.runtime.files import plain_path, written_whole
from pushpull.runtime.records import parse_json

__all__ = [
    "assemble",
    "load",
    "load_state",
    "looks_like",
    "model_name",
    "own_name",
    "published_name",
    "published_state",
    "read_state",
    "save",
]

HEADER = "pushpull"
"""Key of our entry in the metadata of a safetensors file."""

FOREIGN = "wrapped"
"""What the header of a wrapped module's file says in place of a model."""

FORMAT = 1
"""Version of that entry; a reader refuses a later one."""

PUBLISHED_HEADS = {"head_av": "lossAV.FC", "head_a": "lossA.FC", "head_v": "lossV.FC"}
OWN_HEADS = {published: own for own, published in PUBLISHED_HEADS.items()} | {
    "fcAV": "head_av",
    "fcA": "head_a",
    "fcV": "head_v",
}

TALKNET = {"visualFrontend", "visualTCN", "visualConv1D", "audioEncoder", "selfAV"}
PARTS = {
    "talknet": TALKNET | {"crossA2V", "crossV2A", "head_av", "head_a", "head_v"},
    "spec_talknet": TALKNET | {"crossA2V", "crossV2A", "head_av", "head_a", "head_v"},
    "nc_talknet": TALKNET | {"head_av", "head_a", "head_v"},
    "light_asd": {"visualEncoder", "audioEncoder", "GRU", "head_av", "head_v"},
    "lr_asd": {"visualEncoder", "audioEncoder", "fusion", "detector", "head_av", "head_v"},
}
"""Sub-modules of each model: enough to tell whose a file is, without building every model."""

WRAPPERS = ("module", "_orig_mod")
"""Key parts that data-parallel training and compilation add anywhere in a key."""

NESTS = ("state_dict", "model_state_dict", "model")
"""Where training checkpoints keep the weights beside the optimiser and the epoch."""


DEEPEST_NEST = 8

PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What numbers of a parameter may be kept as; float8 is a packing that needs a scale beside it."""


def own_name(key: str) -> str:
    """Our name of a published key; own names stay as they are.

    Examples:
        >>> from pushpull.models.checkpoints import own_name
        >>> own_name("lossAV.FC.weight"), own_name("module.model.GRU.gru_forward.bias_hh_l0")
        ('head_av.weight', 'GRU.gru_forward.bias_hh_l0')
    """
    parts = [part for part in key.split(".") if part not in WRAPPERS]
    if parts and parts[0] == "model":
        del parts[0]
    name = ".".join(parts)
    for published, own in OWN_HEADS.items():
        if name.startswith(f"{published}."):
            return own + name.removeprefix(published)
    return name


def published_name(key: str) -> str:
    """The key under which TalkNet, Light-ASD and LR-ASD publish one of our parameters.

    Examples:
        >>> from pushpull.models.checkpoints import published_name
        >>> published_name("head_av.weight"), published_name("GRU.gru_forward.bias_hh_l0")
        ('lossAV.FC.weight', 'model.GRU.gru_forward.bias_hh_l0')
    """
    head, _, rest = key.partition(".")
    return f"{PUBLISHED_HEADS[head]}.{rest}" if head in PUBLISHED_HEADS else f"model.{key}"


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a checkpoint on the CPU, under the keys of the file, and its header.

    Returns:
        The tensors, taken out of a training checkpoint where they are nested in one; and what
        `save` wrote (`format`, `model`, `config`, `metadata`), empty for any other file.

    Raises:
        CheckpointError: If there is no such file, it is no checkpoint, or would run code.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.models import build
        >>> from pushpull.models.checkpoints import read_state, save
        >>> save(build("talknet", width=0.125), Path("mine.safetensors"), trained_on="my videos")
        >>> state, header = read_state(Path("mine.safetensors"))
        >>> header["model"], header["metadata"], state["head_av.weight"].shape
        ('talknet', {'trained_on': 'my videos'}, torch.Size([2, 32]))
    """
    start = _first_bytes(path)
    if start[8:9] == b"{":
        state, header = _read_safetensors(path)
    elif start.startswith((b"PK\x03\x04", b"\x80")):
        state, header = _unnest(_read_pickle(path), path), {}
    else:
        raise CheckpointError(f"{path}: is no checkpoint ({_describe(start)}); {EXPECTED}")
    _check_plain(state, path)
    return state, header


def looks_like(keys: Iterable[str]) -> str | None:
    """The model whose parts a checkpoint's keys name best; None if they fit no model.

    specTalkNet has the parts of TalkNet, which is answered for both.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.checkpoints import looks_like
        >>> looks_like(build("light_asd").state_dict()), looks_like(["conv1.weight"])
        ('light_asd', None)
    """
    parts = _parts(keys)
    best = max(PARTS, key=lambda name: _overlap(parts, name))
    return best if _overlap(parts, best) > 0.5 else None


def load(path: str | PathLike[str], *, expect: str | None = None) -> Detector:
    """A detector in eval mode from any checkpoint of it.

    Args:
        path: A published checkpoint or one that `save` wrote.
        expect: Model that it must be; found out from the file by default.

    Raises:
        CheckpointError: If the file cannot be read, is of another model, misses a parameter, has
            one too many or of another shape, or holds NaN or infinity.
        UnknownName: If there is no such model.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.checkpoints import load, save
        >>> save(build("talknet", width=0.125), "mine.safetensors")
        >>> detector = load("mine.safetensors")
        >>> detector.config()["width"], detector.training
        (0.125, False)
        >>> load("mine.safetensors", expect="lr_asd")
        Traceback (most recent call last):
            ...
        pushpull.errors.CheckpointError: mine.safetensors: holds weights of talknet, not of
        lr_asd as asked; ask for talknet or give another file
    """
    path = Path(path)
    state, header = read_state(path)
    return assemble(state, header, path, expect=expect)


def assemble(
    state: Mapping[str, Tensor],
    header: Mapping[str, Any],
    path: Path,
    *,
    expect: str | None = None,
) -> Detector:
    """The detector of what `read_state` returned; `path` is for messages. See `load`.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.models import build
        >>> from pushpull.models.checkpoints import assemble
        >>> state = build("light_asd").state_dict()
        >>> type(assemble(state, {}, Path("light.pt"))).__name__
        'LightASD'
    """
    detector = _build(state, header, path, expect)
    fitted = _fitted(state, detector.state_dict(), path, model_name(detector))
    _check_finite(state, path)
    detector.load_state_dict(fitted)
    return detector.eval()


def load_state(detector: Detector, path: Path) -> None:
    """Give a detector the weights of a checkpoint, in place.

    Raises:
        CheckpointError: If the file cannot be read, or does not fit this detector exactly.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.models import build
        >>> from pushpull.models.checkpoints import load_state, save
        >>> save(build("light_asd"), Path("mine.safetensors"))
        >>> detector = build("light_asd")  # other random weights
        >>> load_state(detector, Path("mine.safetensors"))
    """
    state, _ = read_state(path)
    wanted = detector.state_dict()
    if set(state) != set(wanted) and isinstance(detector, Wrapped):
        # What torch.save wrote of the module inside.
        state = {f"{Wrapped.INSIDE}.{key}": value for key, value in state.items()}
    if set(state) != set(wanted):
        state = _fitted(state, wanted, path, type(detector).__name__)
    misshaped = [
        f"{key} is {_shape(state[key])}, expected {_shape(value)}"
        for key, value in wanted.items()
        if state[key].shape != value.shape
    ]
    _check_numbers(state, wanted, path)
    if misshaped:
        raise CheckpointError(
            f"{path}: does not fit {detector.card.name}: {len(misshaped)} entries are of another "
            f"shape ({_some(misshaped)}); give a checkpoint of exactly this model"
        )
    _check_finite(state, path)
    detector.load_state_dict(state)


def save(detector: Detector, path: str | PathLike[str], /, **metadata: object) -> None:
    """Write a detector as safetensors, with all that `load` needs to build it again.

    Args:
        detector: One of `MODELS`, or a wrapped module, whose file holds weights only: its code is
            named when it is loaded, `FILE.py:FACTORY@CHECKPOINT`.
        path: File to write; it appears whole or not at all.
        metadata: What else to remember; anything that JSON can hold.

    Raises:
        OutputError: If the file cannot be written.
        CheckpointError: If the detector is none of `MODELS`.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.checkpoints import load, save
        >>> save(build("light_asd"), "mine.safetensors", trained_on="my videos")
        >>> type(load("mine.safetensors")).__name__
        'LightASD'
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    header = {
        "format": FORMAT,
        "model": FOREIGN if isinstance(detector, Wrapped) else model_name(detector),
        "config": detector.config(),
        "metadata": metadata,
    }
    state = {k: v.detach().cpu().contiguous() for k, v in detector.state_dict().items()}
    with written_whole(Path(path)) as temporary:
        try:
            save_file(state, temporary, metadata={HEADER: json.dumps(header)})
        except SafetensorError as e:
            raise OutputError(f"{path}: cannot be written ({e})") from e


def published_state(detector: Detector) -> dict[str, Tensor]:
    """The state dict under published names, for `torch.save` and the published code.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.checkpoints import published_state
        >>> state = published_state(build("light_asd"))
        >>> torch.save(state, "light_asd.model")  # what the published code loads
        >>> [name for name in state if name.startswith("loss")]
        ['lossAV.FC.weight', 'lossAV.FC.bias', 'lossV.FC.weight', 'lossV.FC.bias']
    """
    return {published_name(k): v for k, v in detector.state_dict().items()}


def model_name(detector: Detector) -> str:
    """Name of a detector in `MODELS`.

    Raises:
        CheckpointError: If it is none of them.

    Examples:
        >>> from pushpull.models import build
        >>> from pushpull.models.checkpoints import model_name
        >>> model_name(build("lr_asd"))
        'lr_asd'
    """
    for name, factory in MODELS.items():
        if factory is type(detector):
            return name
    raise CheckpointError(
        f"a {type(detector).__name__} is none of the models {', '.join(MODELS)}, so no checkpoint "
        "could build it again: save the detector inside it"
    )


EXPECTED = (
    "expected a published checkpoint of TalkNet, Light-ASD or LR-ASD, or a safetensors file that "
    "pushpull saved"
)


def _first_bytes(path: Path) -> bytes:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"{path}: is no regular file; {EXPECTED}")
        with path.open("rb") as file:
            start = file.read(256)
    except FileNotFoundError as e:
        raise CheckpointError(f"{path}: no such file; {EXPECTED}") from e
    except IsADirectoryError as e:
        raise CheckpointError(f"{path}: is a folder; {EXPECTED}") from e
    except ValueError as e:
        raise CheckpointError(f"{str(path)!r}: is no name of a file; {EXPECTED}") from e
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror})") from e
    if not start:
        raise CheckpointError(f"{path}: is empty (0 bytes); copy or download it again")
    return start


def _describe(start: bytes) -> str:
    """What a file that is no checkpoint seems to be."""
    text = " ".join(start.decode("utf-8", errors="replace").split())
    if text.lower().startswith(("<!doctype", "<html")):
        return "a web page: the site sent a page in place of the file, download it in a browser"
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer: run `git lfs pull` where it comes from"
    return f"it starts with {text[:24]!r}"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with plain_path(path) as plain, safe_open(plain, framework="pt", device="cpu") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get(HEADER)
    except (SafetensorError, OSError) as e:
        raise CheckpointError(
            f"{path}: safetensors, but damaged or cut short ({_first_sentence(e)}); copy or "
            "download it again"
        ) from e
    if text is None:
        return state, {}
    try:
        header = parse_json(text)
        version = header["format"]
    except (ValueError, TypeError, KeyError) as e:
        raise CheckpointError(
            f"{path}: its {HEADER} header cannot be understood ({text[:40]!r}); expected what "
            "pushpull wrote when it saved the file"
        ) from e
    if version != FORMAT:
        raise CheckpointError(
            f"{path}: its header has format {version}, this version reads {FORMAT}; update pushpull"
        )
    header.setdefault("metadata", {})
    for entry, kind in (("model", str), ("config", dict), ("metadata", dict)):
        if not isinstance(header.get(entry), kind):
            raise CheckpointError(
                f"{path}: its {HEADER} header says no {entry} (got {header.get(entry)!r:.40}); "
                "expected what pushpull wrote when it saved the file"
            )
    return state, header


def _read_pickle(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            # torch warns of pickle protocols that it may not know, then reads or refuses them.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        wanted = re.search(r"GLOBAL (\S+)", str(e))
        if wanted is None:
            raise _damaged(path, e) from e
        raise CheckpointError(
            f"{path}: refused, since loading it would call {wanted[1]}: a pickle can run any code, "
            "so only tensors are read, and nothing was run. If you trust where it comes from, load "
            "it there and save model.state_dict() alone"
        ) from e
    except Exception as e:
        # A damaged pickle can make the reader fail in any way.
        raise _damaged(path, e) from e


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = str(error).rpartition("WeightsUnpickler error: ")[2]
    return CheckpointError(
        f"{path}: damaged, cut short or no checkpoint ({_first_sentence(reason)}); copy or "
        f"download it again: {EXPECTED}"
    )


def _unnest(content: object, path: Path) -> dict[str, Tensor]:
    # A checkpoint may hold itself, so that there would always be a next one.
    for _ in range(DEEPEST_NEST):
        if not isinstance(content, Mapping):
            break
        inner = (content.get(nest) for nest in NESTS)
        found = next((value for value in inner if isinstance(value, Mapping)), None)
        if found is None:
            break
        content = found
    if not isinstance(content, Mapping):
        holds = f"a {type(content).__name__}"
    elif not content:
        holds = "an empty dict"
    else:
        odd = [k for k, v in content.items() if not (isinstance(k, str) and torch.is_tensor(v))]
        if not odd:
            return dict(content)
        holds = f"a dict whose {odd[0]!r} is a {type(content[odd[0]]).__name__}"
    raise CheckpointError(
        f"{path}: holds {holds}; expected parameter names with their tensors, as "
        "torch.save(model.state_dict(), path) writes, alone or under one of "
        f"{', '.join(NESTS)}"
    )


def _overlap(parts: set[str], name: str) -> float:
    """Share of the parts of a file or a model that both have, 0..1."""
    return len(parts & PARTS[name]) / len(parts | PARTS[name])


def _parts(keys: Iterable[str]) -> set[str]:
    return {own_name(key).partition(".")[0] for key in keys}


def _build(
    state: Mapping[str, Tensor], header: Mapping[str, Any], path: Path, expect: str | None
) -> Detector:
    """The model that a checkpoint is for, with fresh weights."""
    if header:
        return _build_from_header(header, path, expect)
    found = looks_like(state)
    if expect is None:
        if found is None:
            raise CheckpointError(
                f"{path}: its entries ({_some(state)}) fit none of the models "
                f"{', '.join(MODELS)}; {EXPECTED}"
            )
        return build(found)
    detector = build(expect)
    parts = _parts(state)
    if found is not None and _overlap(parts, found) > _overlap(parts, expect):
        raise CheckpointError(
            f"{path}: looks like weights of {found}, not of {expect} as asked; ask for {found} or "
            "give another file"
        )
    return detector


def _build_from_header(header: Mapping[str, Any], path: Path, expect: str | None) -> Detector:
    name, config = header["model"], header["config"]
    if name == FOREIGN:
        raise CheckpointError(
            f"{path}: holds weights of a model of one's own, whose code it does not name; give "
            f"FILE.py:FACTORY@{path}"
        )
    if expect is not None and name != expect:
        raise CheckpointError(
            f"{path}: holds weights of {name}, not of {expect} as asked; ask for {name} or give "
            "another file"
        )
    try:
        return build(name, **config)
    except (TypeError, ConfigError) as e:
        raise CheckpointError(
            f"{path}: was saved as {name} with {config}, which cannot be built ({e}); use the "
            "version of pushpull that saved it"
        ) from e


def _fitted(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, model: str
) -> dict[str, Tensor]:
    """The state under our names, if it has exactly what the model wants."""
    sources: dict[str, list[str]] = {}
    for key in state:
        sources.setdefault(own_name(key), []).append(key)
    own_style = all(key in keys for key, keys in sources.items())
    missing = [key if own_style else published_name(key) for key in wanted if key not in sources]
    unexpected = [keys[0] for name, keys in sources.items() if name not in wanted]
    twice = [" = ".join(keys) for keys in sources.values() if len(keys) > 1]
    misshaped = [
        f"{keys[0]} is {_shape(state[keys[0]])}, expected {_shape(wanted[name])}"
        for name, keys in sources.items()
        if name in wanted and state[keys[0]].shape != wanted[name].shape
    ]
    problems = [
        f"{len(found)} {what} ({_some(found)})"
        for what, found in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("there twice", twice),
            ("of another shape", misshaped),
        )
        if found
    ]
    if problems:
        raise CheckpointError(
            f"{path}: does not fit {model}: of its {len(wanted)} entries {'; '.join(problems)}; "
            "give a checkpoint of exactly this model"
        )
    fitted = {name: state[keys[0]] for name, keys in sources.items()}
    _check_numbers(fitted, wanted, path)
    return fitted


def _check_plain(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors without numbers of their own, and those that are packed in some way."""
    for key, value in state.items():
        kind = next(
            (
                what
                for what, found in (
                    ("nested", value.is_nested),
                    ("without content (meta)", value.is_meta),
                    ("quantised", value.is_quantized),
                    ("sparse", value.layout != torch.strided),
                )
                if found
            ),
            None,
        )
        if kind is not None:
            raise CheckpointError(
                f"{path}: its entry {key} is {kind}; expected plain tensors: save "
                "model.state_dict() of the model as it was trained"
            )


def _check_numbers(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    """Refuse numbers of another kind than a model's: they would be converted without a word."""
    odd = [
        f"{key} is {_dtype(value)}"
        for key, value in state.items()
        if key in wanted
        and (
            (wanted[key].is_floating_point() and value.dtype not in PRECISIONS)
            or (value.is_complex() and not wanted[key].is_complex())
        )
    ]
    if odd:
        raise CheckpointError(
            f"{path}: {len(odd)} entries are of another kind of number ({_some(odd)}); expected "
            f"{', '.join(str(p).removeprefix('torch.') for p in PRECISIONS)}"
        )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    broken = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{path}: NaN or infinity in {len(broken)} of {len(state)} entries ({_some(broken)}); "
            "its training diverged or the file is damaged: use another checkpoint"
        )


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"


def _some(names: Iterable[str], limit: int = 3) -> str:
    """The first few of many names."""
    listed = list(names)
    rest = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _first_sentence(reason: object) -> str:
    """The first sentence of a library's message; they run over pages."""
    return re.split(r"\n|\.\s", str(reason).strip())[0] or type(reason).__name__

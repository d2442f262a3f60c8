"""What the processes do: detect, attack, cut clips for listening. Paths in, a view as JSON out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushpull.errors import MediaError, PushPullError
from pushpull.runtime.progress import Progress
from pushpull.runtime.records import read_json, write_json

if TYPE_CHECKING:
    from pushpull.models.detector import Detector

__all__ = ["look", "run"]

OPTION = re.compile(r"[;,][^;,]* --[a-z][^;,]*")
"""Part of a sentence that names an option."""


def run(asked: Mapping[str, Any], report: Progress) -> dict[str, Any]:
    """Detect or attack: the heavy task.

    Args:
        asked: `kind`, `path`, `folder`, `stem`, `shown`, `detector`, `face_finder`, and for an
            attack `settings` and `amplify`.
        report: Told how far it is.

    Returns:
        A view: what a page shows, and under `files` the names of what lies in the folder.

    Examples:
        >>> from pushpull.app.tasks import run
        >>> from pushpull.runtime.progress import no_progress
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> asked = {"kind": "detect", "path": "talk.mp4", "folder": "found", "stem": "talk"}
        >>> asked |= {"shown": "my talk.mp4", "detector": "synthetic-a", "face_finder": "dlib"}
        >>> view = run(asked, no_progress)
        >>> view["name"], len(view["faces"]), sorted(view["files"])[:3]
        ('my talk.mp4', 1, ['talk.csv', 'talk.json', 'talk.labels.csv'])
    """
    task = {"detect": detect_task, "attack": attack_task}[asked["kind"]]
    Path(asked["folder"]).mkdir()
    try:
        return task(asked, report)
    except PushPullError as e:
        raise MediaError(for_visitor(str(e), asked)) from e


def for_visitor(line: str, asked: Mapping[str, Any]) -> str:
    """What a library says, to somebody who has a page and no command line.

    Where the server keeps a file is nobody's business, and advice to give an option is of no use.

    Examples:
        >>> from pushpull.app.tasks import for_visitor
        >>> line = "/srv/0.mp4: is silent; give a video with sound, or --allow-silent to score it"
        >>> for_visitor(line, {"path": "/srv/0.mp4", "shown": "talk.mp4"})
        'talk.mp4: is silent; give a video with sound'
    """
    return OPTION.sub("", line).replace(asked["path"], asked["shown"])


def look(asked: Mapping[str, Any], report: Progress) -> dict[str, Any]:
    """Small tasks: probe a stranger's video, turns and labels, clips for ABX, known detectors.

    Examples:
        >>> from pushpull.app.tasks import look
        >>> found = look({"kind": "detectors", "detector": "synthetic-a"}, print)
        >>> found["detectors"][0]
        {'name': 'synthetic-a', 'about': 'in this package'}
    """
    if asked["kind"] == "detectors":
        return {"detectors": detectors_here(asked["detector"])}
    if asked["kind"] in ("turns", "labels"):
        from pushpull.app.corrections import turns_at, write_labels

        return {"turns": turns_at, "labels": write_labels}[asked["kind"]](asked, report)
    if asked["kind"] == "probe":
        from pushpull.app.uploads import look_at

        return look_at(asked, report)
    from pushpull.app.stimuli import prepare

    return prepare(asked, report)


def detectors_here(first: str) -> list[dict[str, str]]:
    """Detectors that need no download: name and a few words, the server's own first."""
    from pushpull.models.weights import KNOWN, SHIPPED
    from pushpull.runtime.files import find

    rows = {
        known.name: f"{known.model}, trained on {known.trained_on}"
        for known in KNOWN.values()
        if known.fetchable is not None and find(known.fetchable) is not None
    }
    rows |= {name: "in this package" for name, path in SHIPPED.items() if path.is_file()}
    chosen = {first: rows.pop(first, "")}
    return [{"name": name, "about": about} for name, about in (chosen | rows).items()]


@lru_cache(maxsize=1)
def detector_of(name: str) -> Detector:
    """Loaded once as long as the same are asked for."""
    from pushpull.models.weights import resolve_detector

    return resolve_detector(name, device="auto")


def detect_task(asked: Mapping[str, Any], report: Progress) -> dict[str, Any]:
    """Who speaks: the four files, and a curve for each face."""
    from pushpull.detection import detect
    from pushpull.errors import MediaError

    folder = Path(asked["folder"])
    report("loading the detector", 0, None)
    result = detect(
        asked["path"],
        detector_of(asked["detector"]),
        name=asked["stem"],
        face_finder=asked["face_finder"],
        progress=report,
    )
    if not result.tracks:
        raise MediaError(f"{asked['shown']}: {result.notes[-1]}")
    paths = result.save(folder, progress=report)
    record = result.as_dict() | {"video": asked["shown"]}
    write_json(paths["json"], record, kind="detection")
    return {
        "kind": "detect",
        "name": asked["shown"],
        "duration_s": result.info.duration_s,
        "detector": result.settings["detector"],
        "seconds": record["seconds"],
        "notes": [for_visitor(note, asked) for note in result.notes],
        "faces": [
            {
                "id": scored.track.track_id,
                "times_s": entry["timestamps_s"],
                "scores": entry["scores"],
                "turns": entry["turns"],
                "share": entry["speaking_share"],
            }
            for scored, entry in zip(result.tracks, record["tracks"], strict=True)
        ],
        "video": paths["mp4"].name,
        "downloads": [path.name for path in paths.values()],
        "files": [path.name for path in paths.values()],
    }


def attack_task(asked: Mapping[str, Any], report: Progress) -> dict[str, Any]:
    """The adversary, what `pushpull attack` writes of it, and pictures of the change."""
    from pushpull.video_attacks import attack_video

    folder = Path(asked["folder"])
    report("loading the detector", 0, None)
    model = detector_of(asked["detector"])
    result = attack_video(
        asked["path"],
        model,
        name=asked["stem"],
        face_finder=asked["face_finder"],
        progress=report,
        **asked["settings"],
    )
    outputs = result.save(folder, progress=report)
    written = outputs["results.json"]
    views = result.compare(written.parent, amplify=asked["amplify"], progress=report)
    record = read_json(written, kind="video-attack")
    record["video"] = record["settings"]["video"] = asked["shown"]
    write_json(written, record, kind="video-attack")
    downloads = list(outputs)
    return {
        "kind": "attack",
        "name": asked["shown"],
        "duration_s": result.clips.info.duration_s,
        "detector": model.card.name,
        "settings": {
            key: record["settings"][key]
            for key in ("attack", "modality", "objective", "norm", "eps", "space")
        },
        "clean": record["clean"],
        "adversarial": record["adversarial"],
        "delta": record["delta"],
        "survival": record["survival"],
        "vanished": record["vanished"],
        "forwards": record["forwards"],
        "seconds": record["seconds"],
        "notes": [for_visitor(note, asked) for note in record["notes"]],
        "amplify": asked["amplify"],
        "faces": [
            {
                "id": track.track_id,
                "times_s": [
                    round(entry["start_s"] + i / entry["fps"], 4)
                    for i in range(len(entry["clean_scores"]))
                ],
                "scores": entry["clean_scores"],
                "adversarial_scores": entry["adversarial_scores"],
                "turns": [],
                "delta": entry["delta"],
                "clean": entry["clean"],
                "adversarial": entry["adversarial"],
            }
            for track, entry in zip(result.clips.tracks, record["tracks"], strict=True)
        ],
        "views": {kind: path.name for kind, path in views.items()},
        "downloads": downloads,
        "files": [*downloads, *(path.name for path in views.values())],
        "below": asked["stem"],
    }

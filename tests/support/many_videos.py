"""A handful of short videos for commands that take many, and what became of them."""

import json
from pathlib import Path

from pushpull.detection import Saving
from pushpull.synthetic import one_face_video

ASKED = {"face_finder": "dlib", "saving": Saving(video="none")}
VOLATILE = {"seconds", "outputs"}


def some_videos(folder: Path) -> Path:
    """Four that are sound, one that is none; two of one name."""
    (folder / "more").mkdir()
    for seed, name in enumerate(("a.mp4", "b.mp4", "c.mp4", "more/a.mp4")):
        one_face_video(folder / name, seed=2 * seed + 1, duration_s=0.4, size=(160, 120))
    (folder / "broken.mp4").write_text("no film")
    return folder


def listed(folder: Path) -> list[Path]:
    return [folder / n for n in ("a.mp4", "broken.mp4", "b.mp4", "c.mp4", "more/a.mp4")]


def results(folder: Path) -> dict[str, object]:
    """What is in the files, but for how long it took."""
    found: dict[str, object] = {}
    for path in sorted(folder.glob("[!.]*")):
        text = path.read_text()
        found[path.name] = text
        if path.suffix == ".json":
            found[path.name] = {k: v for k, v in json.loads(text).items() if k not in VOLATILE}
    return found

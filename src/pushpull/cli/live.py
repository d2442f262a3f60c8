"""The command on what is going on now: live."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pushpull.cli.console import Console, counted, print_line
from pushpull.cli.options import (
    CropChoice,
    CropOption,
    DetectorOption,
    DeviceChoice,
    DeviceOption,
    EndOption,
    FaceFinderChoice,
    FaceFinderOption,
    JsonFlag,
    PrecisionChoice,
    PrecisionOption,
    QuietFlag,
)
from pushpull.runtime.records import as_json_line

if TYPE_CHECKING:
    from pushpull.detection import FaceScore

__all__ = ["live"]

SHORTEST_S = 0.2
"""A change of who speaks is said when it has lasted so long."""

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A file, a camera's number (0), a url (rtsp://...), or - for the standard input.",
    ),
]


def live(
    source: SourceArgument,
    detector: DetectorOption = "light-asd-ava",
    face_finder: FaceFinderOption = FaceFinderChoice.auto,
    crop: CropOption = CropChoice.auto,
    precision: PrecisionOption = PrecisionChoice.float32,
    lookahead: Annotated[
        float, typer.Option("--lookahead", min=0, max=3, help="Seconds that a score waits for.")
    ] = 0.5,
    paced: Annotated[
        bool, typer.Option("--paced/--unpaced", help="Read a file as a player shows it.")
    ] = True,
    end: EndOption = None,
    device: DeviceOption = DeviceChoice.auto,
    lines: Annotated[
        bool, typer.Option("--json-lines", help="One JSON object a line for each final score.")
    ] = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Say who is speaking while it happens.

    A line when somebody begins or stops. Pictures for which there is no time are left out, and it
    is said how many.
    """
    from pushpull.detection import Live
    from pushpull.media.live_source import LiveSource

    console = Console(as_json=as_json, quiet=quiet)
    # What cannot be opened is said before a detector is loaded.
    opened = LiveSource(source, paced=paced)
    engine = Live(
        detector,
        face_finder=face_finder.value,
        crop=crop.value,
        precision=precision.value,
        device=device.value,
        lookahead_s=lookahead,
        # Of a file that nobody waits for, the same scores each time.
        beside=paced,
    )
    teller = Teller(lines=lines, quiet=as_json)
    with opened as arrivals:
        if not arrivals.has_sound:
            console.note(f"{source}: has no sound, so nobody can be heard speaking")
        for one in arrivals:
            if end is not None and one.time_s >= end:
                break
            if one.image is not None:
                found = engine.push_video(one.image, one.time_s)
            elif one.samples is not None:
                found = engine.push_audio(one.samples, one.time_s)
            teller.tell(found, begun_s=one.came_s - one.time_s)
    teller.tell(engine.close(), begun_s=None)
    for note in arrivals.notes:
        console.note(f"{source}: {note.removeprefix(f'{source}: ')}")
    summary = teller.summary(arrivals.left_out) | {"pictures": engine.n_frames}
    within = summary["within_1_s"]
    in_time = "" if within is None else f", {100 * within:.1f} % of them within a second"
    if within is None:
        console.note(
            f"{source}: no face was seen for long enough in {counted(engine.n_frames, 'picture')} "
            "to be scored"
        )
    said = (
        f"{counted(summary['faces'], 'face')}, {counted(summary['scores'], 'score')}{in_time}; "
        f"{counted(summary['pictures_left_out'], 'picture')} left out"
    )
    if as_json or not lines:
        console.result({"source": source, **summary}, kind="live", lines=[said])
    else:
        console.note(said)


class Teller:
    """Tells scores as they come, and how late they came."""

    def __init__(self, *, lines: bool, quiet: bool) -> None:
        self.lines, self.quiet = lines and not quiet, quiet
        self.speaking: dict[int, bool] = {}
        self.since_s: dict[int, float] = {}
        self.n_final = self.n_first = 0
        # How many were so late, in steps of 10 ms: nothing grows with the stream.
        self.late = [0] * 1001
        self.told: dict[int, float] = {}

    def tell(self, found: list[FaceScore], *, begun_s: float | None) -> None:
        """Say what is new; `begun_s` is when second 0 of the source was, by `time.monotonic`."""
        now_s = time.monotonic()
        for one in found:
            if one.time_s > self.told.get(one.face, -1.0):
                self.told[one.face] = one.time_s
                self.n_first += 1
                late_s = 0.0 if begun_s is None else now_s - begun_s - one.time_s
                self.late[min(max(0, math.ceil(100 * late_s)), len(self.late) - 1)] += 1
            if not one.final:
                continue
            self.n_final += 1
            if self.lines:
                print_line(
                    as_json_line(
                        {
                            "face": one.face,
                            "time_s": round(one.time_s, 3),
                            "box": [round(v, 1) for v in one.box],
                            "score": round(one.score, 4),
                            "probability": round(one.probability, 4),
                            "speaking": one.speaking,
                        }
                    )
                )
            elif not self.quiet:
                self.say(one)

    def say(self, one: FaceScore) -> None:
        """A line where somebody has begun or stopped for long enough."""
        before = self.speaking.get(one.face, False)
        if one.speaking == before:
            self.since_s.pop(one.face, None)
            return
        since_s = self.since_s.setdefault(one.face, one.time_s)
        if one.time_s - since_s >= SHORTEST_S:
            self.speaking[one.face] = one.speaking
            self.since_s.pop(one.face)
            print_line(
                f"{since_s:8.2f} s  face {one.face} {'speaks' if one.speaking else 'is silent'}"
            )

    def late_s(self, share: float) -> float:
        """How late this share of scores was at most; 10 s stands for more."""
        seen = 0
        for steps, n in enumerate(self.late):
            seen += n
            if seen >= share * self.n_first:
                return steps / 100
        return 0.0

    def summary(self, left_out: int) -> dict[str, Any]:
        """In numbers; shares and delays are None where there are no scores."""
        return {
            "faces": len(self.told),
            "scores": self.n_final,
            "within_1_s": sum(self.late[:101]) / self.n_first if self.n_first else None,
            "late_95_s": self.late_s(0.95) if self.n_first else None,
            "pictures_left_out": left_out,
        }

"""Who is speaking before a visitor's camera: each has a process, a thread that feeds it, a queue.

The page sends a picture and the sound since the one before, over and over, and is answered with
what was found meanwhile. Pictures are decoded in a process that may be killed, and nothing is kept.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pushpull.app.jobs import UNEXPECTED, Worker, trouble_of
from pushpull.errors import ConfigError, MediaError, PushPullError
from pushpull.runtime.progress import Progress

if TYPE_CHECKING:
    from pushpull.detection import Live
    from pushpull.media.live_source import Resampler

__all__ = ["LiveSession", "Packet", "Watch"]

MOST_BYTES = 2**20
"""Of one packet."""
BEHIND, WAITING = 6, 100
"""Packets that wait: from the first on pictures are left out, beyond the second so is sound."""
QUIET_S = 6.0
"""A page that says nothing for so long is gone."""
KEPT_SCORES = 2000
RATES_HZ = (8000, 192_000)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What a page sends at a time.

    Attributes:
        picture_s: When the picture was taken, on the page's clock.
        picture: A JPEG, empty for none.
        sound_s: When the first sample was heard, on the same clock.
        sound: int16, little-endian, mono, empty for none.
        rate_hz: Of the sound.

    Examples:
        >>> from pushpull.app.live import Packet
        >>> packet = Packet.of({"rate": "48000", "sound": "4", "sound_s": "1.5"}, b"abcdJPEG")
        >>> packet.sound, packet.picture, packet.sound_s
        (b'abcd', b'JPEG', 1.5)
    """

    picture_s: float
    picture: bytes
    sound_s: float
    sound: bytes
    rate_hz: int

    @classmethod
    def of(cls, query: Mapping[str, str], body: bytes) -> Packet:
        """From a request: `sound` bytes of sound, the rest is the picture.

        Raises:
            ConfigError: If it is nothing that the page sends.
        """
        try:
            n_sound = int(query.get("sound", "0"))
            rate_hz = int(query.get("rate", "48000"))
            times_s = [float(query.get(name, "0")) for name in ("picture_s", "sound_s")]
        except ValueError:
            n_sound, rate_hz, times_s = -1, 0, []
        allowed = (
            0 <= n_sound <= len(body)
            and n_sound % 2 == 0
            and RATES_HZ[0] <= rate_hz <= RATES_HZ[1]
            and all(0 <= t < 1e6 for t in times_s)
        )
        if not allowed:
            raise ConfigError("expected the bytes of sound, its rate, and times from 0 s on")
        return cls(
            picture_s=times_s[0],
            picture=body[n_sound:],
            sound_s=times_s[1],
            sound=body[:n_sound],
            rate_hz=rate_hz,
        )


@dataclass(slots=True, kw_only=True)
class Watch:
    """What the process of a session does: a packet in, scores out.

    Attributes:
        detector: Known name or path.
        face_finder: As for `detect`.

    Examples:
        >>> import cv2
        >>> from pushpull.app.live import Watch
        >>> watch = Watch(detector="synthetic-a", face_finder="dlib")
        >>> watch({}, print)  # the first call loads the detector
        {'scores': []}
    """

    detector: str
    face_finder: str
    engine: Live | None = None
    resampler: Resampler | None = None
    size: tuple[int, int] | None = None

    def __call__(self, asked: Mapping[str, Any], report: Progress) -> dict[str, Any]:
        """Take a packet's values, none at first."""
        from pushpull.detection import Live
        from pushpull.media.live_source import Resampler, picture_of_jpeg

        if self.engine is None:
            self.engine = Live(self.detector, face_finder=self.face_finder, beside=True)
        found = []
        if asked.get("sound"):
            if self.resampler is None or self.resampler.rate_hz != asked["rate_hz"]:
                self.resampler = Resampler(asked["rate_hz"])
            samples = self.resampler.push(np.frombuffer(asked["sound"], "<i2").astype(np.int16))
            found += self.engine.push_audio(samples, asked["sound_s"])
        if asked.get("picture"):
            image = picture_of_jpeg(asked["picture"])
            self.size = self.size or image.shape[:2]
            if image.shape[:2] != self.size:
                raise MediaError("the picture has another size than before; start again")
            found += self.engine.push_video(image, asked["picture_s"])
        return {
            "scores": [
                {
                    "face": one.face,
                    "time_s": round(one.time_s, 3),
                    "box": [round(v, 1) for v in one.box],
                    "score": round(one.score, 3),
                    "final": one.final,
                }
                for one in found
            ]
        }


@dataclass(slots=True, eq=False)
class LiveSession:
    """One visitor's.

    Args:
        watch: What its process does.
        memory_bytes: Resident memory at which that is killed.

    Attributes:
        id: Made by the server.
        ready: Whether the detector is loaded.
        left_out: Pictures for which there was no time.
        message: Why it ended, empty if nothing went wrong.
        ended: Set at the end.

    Examples:
        >>> from pushpull.app.live import LiveSession, Watch
        >>> session = LiveSession(Watch(detector="synthetic-a", face_finder="dlib"), 2**32)
        >>> session.close()
        >>> session.taken()["ended"]
        True
    """

    watch: Watch
    memory_bytes: int
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    ready: bool = False
    left_out: int = 0
    message: str = ""
    ended: threading.Event = field(default_factory=threading.Event)
    waiting: deque[Packet] = field(default_factory=deque)
    scores: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_SCORES))
    change: threading.Condition = field(default_factory=threading.Condition)
    closing: bool = False
    heard_s: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Begin to load the detector."""
        threading.Thread(target=self._serve, name="live", daemon=True).start()

    def push(self, packet: Packet) -> None:
        """Take a packet; its picture is left out where too many wait."""
        with self.change:
            self.heard_s = time.monotonic()
            if packet.picture and (len(self.waiting) >= BEHIND or not self.ready):
                self.left_out += 1
                packet = Packet(
                    picture_s=0, picture=b"", sound_s=packet.sound_s, sound=packet.sound,
                    rate_hz=packet.rate_hz,
                )  # fmt: skip
            if (packet.picture or packet.sound) and len(self.waiting) < WAITING:
                self.waiting.append(packet)
                self.change.notify()

    def taken(self) -> dict[str, Any]:
        """What was found since this was last asked."""
        with self.change:
            scores = list(self.scores)
            self.scores.clear()
            return {
                "ready": self.ready,
                "scores": scores,
                "left_out": self.left_out,
                "ended": self.closing or self.ended.is_set(),
                "error": self.message,
            }

    def close(self) -> None:
        """End it; its process is killed within a moment."""
        with self.change:
            self.closing = True
            self.change.notify()

    def _serve(self) -> None:
        worker = Worker(self.watch)
        try:
            self._ask(worker, {})
            self.ready = True
            while (packet := self._next()) is not None:
                found = self._ask(worker, {name: getattr(packet, name) for name in FIELDS})
                with self.change:
                    self.scores.extend(found)
        except PushPullError as e:
            self.message = str(e)
        except Exception:
            log.exception("a live session failed")
            self.message = UNEXPECTED
        finally:
            worker.kill()
            self.ended.set()

    @property
    def over(self) -> bool:
        """Whether it was closed, or its page has gone."""
        return self.closing or time.monotonic() - self.heard_s > QUIET_S

    def _next(self) -> Packet | None:
        with self.change:
            while not self.waiting and not self.over:
                self.change.wait(0.5)
            return None if self.over else self.waiting.popleft()

    def _ask(self, worker: Worker, asked: dict[str, Any]) -> list[dict[str, Any]]:
        worker.send(asked)
        while (said := worker.receive(0.1)) is None:
            if self.over:
                return []
            reason = trouble_of(worker, self.memory_bytes)
            if reason is not None:
                raise MediaError(reason)
        if said[0] == "failed":
            raise MediaError(said[1])
        scores: list[dict[str, Any]] = said[1]["scores"]
        return scores


FIELDS = ("picture_s", "picture", "sound_s", "sound", "rate_hz")

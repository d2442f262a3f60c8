"""Drawing scores on pictures: boxes, names, probabilities, and who has spoken so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.turns import ScoredTrack

__all__ = ["Overlay"]

# Blue-green against orange stays apart for colour-blind eyes; the words repeat it.
SPEAKING_RGB = (46, 204, 113)
SILENT_RGB = (235, 94, 52)
INK_RGB = (20, 20, 20)


class Overlay:
    """Draws every track's box and state on the frames of one video.

    Args:
        tracks: Faces with their scores.
        height: Picture height in pixels; sets the size of lines and letters.

    Examples:
        >>> from pushpull.detection import Overlay, ScoredTrack
        >>> from pushpull.schema import Track
        >>> track = Track(
        ...     track_id=0,
        ...     frames=np.array([0]),
        ...     timestamps_s=np.array([0.0]),
        ...     boxes=np.array([[40.0, 20.0, 90.0, 85.0]]),
        ...     detected=np.array([True]),
        ... )
        >>> overlay = Overlay([ScoredTrack(track=track, scores=np.array([2.0]))], height=120)
        >>> picture = np.zeros((120, 160, 3), np.uint8)
        >>> bool(overlay.draw(picture, 0).any()), bool(picture.any())
        (True, False)
    """

    def __init__(self, tracks: Sequence[ScoredTrack], height: int) -> None:
        self.scale = height / 480
        self.by_frame: dict[int, list[tuple[ScoredTrack, int]]] = {}
        for scored in tracks:
            for position, frame in enumerate(scored.track.frames):
                self.by_frame.setdefault(int(frame), []).append((scored, position))

    def draw(self, image: NDArray[np.uint8], frame: int) -> NDArray[np.uint8]:
        """A copy of an RGB picture (H, W, 3) with the boxes of this frame."""
        image = image.copy()
        for scored, position in self.by_frame.get(frame, []):
            self._draw_face(image, scored, position)
        return image

    def _draw_face(self, image: NDArray[np.uint8], scored: ScoredTrack, position: int) -> None:
        import cv2

        speaking = bool(scored.speaking[position])
        colour = SPEAKING_RGB if speaking else SILENT_RGB
        thickness = max(1, round((3 if speaking else 2) * self.scale))
        x1, y1, x2, y2 = (round(float(v)) for v in scored.track.boxes[position])
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
        word = "speaking" if speaking else "silent"
        text = f"{scored.track.track_id} {word} {scored.probabilities[position]:.2f}"
        font, size = cv2.FONT_HERSHEY_SIMPLEX, max(0.3, 0.45 * self.scale)
        weight = max(1, round(self.scale))
        (width, height), base = cv2.getTextSize(text, font, size, weight)
        pad = max(2, round(3 * self.scale))
        # Above the box where there is room, inside it where the box touches the top.
        bottom = y1 if y1 - height - base - 2 * pad >= 0 else y1 + height + base + 2 * pad
        left = int(np.clip(x1, 0, max(0, image.shape[1] - width - 2 * pad)))
        top = bottom - height - base - 2 * pad
        cv2.rectangle(image, (left, top), (left + width + 2 * pad, bottom), colour, cv2.FILLED)
        origin = (left + pad, bottom - base - pad + 1)
        cv2.putText(image, text, origin, font, size, INK_RGB, weight, cv2.LINE_AA)

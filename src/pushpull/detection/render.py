"""Drawing scores on pictures: boxes, names, probabilities, and who has spoken so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pushpull.detection.turns import ScoredTrack
from pushpull.media import planes_of

__all__ = ["Label", "Overlay"]

# Blue-green against orange stays apart for colour-blind eyes; the words repeat it.
SPEAKING_RGB = (46, 204, 113)
SILENT_RGB = (235, 94, 52)
INK_RGB = (20, 20, 20)

LETTERS_OF_SIDE = 1 / 1200
LEAST_LETTERS = 0.45
"""Size of letters: so much of the picture's shorter side, and 10 pixels high at least."""

OVER_OTHERS, OVER_OWN, AWAY, ELSEWHERE, PLACE = 4.0, 1.0, 2.0, 0.5, 0.01
"""What a place for a label costs: shares of it over faces, heights away from its box, a change,
each place before it."""

BT709 = 1
BT709_SHARES, BT601_SHARES = (0.2126, 0.0722), (0.299, 0.114)
"""Of red and blue in luma."""

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is written beside a face.

    Attributes:
        track_id: The face.
        text: Its number, state and probability, or less where there is no room.
        speaking: Its state.
        box: Where: x1, y1, x2, y2 in pixels.

    Examples:
        >>> from pushpull.detection import Label
        >>> Label(track_id=0, text="0 speaking 0.93", speaking=True, box=(10, 4, 140, 22)).box[3]
        22
    """

    track_id: int
    text: str
    speaking: bool
    box: Box


class Overlay:
    """Draws every track's box and state on the frames of one video.

    Labels lie inside the picture and never over each other; they keep to where they were in the
    frame drawn before, if they can.

    Args:
        tracks: Faces with their scores.
        width: Of the picture in pixels.
        height: Likewise; the shorter side sets the size of lines and letters.

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
        >>> tracks = [ScoredTrack(track=track, scores=np.array([2.0]))]
        >>> overlay = Overlay(tracks, width=320, height=240)
        >>> picture = np.zeros((240, 320, 3), np.uint8)
        >>> bool(overlay.draw(picture, 0).any()), bool(picture.any())
        (True, False)
        >>> [label.text for label in overlay.labels(0)]
        ['0 speaking 0.88']
    """

    def __init__(self, tracks: Sequence[ScoredTrack], *, width: int, height: int) -> None:
        self.width, self.height = width, height
        side = min(width, height)
        self.letters = max(LEAST_LETTERS, side * LETTERS_OF_SIDE)
        self.weight = max(1, round(side / 600))
        self.pad = max(2, round(side / 200))
        self.line = max(1, round(side / 240))
        self.by_frame: dict[int, list[tuple[ScoredTrack, int]]] = {}
        for scored in tracks:
            for position, frame in enumerate(scored.track.frames):
                self.by_frame.setdefault(int(frame), []).append((scored, position))
        self._kept: dict[int, int] = {}
        self._sizes: dict[str, tuple[int, int, int]] = {}

    def draw(self, image: NDArray[np.uint8], frame: int) -> NDArray[np.uint8]:
        """A copy of an RGB picture (H, W, 3) with the boxes of this frame."""
        image = image.copy()
        same = {state: state for state in (SPEAKING_RGB, SILENT_RGB)}
        self._paint(image, frame, self.labels(frame), same, INK_RGB)
        return image

    def draw_yuv(self, packed: NDArray[np.uint8], frame: int, matrix: int) -> NDArray[np.uint8]:
        """The same on what `Frame.yuv` gives (3 H / 2, W), in place.

        Args:
            packed: Luma and halved colour.
            frame: Number of the frame.
            matrix: `VideoInfo.matrix` of the video.
        """
        labels = self.labels(frame)
        for plane, (layer, shrink) in enumerate(zip(planes_of(packed), (1, 2, 2), strict=True)):
            colours = {rgb: (stored(rgb, matrix)[plane],) for rgb in (SPEAKING_RGB, SILENT_RGB)}
            # Letters are dark: that is luma.
            ink = (stored(INK_RGB, matrix)[0],) if plane == 0 else None
            self._paint(layer, frame, labels, colours, ink, shrink)
        return packed

    def _paint(
        self,
        layer: NDArray[np.uint8],
        frame: int,
        labels: Sequence[Label],
        colours: Mapping[Colour, Sequence[int]],
        ink: Sequence[int] | None,
        shrink: int = 1,
    ) -> None:
        """Boxes and labels on a picture or a plane of it, which may be smaller by a factor."""
        import cv2

        for scored, position in self.by_frame.get(frame, []):
            speaking = bool(scored.speaking[position])
            x1, y1, x2, y2 = (v // shrink for v in _rounded(scored.track.boxes[position]))
            thickness = self.line + speaking * max(1, self.line // 2)
            colour = colours[SPEAKING_RGB if speaking else SILENT_RGB]
            weight = max(1, round(thickness / shrink))
            cv2.rectangle(layer, (x1, y1), (x2, y2), colour, weight, cv2.LINE_AA)
        for label in labels:
            x1, y1, x2, y2 = (v // shrink for v in label.box)
            colour = colours[SPEAKING_RGB if label.speaking else SILENT_RGB]
            cv2.rectangle(layer, (x1, y1), (x2 - 1, y2 - 1), colour, cv2.FILLED)
            if ink is not None:
                base = self._size(label.text)[2]
                place = (x1 + self.pad, y2 - self.pad - base)
                font = cv2.FONT_HERSHEY_SIMPLEX
                cv2.putText(
                    layer, label.text, place, font, self.letters, ink, self.weight, cv2.LINE_AA
                )

    def labels(self, frame: int) -> list[Label]:
        """What is written in a frame, and where."""
        faces = self.by_frame.get(frame, [])
        boxes = np.array([scored.track.boxes[i] for scored, i in faces]).reshape(-1, 4)
        placed: list[Label] = []
        for k, (scored, position) in enumerate(faces):
            number, speaking = scored.track.track_id, bool(scored.speaking[position])
            shown = scored.speaker
            share = f"{scored.probabilities[position]:.2f}"
            word = "speaking" if speaking else "silent"
            for text in (f"{shown} {word} {share}", f"{shown} {share}", f"{shown}"):
                spot = self._place(text, number, boxes, k, [label.box for label in placed])
                if spot is not None:
                    placed.append(Label(track_id=number, text=text, speaking=speaking, box=spot))
                    break
        return placed

    def _size(self, text: str) -> tuple[int, int, int]:
        """Width and height of a label with its margins, and how far letters reach below."""
        import cv2

        # Of a face there are two hundred: its name, its state and a share in percent.
        if text not in self._sizes:
            (width, height), base = cv2.getTextSize(
                text, cv2.FONT_HERSHEY_SIMPLEX, self.letters, self.weight
            )
            below = max(1, base // 2)
            size = width + 2 * self.pad, height + below + 2 * self.pad, below
            self._sizes[text] = size
        return self._sizes[text]

    def _place(
        self, text: str, number: int, boxes: NDArray[np.float64], own: int, taken: Sequence[Box]
    ) -> Box | None:
        """The cheapest free place for a label; None where there is no room for it."""
        width, height, _ = self._size(text)
        if width > self.width or height > self.height:
            return None
        kept = self._kept.get(number)
        spot = self._in_nobodys_way(kept, (width, height), boxes, own, taken)
        if spot is not None:
            self._kept[number] = kept or 0
            return spot
        corners = _corners(boxes[own], width, height)
        corners = np.clip(corners, 0, [self.width - width, self.height - height])
        spots = np.concatenate([corners, corners + np.array([width, height])], axis=1)
        over = _common(spots, boxes) / (width * height)
        cost = PLACE * np.arange(len(spots)) + OVER_OTHERS * np.delete(over, own, 1).sum(1)
        cost += OVER_OWN * over[:, own] + AWAY * _apart(spots, boxes[own]) / height
        if kept is not None:
            cost += ELSEWHERE * (np.arange(len(spots)) != kept)
        if taken:
            cost[_common(spots, np.array(taken, float)).sum(1) > 0] = np.inf
        best = int(cost.argmin())
        if not np.isfinite(cost[best]):
            return None
        self._kept[number] = best
        x1, y1, x2, y2 = spots[best].tolist()
        return x1, y1, x2, y2

    def _in_nobodys_way(
        self,
        kept: int | None,
        size: tuple[int, int],
        boxes: NDArray[np.float64],
        own: int,
        taken: Sequence[Box],
    ) -> Box | None:
        """The place kept, or the first, where no other can be cheaper.

        That is most labels of most frames, and to weigh all places takes longer than to draw.
        """
        place = kept or 0
        width, height = size
        columns, rows = _columns_and_rows(boxes[own], width, height)
        x, y = columns[place % len(columns)], rows[place // len(columns)]
        spot = x, y, x + width, y + height
        if x < 0 or y < 0 or spot[2] > self.width or spot[3] > self.height:
            return None
        faces = boxes.tolist()
        x1, y1, x2, y2 = face = faces.pop(own)
        if any(_shared(spot, other) > 0 for other in (*faces, *taken)):
            return None
        gaps = max(x1 - spot[2], spot[0] - x2), max(y1 - spot[3], spot[1] - y2)
        cost = PLACE * place + AWAY * sum(max(gap - 1, 0.0) for gap in gaps) / height
        # Ends of boxes lie between pixels: a place beside a face may cover a hair of it.
        cost += OVER_OWN * _shared(spot, face) / (width * height)
        return spot if cost < (PLACE if kept is None else ELSEWHERE) else None


def stored(rgb: Colour, matrix: int) -> tuple[int, int, int]:
    """A colour as luma and colour of limited range (ITU-R BT.709 3.5; BT.601 for other matrices).

    Examples:
        >>> from pushpull.detection.render import stored
        >>> stored((255, 255, 255), 1), stored((0, 0, 0), 1)
        ((235, 128, 128), (16, 128, 128))
    """
    red, green, blue = (v / 255 for v in rgb)
    of_red, of_blue = BT709_SHARES if matrix == BT709 else BT601_SHARES
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    return (
        round(16 + 219 * luma),
        round(128 + 112 * (blue - luma) / (1 - of_blue)),
        round(128 + 112 * (red - luma) / (1 - of_red)),
    )


def _rounded(box: NDArray[np.float64]) -> list[int]:
    return [round(float(v)) for v in box]


def _columns_and_rows(
    box: NDArray[np.float64], width: int, height: int
) -> tuple[list[int], list[int]]:
    """Left and upper ends of labels about a box, the best first."""
    x1, y1, x2, y2 = _rounded(box)
    columns = [x1, x2 - width, (x1 + x2 - width) // 2, x1 - width, x2]
    rows = [y1 - height, y2, y1, y2 - height]
    rows += [y for k in range(1, 5) for y in (y1 - (k + 1) * height, y2 + k * height)]
    rows += [(y1 + y2 - height) // 2]
    return columns, rows


def _corners(box: NDArray[np.float64], width: int, height: int) -> NDArray[np.int64]:
    """Upper left corners (N, 2) of labels about a box, the best first."""
    columns, rows = _columns_and_rows(box, width, height)
    return np.column_stack([np.tile(columns, len(rows)), np.repeat(rows, len(columns))])


def _shared(one: Sequence[float], other: Sequence[float]) -> float:
    """Common area of two boxes."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _common(spots: NDArray[np.int64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Common area of each spot with each box (N, M)."""
    low = np.maximum(spots[:, None, :2], boxes[None, :, :2])
    high = np.minimum(spots[:, None, 2:], boxes[None, :, 2:])
    sides = np.maximum(high - low, 0).astype(float)
    found: NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return found


def _apart(spots: NDArray[np.int64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each spot is from a box (N,), 0 where they touch."""
    gaps = np.maximum(box[:2] - spots[:, 2:], spots[:, :2] - box[2:])
    found: NDArray[np.float64] = np.clip(gaps - 1, 0, None).sum(1)
    return found

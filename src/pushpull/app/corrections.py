"""Turns after the fact: at another threshold, and as somebody corrected them, as labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pushpull.runtime.files import written_whole
from pushpull.runtime.progress import Progress

__all__ = ["turns_at", "write_labels"]

JUST_S = 1e-6


def turns_at(asked: Mapping[str, Any], report: Progress) -> dict[str, Any]:
    """Turns of each face where another probability decides, as `pushpull detect --threshold`.

    Args:
        asked: `threshold`, and `faces`, each with `times_s` and `scores`.
        report: Not told anything: it takes a moment.

    Returns:
        `faces`: for each its turns, start and end in seconds.

    Examples:
        >>> from pushpull.app.corrections import turns_at
        >>> face = {"times_s": [i / 25 for i in range(20)], "scores": [3.0] * 10 + [1.0] * 10}
        >>> turns_at({"threshold": 0.5, "faces": [face]}, print)
        {'faces': [[[0.0, 0.8]]]}
        >>> turns_at({"threshold": 0.9, "faces": [face]}, print)
        {'faces': [[[0.0, 0.4]]]}
    """
    from pushpull.detection import TurnRules, turns_of

    rules = TurnRules(threshold=asked["threshold"])
    return {
        "faces": [
            [
                [round(turn.start_s, 4), round(turn.end_s, 4)]
                for turn in turns_of(
                    np.asarray(face["times_s"], float), np.asarray(face["scores"], float), rules
                )
            ]
            for face in asked["faces"]
        ]
    }


def write_labels(asked: Mapping[str, Any], report: Progress) -> dict[str, Any]:
    r"""Labels of a detection as turns have them: an AVA csv of truth, to score detectors against.

    Args:
        asked: `labels`, the csv that detection wrote; `turns` by entity; `out`, the file to write.
        report: Not told anything: it takes a moment.

    Returns:
        `rows` and how many of them are `speaking`.

    Raises:
        AnnotationError: If the csv cannot be read.
        OutputError: If the file cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.app.corrections import write_labels
        >>> rows = [f"talk,{i / 25},0.1,0.1,0.4,0.6,NOT_SPEAKING,talk:0" for i in range(5)]
        >>> _ = Path("talk.labels.csv").write_text("\n".join(rows))
        >>> asked = {"labels": "talk.labels.csv", "out": "mine.csv"}
        >>> write_labels(asked | {"turns": {"talk:0": [[0, 0.08]]}}, print)
        {'rows': 5, 'speaking': 2}
    """
    from pushpull.annotations import read_table, write_truth

    table = read_table(asked["labels"])
    entities = [table.entities[code] for code in table.entity.tolist()]
    # A picture speaks if it begins inside a turn: a turn ends when its last picture is over.
    speaking = np.zeros(len(table), bool)
    for code, entity in enumerate(table.entities):
        own = table.entity == code
        for start_s, end_s in asked["turns"].get(entity, []):
            begins = table.timestamps_s
            speaking |= own & (begins >= start_s - JUST_S) & (begins < end_s - JUST_S)
    with written_whole(Path(asked["out"])) as temporary:
        write_truth(
            temporary,
            video_id=[table.videos[code] for code in table.video.tolist()],
            entity_ids=entities,
            timestamps_s=table.timestamps_s,
            boxes=table.boxes,
            speaking=speaking,
        )
    return {"rows": len(table), "speaking": int(speaking.sum())}

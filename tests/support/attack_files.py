"""Label files made from what detection wrote."""

from collections.abc import Sequence
from pathlib import Path


def relabelled(predictions: Path, target: Path, speaking: Sequence[bool]) -> Path:
    """The rows of a predictions csv with labels of our own instead of scores."""
    head, *rows = predictions.read_text().splitlines()
    names = head.split(",")
    label, score = names.index("label"), names.index("score")
    lines = [",".join(n for n in names if n != "score")]
    for row, value in zip(rows, speaking, strict=True):
        fields = row.split(",")
        fields[label] = "SPEAKING_AUDIBLE" if value else "NOT_SPEAKING"
        lines.append(",".join(f for i, f in enumerate(fields) if i != score))
    target.write_text("\n".join(lines) + "\n")
    return target

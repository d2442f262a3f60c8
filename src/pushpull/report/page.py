"""One self-contained HTML page of an experiment: no network, no other file."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pushpull.report.figures import (
    draw_beyond,
    draw_embeddings,
    draw_figure3,
    draw_figure4,
    draw_map,
    draw_sample,
)
from pushpull.report.rendering import rendered
from pushpull.runtime.files import written_whole
from pushpull.schema import SAMPLE_RATE_HZ, int16_samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["opening", "write_page"]

Arrays = Mapping[str, NDArray[Any]]
LOSES = 0.1
"""Average precision between PGD and the worst of all attacks from which PGD's number misleads."""
FEW_TRACKS = 24
"""Tracks below which an audit that breaks nothing is no more than a first look."""


def write_page(
    results: Mapping[str, Any],
    path: Path,
    *,
    embeddings: Mapping[str, Arrays],
    samples: Mapping[str, list[Arrays]],
    audit_figures: Mapping[str, Mapping[str, Figure]],
) -> None:
    """Write the page.

    Args:
        results: What results.json holds.
        path: File to write.
        embeddings: By row, arrays as `pushpull.report.figures.draw_embeddings` takes them.
        samples: By row, arrays as `draw_sample` takes them.
        audit_figures: By row and name, drawings of the audit.

    Raises:
        OutputError: If it cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.report.page import write_page
        >>> results = {"what": "all", "name": "tiny", "findings": [], "samples": {}, "norms": {}}
        >>> results |= {"preset": {"model": {}}, "given_data": None, "data": None, "audits": {}}
        >>> results |= {"command": "pushpull reproduce", "versions": {}, "machine": "a laptop"}
        >>> results |= {"training": {}, "stages": []}
        >>> write_page(results, Path("report.html"), embeddings={}, samples={}, audit_figures={})
        >>> "Push-Pull reproduced" in Path("report.html").read_text()
        True
    """
    pictures: dict[str, str] = {}
    if "figure3" in results:
        pictures["figure3"] = _png(draw_figure3(results["figure3"]))
        pictures["beyond"] = _png(draw_beyond(results["figure3"]))
    if "figure4" in results:
        pictures["figure4"] = _png(draw_figure4(results["figure4"]))
    if "map" in results:
        pictures["map"] = _png(draw_map(results["map"]))
    if embeddings:
        pictures["embeddings"] = _png(draw_embeddings(embeddings))
    page = rendered(
        "pushpull.report",
        "report.html",
        {"number": _number, "percent": _percent, "shade": _shade, "verdict": _verdict},
        r=results,
        opening=opening(results),
        pictures=pictures,
        samples=[
            {
                "row": row,
                **about,
                "picture": _png(
                    draw_sample(arrays, f"row {row}, {about['track_id']} ({about['case']})")
                ),
                "clean_wav": _wav(arrays["clean_waveform"]),
                "wav": _wav(arrays["waveform"]),
            }
            for row, of_row in samples.items()
            for arrays, about in zip(of_row, results["samples"][row], strict=True)
        ],
        audits={
            row: {"record": record, "pictures": {
                name: _png(figure) for name, figure in audit_figures.get(row, {}).items()
            }}
            for row, record in results.get("audits", {}).items()
        },
        settings=json.dumps(results["preset"], indent=1),
    )  # fmt: skip
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def opening(results: Mapping[str, Any]) -> list[str]:
    """The first paragraph: what the numbers say, neither softer nor harder.

    Examples:
        >>> from pushpull.report.page import opening
        >>> opening({"findings": [{"reproduced": "yes"}, {"reproduced": "open"}]})
        ['Of 2 statements checked 1 were reproduced, 0 were not, 1 are open.']
    """
    lines = []
    if "table1" in results:
        rows = {r["row"]: r for r in results["table1"]["rows"]}
        for name in ("D3", "E3", "B3", "A"):
            if name in rows:
                audit = results.get("audits", {}).get(name)
                lines.append(_row_line(name, rows[name], audit, results["table1"]["chance"]["all"]))
    said = [f["reproduced"] for f in results["findings"]]
    if said:
        lines.append(
            f"Of {len(said)} statements checked {said.count('yes')} were reproduced, "
            f"{said.count('no')} were not, {said.count('open')} are open."
        )
    return lines


def _row_line(
    name: str, row: Mapping[str, Any], audit: Mapping[str, Any] | None, chance: float
) -> str:
    training = "" if row["training"] == "-" else f", trained against {row['training']}"
    if not row["learnt"]:
        return f"Row {name} ({row['loss']}{training}): has not learnt to tell who speaks."
    clean, pgd, least = (
        row["columns"][c]["all"]["average_precision"] for c in ("clean", "pgd", "worst")
    )
    text = (
        f"Row {name} ({row['loss']}{training}): {100 * clean:.1f} mAP, {100 * pgd:.1f} under the "
        f"paper's PGD, {100 * least:.1f} under the worst of all attacks for each track (chance "
        f"{100 * chance:.1f})"
    )
    if audit is not None:
        text += f"; the audit's verdict {_verdict(audit)}"
    if pgd - least > LOSES:
        text += f". PGD alone would have flattered it by {100 * (pgd - least):.0f} points"
    return text + "."


def _verdict(audit: Mapping[str, Any]) -> str:
    """The word, with how much it rests on."""
    word, clips = audit["verdict"]["word"], audit["clips"]
    text = f"on {clips['tracks']} tracks, {clips['frames']} frames: {word}"
    if word == "holds" and clips["tracks"] < FEW_TRACKS:
        text += " (so few that more tracks may well show otherwise)"
    return text


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001


def _percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, without the sign."""
    return _number(None if share is None else 100 * share, digits)


def _shade(share: float | None) -> str:
    """A background from red (0) to green (1)."""
    return "transparent" if share is None else f"hsl({120 * share:.0f} 60% 50% / 0.25)"


def _png(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return base64.b64encode(data.getvalue()).decode()


def _wav(waveform: NDArray[Any]) -> str:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(int16_samples(waveform).tobytes())
    return base64.b64encode(data.getvalue()).decode()

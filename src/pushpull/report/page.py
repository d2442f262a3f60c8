"""One self-contained HTML page of an experiment: no network, no other file."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pushpull.report.figures import (
    draw_beyond,
    draw_embeddings,
    draw_figure3,
    draw_figure4,
    draw_map,
    draw_sample,
)
from pushpull.report.rendering import encoded, picture, rendered
from pushpull.runtime.files import written_whole
from pushpull.schema import SAMPLE_RATE_HZ, int16_samples

__all__ = ["figure3_rows", "opening", "sentence", "write_page"]

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
    audit_pictures: Mapping[str, Sequence[Mapping[str, str]]],
) -> None:
    """Write the page.

    Args:
        results: What results.json holds.
        path: File to write.
        embeddings: By row, arrays as `pushpull.report.figures.draw_embeddings` takes them.
        samples: By row, arrays as `draw_sample` takes them.
        audit_pictures: By row, drawings of its audit as `pushpull.report.rendering.picture` makes
            them.

    Raises:
        OutputError: If it cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.report.page import write_page
        >>> results = {"what": "all", "name": "tiny", "findings": [], "samples": {}, "norms": {}}
        >>> results |= {"preset": {"model": {}}, "given_data": None, "data": None, "audits": {}}
        >>> results |= {"command": "pushpull reproduce", "versions": {}, "machine": "a laptop"}
        >>> results |= {"training": {}, "stages": []}
        >>> write_page(results, Path("report.html"), embeddings={}, samples={}, audit_pictures={})
        >>> "Push-Pull reproduced" in Path("report.html").read_text()
        True
    """
    page = rendered(
        "pushpull.report",
        "report.html",
        {"number": _number, "percent": _percent, "shade": _shade, "verdict": _verdict},
        r=results,
        sentence=sentence(results),
        tone=_tone(results),
        lines=opening(results)[1:] if results["findings"] else opening(results),
        pictures=list(_pictures(results, embeddings)),
        samples=[
            {
                "row": row,
                **about,
                "picture": _sample(row, about, arrays),
                "clean_wav": _wav(arrays["clean_waveform"]),
                "wav": _wav(arrays["waveform"]),
            }
            for row, of_row in samples.items()
            for arrays, about in zip(of_row, results["samples"][row], strict=True)
        ],
        audits={
            row: {"record": record, "pictures": audit_pictures.get(row, ())}
            for row, record in results.get("audits", {}).items()
        },
        settings=json.dumps(results["preset"], indent=1),
        json=encoded(json.dumps(results, indent=1)),
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _pictures(
    results: Mapping[str, Any], embeddings: Mapping[str, Arrays]
) -> Iterator[dict[str, str]]:
    """Drawings of results, each with what it shows in words and its numbers."""
    if "map" in results:
        weights = results["map"]
        able = [c for c in weights["cells"] if c["learnt"]]
        yield picture(
            draw_map(weights),
            name="map",
            alt=f"mAP by weights of L1 and L4, clean, under PGD and under the standard attack: "
            f"{len(weights['cells'])} cells of which {len(able)} have learnt. "
            + "; ".join(_cell_words(c) for c in able),
            caption="Each cell is a training from scratch with these weights of L1 and L4. The one "
            "that keeps most under PGD on validation is framed; one that has not learnt is crossed "
            "out: what it keeps under attack says nothing.",
            rows=_map_rows(weights),
        )
    if "figure3" in results:
        figure = results["figure3"]
        pgd = figure["curves"].get("pgd", [])
        said = "; ".join(f"{_percent(p['average_precision'])} at {p['eps']:g}" for p in pgd)
        counted = (
            f"{figure['tracks']['speaking']} mostly speaking and {figure['tracks']['other']} other "
            f"tracks, {figure['frames']} of {figure['of_frames']} frames are predicted correctly "
            "and counted (the paper: 225 and 225 tracks)."
        )
        for name, draw, what in (
            ("figure3", draw_figure3, "Figure 3: row A under growing budgets."),
            ("beyond", draw_beyond, "Row A beyond the paper's budgets, until nothing is left."),
        ):
            yield picture(
                draw(figure),
                name=name,
                alt=f"{what} mAP in percent by eps_av under the joint PGD: {said}; chance is "
                f"{_percent(figure['floor'])}",
                caption=f"{what} {counted}",
                rows=figure3_rows(figure),
            )
    if "figure4" in results:
        bars = results["figure4"]
        yield picture(
            draw_figure4(bars),
            name="figure4",
            alt="mAP in percent, training-aware and inference-aware: "
            + "; ".join(
                f"{attack} on {row} {_percent(two['training-aware'][row])} and "
                f"{_percent(two['inference-aware'][row])}"
                for attack, two in bars["bars"].items()
                for row in bars["rows"]
            ),
            caption="Figure 4: training-aware attacks climb the loss of all heads, inference-aware "
            f"ones that of the head that decides. Counted are the {bars['frames']} frames that all "
            "these models get right.",
            rows=[
                ("attack", "kind", "row", "average_precision"),
                *(
                    (attack, kind, row, "" if value is None else value)
                    for attack, two in bars["bars"].items()
                    for kind, of in two.items()
                    for row, value in of.items()
                ),
            ],
        )
    if embeddings:
        norms = results["norms"]
        columns = ("audio_norm", "visual_norm", "pair_distance", "margin", "margin_99")
        yield picture(
            draw_embeddings(embeddings),
            name="embeddings",
            alt="Embeddings of sound and faces by class, clean and attacked. Mean distance of a "
            "pair: "
            + "; ".join(
                f"row {row} {kind} {n['pair_distance']:.2f}"
                for row, kinds in norms.items()
                for kind, n in kinds.items()
            ),
            caption="e_a and e_v of frames on the two main axes of the clean ones, by class, clean "
            "and under PGD. AVIL is to pull frames of a class together and push the classes apart.",
            rows=[
                ("row", "kind", *columns),
                *(
                    (row, kind, *(n[name] for name in columns))
                    for row, kinds in norms.items()
                    for kind, n in kinds.items()
                ),
            ],
        )


def _cell_words(cell: Mapping[str, Any]) -> str:
    left = ", ".join(
        f"{name} {_percent(cell[key]['average_precision'])}"
        for key, name in (("clean", "clean"), ("pgd", "PGD"), ("suite", "standard attack"))
        if cell[key] is not None
    )
    return f"L1 {cell['l1']:g}, L4 {cell['l4']:g}: {left}"


def _map_rows(weights: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    yield ("l1", "l4", "learnt", "attack", "average_precision", "low", "high")
    for cell in weights["cells"]:
        for name in ("clean", "pgd", "suite"):
            if (left := cell[name]) is not None:
                own = (cell["l1"], cell["l4"], cell["learnt"], name)
                yield (*own, left["average_precision"], *left["interval"])


def figure3_rows(figure: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    """The numbers of Figure 3 below a header, for its csv.

    Examples:
        >>> from pushpull.report.page import figure3_rows
        >>> point = {"eps": 5, "average_precision": 0.5, "interval": None, "accuracy": None}
        >>> list(figure3_rows({"curves": {"pgd": [point]}}))[1]
        ('pgd', 5, 0.5, '', '', '')
    """
    yield ("curve", "eps_av", "average_precision", "low", "high", "accuracy")
    for curve, points in figure["curves"].items():
        for point in points:
            low, high = point["interval"] or ("", "")
            ap, accuracy = (
                "" if point[k] is None else point[k] for k in ("average_precision", "accuracy")
            )
            yield (curve, point["eps"], ap, low, high, accuracy)


def _sample(row: str, about: Mapping[str, Any], arrays: Arrays) -> dict[str, str]:
    clean, attacked = arrays["clean_score"], arrays["score"]
    speaking = arrays["speaking"] == 1
    right = [int(((score > 0) == speaking).sum()) for score in (clean, attacked)]
    return picture(
        draw_sample(arrays, f"row {row}, {about['track_id']} ({about['case']})"),
        name=f"sample-{row}-{about['track_id']}".replace(":", "-"),
        alt=f"Faces as they were, attacked, and their difference; the sound and its change; scores "
        f"of {len(speaking)} frames, {right[0]} of them right when clean and {right[1]} attacked",
        caption=f"SNR {_number(about['snr_db'])} dB, PSNR {_number(about['psnr_db'])} dB, SSIM "
        f"{_number(about['ssim'], 5)}.",
        rows=[
            ("frame", "speaking", "clean_score", "attacked_score"),
            *(
                (n, int(truth), float(one), float(other))
                for n, (truth, one, other) in enumerate(zip(speaking, clean, attacked, strict=True))
            ),
        ],
    )


def sentence(results: Mapping[str, Any]) -> str:
    """The verdict: how many of the paper's statements were reproduced.

    Examples:
        >>> from pushpull.report.page import sentence
        >>> sentence({"findings": []})
        'No statement of the paper was checked in this run.'
    """
    said = [f["reproduced"] for f in results["findings"]]
    if not said:
        return "No statement of the paper was checked in this run."
    return (
        f"Of {len(said)} statements checked {said.count('yes')} were reproduced, "
        f"{said.count('no')} were not, {said.count('open')} are open."
    )


def _tone(results: Mapping[str, Any]) -> str:
    """What most statements came to: the colour of the verdict."""
    said = [f["reproduced"] for f in results["findings"]]
    return max(("open", "no", "yes"), key=said.count) if said else "open"


def opening(results: Mapping[str, Any]) -> list[str]:
    """The first lines: what the numbers say, neither softer nor harder, the verdict first.

    Examples:
        >>> from pushpull.report.page import opening
        >>> opening({"findings": [{"reproduced": "yes"}, {"reproduced": "open"}]})
        ['Of 2 statements checked 1 were reproduced, 0 were not, 1 are open.']
    """
    lines = [sentence(results)] if results["findings"] else []
    if "table1" in results:
        rows = {r["row"]: r for r in results["table1"]["rows"]}
        for name in ("D3", "E3", "B3", "A"):
            if name in rows:
                audit = results.get("audits", {}).get(name)
                lines.append(_row_line(name, rows[name], audit, results["table1"]["chance"]["all"]))
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


def _wav(waveform: NDArray[Any]) -> str:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(int16_samples(waveform).tobytes())
    return encoded(data.getvalue())

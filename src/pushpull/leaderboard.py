"""Results under one protocol, in one JSON file and on the page that is made of it.

    entry = add_entry("leaderboard.json", "out/results.json", defence="PGD training", by="us")

An entry is made of what `evaluate` and `audit` wrote, never by hand. What docs/protocol.md asks for
is checked when it is added and again whenever the file is read; a second entry of the same detector
on the same data under the same attack takes the place of the first only where that is asked for.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pushpull.errors import ConfigError, OutputExists, RecordError
from pushpull.report.tables import as_markdown, percent
from pushpull.runtime.files import output_dir, read_text, written_whole
from pushpull.runtime.records import read_json, write_json

__all__ = [
    "ATTACKS",
    "PROTOCOL",
    "SCHEMA",
    "add_entry",
    "entry_of",
    "page_of",
    "problems_of",
    "read_board",
    "write_board",
]

PROTOCOL = 1
"""Version of docs/protocol.md that entries follow."""

ATTACKS = ("suite-1", "suite-2")
"""Versions of the suite whose results are taken, each in tables of its own."""

EPS_AV = (1.0, 2.0, 3.0, 4.0, 5.0)
"""Push-Pull's budgets."""

VERDICTS = ("masked", "broken", "overstated", "holds", "inconclusive")
"""Words of audits, said here so that a board is read without importing torch."""

UNITS = {"audio": 1e-4, "visual": 1e-1}
INTERVALS = ("tracks", "videos", "people")
MARK = "<!-- made by `pushpull leaderboard add`; changes by hand are lost -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What a field of an entry has to be.

    Attributes:
        holds: Whether a value will do.
        expected: In words.
        required: Whether it may not be missing or null.

    Examples:
        >>> from pushpull.leaderboard import SCHEMA
        >>> field = SCHEMA["attacked.accuracy"]
        >>> field.holds(0.5), field.holds(50), field.expected
        (True, False, 'a share, 0 to 1')
    """

    holds: Callable[[Any], bool]
    expected: str
    required: bool = True


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _number(value: Any) -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and math.isfinite(value)


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _interval(value: Any) -> bool:
    pair = isinstance(value, (list, tuple)) and len(value) == 2
    return pair and all(map(_share, value)) and value[0] <= value[1]


def _date(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.date.fromisoformat(value))
    except ValueError:
        return False


def _budget(value: Any) -> bool:
    return isinstance(value, Mapping) and _eps_av(value) in EPS_AV


def _one_of(*values: Any) -> Field:
    return Field(holds=lambda v: v in values, expected=" or ".join(map(str, values)))


def _rates(kind: str) -> dict[str, Field]:
    share, count = Field(holds=_share, expected="a share, 0 to 1"), "a whole number above 0"
    return {
        f"{kind}.average_precision": share,
        f"{kind}.interval": Field(holds=_interval, expected="two shares, the lower first"),
        f"{kind}.interval_over": _one_of(*INTERVALS),
        f"{kind}.accuracy": share,
        f"{kind}.tracks": Field(holds=_count, expected=count),
        f"{kind}.frames": Field(holds=_count, expected=count),
    }


TEXT = Field(holds=_text, expected="some words")

SCHEMA: dict[str, Field] = {
    "name": TEXT,
    "defence": TEXT,
    "by": TEXT,
    "reproduce": TEXT,
    "added": Field(holds=_date, expected="a day as 2026-01-31"),
    "protocol": _one_of(PROTOCOL),
    "detector.name": TEXT,
    "detector.model": TEXT,
    "detector.sha256": Field(
        holds=lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{64}", v) is not None,
        expected="a checksum of 64 hexadecimal digits",
    ),
    "data.name": TEXT,
    "data.split": _one_of("train", "val", "test"),
    "data.tracks": Field(holds=_count, expected="a whole number above 0"),
    "attack.attack": _one_of("suite"),
    "attack.version": _one_of(*ATTACKS),
    "attack.eps": Field(
        holds=_budget,
        expected=f"audio and visual of an eps_av of {', '.join(f'{e:g}' for e in EPS_AV)}",
    ),
    "attack.modality": _one_of("both"),
    "attack.norm": _one_of("linf"),
    "attack.targeted": _one_of(False),
    "attack.air": Field(holds=lambda v: False, expected="none", required=False),
    **_rates("clean"),
    **_rates("attacked"),
    "audit.verdict": Field(
        holds=lambda v: v in VERDICTS,
        expected=" or ".join(VERDICTS),
        required=False,
    ),
    "audit.sentence": Field(holds=_text, expected="some words", required=False),
    "cost.clean_s": Field(holds=_number, expected="seconds"),
    "cost.attacked_s": Field(holds=_number, expected="seconds"),
    "versions.pushpull": TEXT,
}
"""Fields of an entry, by their place, and what each has to be."""


def problems_of(entry: Mapping[str, Any]) -> list[str]:
    """What keeps an entry from being taken, each with what was got and expected; empty if nothing.

    Examples:
        >>> from pushpull.leaderboard import SCHEMA, problems_of
        >>> found = problems_of({"name": "mine", "attacked": {"accuracy": 98.2}})
        >>> [line for line in found if "accuracy" in line][1]
        'attacked.accuracy is 98.2; expected a share, 0 to 1'
    """
    found = []
    for place, field in SCHEMA.items():
        value = _at(entry, place)
        if value is None:
            if field.required:
                found.append(f"{place} is missing; expected {field.expected}")
        elif not field.holds(value):
            found.append(f"{place} is {value!r}; expected {field.expected}")
    same = [(_at(entry, f"clean.{n}"), _at(entry, f"attacked.{n}")) for n in ("tracks", "frames")]
    if not found and any(clean != attacked for clean, attacked in same):
        found.append(f"clean and attacked are of different tracks or frames ({same})")
    tracks, of = _at(entry, "attacked.tracks"), _at(entry, "data.tracks")
    if not found and tracks != of:
        found.append(f"the result is of {tracks} of {of} tracks; expected the whole split")
    return found


def entry_of(
    result: Mapping[str, Any],
    *,
    defence: str,
    by: str,
    name: str | None = None,
    reproduce: str | None = None,
    audit: Mapping[str, Any] | None = None,
    added: str | None = None,
) -> dict[str, Any]:
    """The entry that a record of `evaluate` makes.

    Args:
        result: The record.
        defence: What makes the detector robust, in a few words; "none" where nothing does.
        by: Who ran it.
        name: What the entry is called; the detector's name by default.
        reproduce: Commands that lead to the record; that of the evaluation by default.
        audit: The record of an audit of the same detector on the same data.
        added: Day, as 2026-01-31; today by default.

    Raises:
        RecordError: If the record does not follow the protocol, or the audit is of something else.

    Examples:
        >>> from pushpull.leaderboard import entry_of
        >>> entry_of({"detector": {"name": "mine"}, "attack": None}, defence="none", by="me")
        Traceback (most recent call last):
            ...
        pushpull.errors.RecordError: the result was not attacked; expected one of `pushpull evaluate
        ... --attack suite`
    """
    attack, adversarial = result.get("attack"), result.get("adversarial")
    if not isinstance(attack, Mapping) or not isinstance(adversarial, Mapping):
        raise RecordError(
            "the result was not attacked; expected one of `pushpull evaluate ... --attack suite`"
        )
    detector, data, clean = (_table(result.get(name)) for name in ("detector", "data", "clean"))
    entry: dict[str, Any] = {
        "name": name or detector.get("name"),
        "defence": defence,
        "by": by,
        "added": added or datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "protocol": PROTOCOL,
        "detector": detector,
        "data": data,
        "attack": dict(attack),
        "clean": _rates_of(clean),
        "attacked": _rates_of(adversarial),
        "audit": None if audit is None else _audited(audit, detector, data, attack),
        "cost": {"clean_s": clean.get("seconds"), "attacked_s": adversarial.get("seconds")},
        "reproduce": reproduce or _command(detector, data, attack),
        "versions": _table(result.get("versions")),
    }
    problems = problems_of(entry)
    if problems:
        raise RecordError(_said(problems))
    return entry


def add_entry(
    board: str | os.PathLike[str],
    result: str | os.PathLike[str],
    *,
    defence: str,
    by: str,
    name: str | None = None,
    reproduce: str | None = None,
    audit: str | os.PathLike[str] | None = None,
    added: str | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Add a result to a leaderboard and make its page anew.

    Args:
        board: JSON file of the leaderboard, made if it is not there; the page lies beside it and
            has its name with `.md`.
        result: results.json of `evaluate`, or its folder.
        defence: As `entry_of`, and so `by`, `name`, `reproduce` and `added`.
        by: See there.
        name: See there.
        reproduce: See there.
        audit: audit.json of `audit`, or its folder.
        added: See there.
        replace: Whether an entry of the same detector, data and attack may be replaced.

    Returns:
        The entry.

    Raises:
        RecordError: If a record cannot be read or does not follow the protocol.
        ConfigError: If there is such an entry and it may not be replaced.
        OutputError: If nothing can be written.
        OutputExists: If the page beside the board was not made by this.

    Examples:
        >>> from pushpull.leaderboard import add_entry
        >>> add_entry("board.json", "nowhere/results.json", defence="none", by="me")
        Traceback (most recent call last):
            ...
        pushpull.errors.RecordError: nowhere/results.json: cannot be read (No such file or
        directory); give results.json of `pushpull evaluate --attack suite`
    """
    said = _record(
        result,
        "results.json",
        "evaluation",
        "give results.json of `pushpull evaluate --attack suite`",
    )
    audited = None
    if audit is not None:
        audited = _record(audit, "audit.json", "audit", "give audit.json of `pushpull audit`")
    try:
        entry = entry_of(
            said, defence=defence, by=by, name=name, reproduce=reproduce, audit=audited, added=added
        )
    except RecordError as e:
        raise RecordError(f"{Path(result)}: {e}") from e
    path = Path(board)
    entries = read_board(path) if os.path.lexists(path) else []
    same = [k for k, one in enumerate(entries) if key_of(one) == key_of(entry)]
    if same and not replace:
        old = entries[same[0]]
        raise ConfigError(
            f"{path}: holds {old['name']!r}, added {old['added']} by {old['by']}, which is of the "
            "same detector, data and attack; --replace puts this in its place"
        )
    if same:
        entries[same[0]] = entry
    else:
        entries.append(entry)
    write_board(path, entries)
    return entry


def read_board(board: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The entries of a leaderboard, each checked.

    Raises:
        RecordError: If the file cannot be read, or an entry is not what the schema says.

    Examples:
        >>> from pushpull.leaderboard import read_board, write_board
        >>> write_board("board.json", [])
        >>> read_board("board.json")
        []
    """
    path = Path(board)
    advice = "give the file of a leaderboard"
    record = read_json(path, kind="leaderboard", error=RecordError, advice=advice)
    entries = record.get("entries")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise RecordError(
            f"{path}: entries is {type(entries).__name__}; expected a list of objects"
        )
    for k, one in enumerate(entries):
        problems = problems_of(one)
        if problems:
            raise RecordError(f"{path}, entry {k + 1} ({one.get('name')}): {_said(problems)}")
    return entries


def write_board(board: str | os.PathLike[str], entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the entries, and the page beside the file.

    Raises:
        OutputError: If they cannot be written.
        OutputExists: If there is a page that was not made by this.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.leaderboard import write_board
        >>> write_board("board.json", [])
        >>> Path("board.md").read_text().splitlines()[-1]
        'Nothing yet.'
    """
    path = Path(board)
    page = path.with_suffix(".md")
    if os.path.lexists(page) and MARK not in _text_of(page):
        raise OutputExists(
            f"{page}: is there already and was not made of a leaderboard; give another --board"
        )
    output_dir(path.parent)
    # Versions stand in each entry: the file says nothing of what wrote it last.
    write_json(path, {"entries": list(entries), "versions": {}}, kind="leaderboard")
    with written_whole(page) as temporary:
        temporary.write_text(page_of(entries), encoding="utf-8")


def _text_of(page: Path) -> str:
    try:
        return read_text(page)
    except (OSError, UnicodeDecodeError):
        return ""


def page_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """The page of a leaderboard, as Markdown: a table for each data set and budget, best first.

    Examples:
        >>> from pushpull.leaderboard import page_of
        >>> print(page_of([]).splitlines()[0])
        # Leaderboard
    """
    return "\n".join(_lines(entries)) + "\n"


def key_of(entry: Mapping[str, Any]) -> str:
    """What an entry is told from others by: detector, data and attack.

    Examples:
        >>> from pushpull.leaderboard import key_of
        >>> entry = {"detector": {"sha256": "0"}, "data": {"name": "a"}, "attack": {"eps": 5}}
        >>> key_of(entry) == key_of({**entry, "name": "another name"})
        True
    """
    parts = [_at(entry, "detector.sha256"), _at(entry, "data"), _at(entry, "attack")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _record(source: str | os.PathLike[str], file: str, kind: str, advice: str) -> dict[str, Any]:
    path = Path(source)
    path = path / file if path.is_dir() else path
    return read_json(path, kind=kind, error=RecordError, advice=advice)


def _at(entry: Mapping[str, Any], place: str) -> Any:
    """What stands at a place such as `clean.accuracy`; None if nothing does."""
    found: Any = entry
    for part in place.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _table(value: Any) -> dict[str, Any]:
    """A part of a record; what is none has nothing in it, and that is told as what is missing."""
    return dict(value) if isinstance(value, Mapping) else {}


def _said(problems: Sequence[str]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}; docs/protocol.md says what is asked for"


def _rates_of(scores: Mapping[str, Any]) -> dict[str, Any]:
    names = ("average_precision", "interval", "interval_over", "accuracy", "tracks", "frames")
    return {name: scores.get(name) for name in names}


def _audited(
    audit: Mapping[str, Any],
    detector: Mapping[str, Any],
    data: Mapping[str, Any],
    attack: Mapping[str, Any],
) -> dict[str, Any]:
    """The verdict of an audit of the same."""
    pairs = {
        "detector": (_at(audit, "detector.sha256"), detector.get("sha256")),
        "data set": (_at(audit, "data.name"), data.get("name")),
        "split": (_at(audit, "data.split"), data.get("split")),
        "making of the data": (_at(audit, "data.made"), data.get("made")),
        "budget": (audit.get("budget"), attack.get("eps")),
    }
    for what, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise RecordError(
                f"the audit has another {what} ({theirs}) than the result ({ours}); expected an "
                "audit of the same"
            )
    return {
        "verdict": _at(audit, "verdict.word"),
        "sentence": _at(audit, "verdict.sentence"),
        "tracks": _at(audit, "clips.tracks"),
        "left": _at(audit, "standing.left"),
    }


def _command(
    detector: Mapping[str, Any], data: Mapping[str, Any], attack: Mapping[str, Any]
) -> str:
    """The evaluation as a command."""
    words = [str(detector.get("name")), str(data.get("name")), "--split", str(data.get("split"))]
    eps = _eps_av(_table(attack.get("eps")))
    more = ["--attack", str(attack.get("attack")), "--eps", f"{eps:g}"]
    seed = ["--seed", str(attack.get("seed", 0))]
    return shlex.join(["pushpull", "evaluate", *words, *more, *seed])


def _eps_av(eps: Mapping[str, Any]) -> float:
    """Push-Pull's budget of one for each modality; NaN if they are of none."""
    if set(eps) != set(UNITS) or not all(map(_number, eps.values())):
        return math.nan
    both = {round(eps[name] / unit, 9) for name, unit in UNITS.items()}
    return both.pop() if len(both) == 1 else math.nan


def _lines(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "# Leaderboard"
    yield ""
    yield MARK
    yield ""
    yield (
        "Detectors under one attack that never changes, at one budget, each on its whole split. "
        "mAP in percent with its 95 % interval; it is over people or videos where several tracks "
        "are of one. What is left under the attack is an upper bound: another attack may leave "
        "less."
    )
    if not entries:
        yield ""
        yield "Nothing yet."
        return
    tables: dict[tuple[str, str, str, str, float], list[Mapping[str, Any]]] = {}
    for one in entries:
        made = json.dumps(_at(one, "data.made"), sort_keys=True)
        data, attack = one["data"], one["attack"]
        place = (data["name"], data["split"], made, attack["version"], _eps_av(attack["eps"]))
        tables.setdefault(place, []).append(one)
    ordered = [one for place in sorted(tables) for one in _ranked(tables[place])]
    number = {id(one): k + 1 for k, one in enumerate(ordered)}
    for place in sorted(tables):
        name, split, _, version, eps = place
        yield ""
        yield f"## {as_markdown(name)}, {split}, {version} at eps_av {eps:g}"
        yield ""
        yield (
            "| | name | defence | clean mAP | attacked mAP | accuracy, clean to attacked | audit | "
            "cost | by | added |"
        )
        yield "|---" * 10 + "|"
        for one in _ranked(tables[place]):
            yield "| " + " | ".join([str(number[id(one)]), *_cells(one)]) + " |"
    yield ""
    yield "## How to reproduce"
    for one in ordered:
        said = _at(one, "audit.sentence")
        versions = ", ".join(f"{k} {v}" for k, v in one["versions"].items())
        yield ""
        name, sha256 = as_markdown(one["name"]), one["detector"]["sha256"]
        yield f"**{number[id(one)]}. {name}** ({sha256[:12]})"
        yield ""
        yield from (f"    {line}" for line in one["reproduce"].splitlines())
        yield ""
        yield f"{as_markdown(versions)}." + (f" Audit: {as_markdown(said)}." if said else "")


def _ranked(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Best first, by what is left; the same order wherever they stood."""
    return sorted(entries, key=lambda one: (-one["attacked"]["average_precision"], key_of(one)))


def _cells(entry: Mapping[str, Any]) -> Iterator[str]:
    yield as_markdown(entry["name"])
    yield as_markdown(entry["defence"])
    for kind in ("clean", "attacked"):
        rates = entry[kind]
        low, high = (f"{100 * end:.1f}" for end in rates["interval"])
        yield f"{100 * rates['average_precision']:.1f} ({low} to {high}, {rates['interval_over']})"
    yield " to ".join(percent(entry[kind]["accuracy"]) for kind in ("clean", "attacked"))
    yield _at(entry, "audit.verdict") or "none"
    rates, cost = entry["attacked"], entry["cost"]
    yield f"{rates['tracks']} tracks, {cost['attacked_s']:.0f} s"
    yield as_markdown(entry["by"])
    yield entry["added"]

"""Ways to spoil bytes, texts and values; all that is random comes from the generator given."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["VALUES", "mutated", "mutated_json", "mutated_text", "spoilt_value"]

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)

VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 255, 2**31, 2**63, 2**64, -(2**63), 10**30),
    *(0.0, -0.0, 0.5, 1e-320, 1e30, 1e300, float("nan"), float("inf"), -float("inf")),
    *(
        "",
        "x",
        "nan",
        "-1",
        "../../etc/passwd",
        "/dev/zero",
        "a\0b",
        "\n",
        "\ud800",
        "é" * 300,
        "9" * 5000,
    ),
    *(None, True, False, [], {}, [[]], {"": 0}, ["a", 1]),
)
"""Values that programs stumble over."""

PIECES = (
    *(
        "",
        ",",
        ",,",
        '"',
        "'",
        "\t",
        "\0",
        "\r",
        "\n\n",
        "nan",
        "inf",
        "1e999",
        "-0",
        "--",
        "[",
        "{",
    ),
    *("=", "9" * 5000, "é", "\ufeff", "\u202e", "#", "[[", "\\u0000", "<", "00:00:01,000 --> "),
)


def mutated(data: bytes, rng: random.Random, *, others: Sequence[bytes] = ()) -> bytes:
    """Bytes with one to eight things wrong; `others` are mixed in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        if not out:
            return bytes(out)
        # Headers decide more than what follows them: half of the places are near an end.
        near = min(len(out), 4096)
        at = rng.choice(
            (rng.randrange(len(out)), rng.randrange(near), len(out) - 1 - rng.randrange(near))
        )
        rng.choice(SPOILERS)(out, at, rng, others)
    return bytes(out)


def _flip(out: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    out[at] ^= 1 << rng.randrange(8)


def _random(out: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    out[at : at + rng.randrange(1, 17)] = rng.randbytes(rng.randrange(1, 17))


def _number(out: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(NUMBERS) % (1 << 8 * size)
    out[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))


def _cut(out: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    del out[at:]


def _drop(out: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    del out[at : at + rng.choice((1, 4, 64, 4096))]


def _zero(out: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    size = min(rng.choice((4, 64, 4096)), len(out) - at)
    out[at : at + size] = bytes(size)


def _twice(out: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    out[at:at] = out[at : at + rng.choice((4, 64, 1024))] * rng.choice((1, 2, 16))


def _mix(out: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    other = rng.choice(others) if others else bytes(out)
    begin = rng.randrange(max(1, len(other)))
    out[at : at + rng.choice((0, 64, 1024))] = other[begin : begin + rng.choice((8, 256, 4096))]


Spoiler = Callable[[bytearray, int, random.Random, Sequence[bytes]], None]
SPOILERS: tuple[Spoiler, ...] = (
    _flip, _flip, _random, _number, _number, _cut, _drop, _zero, _twice, _mix,
)  # fmt: skip


def mutated_text(text: str, rng: random.Random) -> str:
    """A text with one to eight pieces wrong: characters, fields and lines."""
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        kind = rng.randrange(5)
        lines = text.split("\n")
        row = rng.randrange(len(lines))
        if kind == 0:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(PIECES) + text[at + rng.choice((0, 0, 1, 5)) :]
        elif kind == 1:
            fields = lines[row].split(",")
            fields[rng.randrange(len(fields))] = str(rng.choice(VALUES[:30]))[:6000]
            text = "\n".join([*lines[:row], ",".join(fields), *lines[row + 1 :]])
        elif kind == 2:
            text = "\n".join([*lines[:row], lines[row], *lines[row:]])
        elif kind == 3:
            text = "\n".join([*lines[:row], *lines[row + 1 :]])
        else:
            text = text[: rng.randrange(len(text) + 1)]
    return text


def spoilt_value(value: Any, rng: random.Random) -> Any:
    """A value in which one place, at any depth, holds something else, more or nothing."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        out = dict(value)
        key = rng.choice(list(out))
        kind = rng.random()
        if kind < 0.15:
            del out[key]
        elif kind < 0.25:
            out[str(rng.choice(VALUES))[:100]] = out[key]
        else:
            out[key] = spoilt_value(out[key], rng)
        return out
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.15:
            return value[:at]
        if kind < 0.25:
            return value * 3
        return [*value[:at], spoilt_value(value[at], rng), *value[at + 1 :]]
    if rng.random() < 0.05:
        deep: Any = value
        for _ in range(rng.choice((3, 200, 900))):
            deep = [deep]
        return deep
    return rng.choice(VALUES)


def mutated_json(value: Any, rng: random.Random) -> str:
    """A JSON text of a spoilt value, now and then spoilt as a text too, or without an end."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = spoilt_value(value, rng)
    if rng.random() < 0.02:
        return "[" * 100_000
    # Some values stand in no JSON: they are written as Python would, which is no JSON either.
    # Digits beyond what Python prints are cut.
    text = json.dumps(value, default=str) if _short(value) else '{"format": ' + "9" * 5000 + "}"
    return mutated_text(text, rng) if rng.random() < 0.2 else text


def _short(value: Any) -> bool:
    try:
        json.dumps(value)
    except (ValueError, RecursionError):
        return False
    return True

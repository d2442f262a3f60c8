"""Give the package inputs that nobody means well with, and say which it does not bear.

    python -m fuzz media --count 1000 --seed 0     # one kind
    python -m fuzz all --count 100                 # every kind
    python -m fuzz tables --seed 0 --only 412      # that case again
    python -m fuzz record --count 1000             # every kind, and docs/measurements/fuzz.md

A traceback, a hang, a crash, a wrong exit code, a failure without a word and a half-written file
are faults. Their inputs are kept in OUT/KIND-SEED-NUMBER; the exit code is 1 then. Run it at the
root of a checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fuzz import http
from fuzz.judging import judged
from fuzz.kinds import KINDS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "measurements" / "fuzz.md"
EVERY = (*KINDS, "http")


def main() -> int:
    """Run what is asked for."""
    words = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m fuzz", description=__doc__, formatter_class=words)
    parser.add_argument("kind", choices=[*EVERY, "all", "record"])
    parser.add_argument("--count", type=int, default=100, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of a single case")
    parser.add_argument("--kinds", nargs="*", choices=EVERY, help="of all or record")
    parser.add_argument("--most-s", type=float, default=float("inf"), help="stop a kind after")
    parser.add_argument("--out", type=Path, default=Path("fuzz-found"), help="where faults go")
    args = parser.parse_args()
    kinds = tuple(args.kinds or EVERY) if args.kind in ("all", "record") else (args.kind,)
    results = {}
    for kind in kinds:
        numbers = range(args.count) if args.only is None else [args.only]
        results[kind] = run(kind, args.seed, numbers, args.out, most_s=args.most_s)
        print(line_of(kind, results[kind]), flush=True)
    if args.kind == "record":
        command = f"python -m fuzz record --count {args.count} --seed {args.seed}"
        if args.most_s < float("inf"):
            command += f" --most-s {args.most_s:g}"
        record(results, args.seed, command)
    return int(any(result["faults"] for result in results.values()))


def run(
    kind: str, seed: int, numbers: range | list[int], out: Path, *, most_s: float = float("inf")
) -> dict[str, Any]:
    """Counts of what came of the cases of a kind, and the faults among them."""
    _import_first()
    begin = time.monotonic()
    counts: Counter[str] = Counter()
    faults = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        place = Path(temporary)
        tries = _requests if kind == "http" else _files
        for number, verdict, inputs in tries(kind, seed, numbers, place):
            counts[verdict.kind] += 1
            if verdict.is_fault:
                kept = out / f"{kind}-{seed}-{number}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(inputs, kept, symlinks=True)
                (kept / "what.txt").write_text(f"{verdict.kind}\n{verdict.said}\n")
                faults.append({"case": number, "what": verdict.kind})
                print(f"{kind} {number}: {verdict.kind}, kept in {kept}", flush=True)
            if time.monotonic() - begin > most_s:
                break
    return {
        "cases": counts.total(),
        "counts": dict(counts),
        "faults": faults,
        "seconds": round(time.monotonic() - begin, 1),
    }


def generator(kind: str, seed: int, number: int) -> random.Random:
    """Random numbers of a case, whichever cases are run beside it."""
    return random.Random(f"{kind} {seed} {number}")


def _files(kind: str, seed: int, numbers: Any, place: Path) -> Any:
    seeds = place / "seeds"
    seeds.mkdir()
    # In a process of its own, so that this one stays without threads and can be forked.
    made = judged(lambda: KINDS[kind].seeds(seeds), place, cpu_s=600)
    if made.kind != "done":
        raise RuntimeError(f"the seeds of {kind} cannot be made: {made.said}")
    for number in numbers:
        folder = place / str(number)
        folder.mkdir()
        action = KINDS[kind].case(seeds, folder, generator(kind, seed, number))
        yield number, judged(action, folder), folder
        shutil.rmtree(folder)


def _requests(kind: str, seed: int, numbers: Any, place: Path) -> Any:
    inputs = place / "request"
    inputs.mkdir()
    with http.serving(place) as server:
        for number in numbers:
            request = http.request_of(generator(kind, seed, number), server)
            (inputs / "request.bin").write_bytes(request)
            verdict = http.tried(server, request)
            yield number, verdict, inputs
            if verdict.kind == "crash":
                return


def _import_first() -> None:
    """What cases need, once for all of them: they are forks of this process."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    import pushpull.cli
    import pushpull.data
    import pushpull.detection
    import pushpull.metrics.box_scoring
    import pushpull.metrics.scoring
    import pushpull.models.weights
    import pushpull.training.regimes  # noqa: F401

    torch.set_num_threads(1)


def line_of(kind: str, result: dict[str, Any]) -> str:
    """A kind in a line."""
    counts = ", ".join(f"{name} {n}" for name, n in sorted(result["counts"].items()))
    return f"{kind:12} {result['cases']} cases in {result['seconds']:.0f} s: {counts}"


def record(results: dict[str, Any], seed: int, command: str) -> None:
    """Write the page and the numbers behind it."""
    from pushpull.runtime.version import versions

    kept = PAGE.with_suffix(".json")
    if kept.is_file():
        before = json.loads(kept.read_text())["kinds"]
        results = {kind: (before | results)[kind] for kind in EVERY if kind in before | results}
    said = {
        "seed": seed,
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": versions(),
        "kinds": results,
    }
    PAGE.with_suffix(".json").write_text(json.dumps(said, indent=1) + "\n")
    PAGE.write_text(page(said))


def page(said: dict[str, Any]) -> str:
    """docs/measurements/fuzz.md."""
    lines = [
        "# Inputs that nobody means well with",
        "",
        "Files, settings and requests with something wrong in them, made of seeds of our own and "
        f"given to the package, each in a process of its own; {said['date']}, seed "
        f"{said['seed']}. A fault is a traceback, a crash, a hang (20 s of processor time), an "
        "exit code that is not documented, a failure without a message, or a half-written file.",
        "",
        "| kind | tried | done | refused | faults | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for kind, result in said["kinds"].items():
        counts = result["counts"]
        lines.append(
            f"| {kind} | {result['cases']} | {counts.get('done', 0)} | {counts.get('refused', 0)} "
            f"| {len(result['faults'])} | {result['seconds']:.0f} |"
        )
    lines += ["", *(f"- **{name}**: {kind.about}" for name, kind in KINDS.items())]
    lines += [
        f"- **http**: {http.ABOUT}",
        "",
        f"Written by `{said['command']}`, at the root of a checkout: a kind ends with that many "
        "cases, or after `--most-s` seconds. Numbers are in `docs/measurements/fuzz.json`. "
        "`python -m fuzz KIND --seed S --only N` does one case again. A short run of each kind is "
        "among the tests.",
    ]
    if any(result["faults"] for result in said["kinds"].values()):
        lines += ["", "Faults that stood when this was run:", ""]
        lines += [
            f"- {kind}, case {fault['case']}: {fault['what']}"
            for kind, result in said["kinds"].items()
            for fault in result["faults"]
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

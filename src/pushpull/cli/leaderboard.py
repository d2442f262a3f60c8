"""Commands on a leaderboard: results under one protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pushpull.cli.console import Console
from pushpull.cli.options import JsonFlag, QuietFlag
from pushpull.report.tables import percent

__all__ = ["add"]


def add(
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT", help="results.json of `pushpull evaluate`, or its folder."
        ),
    ],
    defence: Annotated[
        str, typer.Option(help="What makes the detector robust, in a few words; none: nothing.")
    ],
    by: Annotated[str, typer.Option(help="Who ran it.")],
    audit: Annotated[
        Path | None, typer.Option(help="audit.json of an audit of the same, or its folder.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What it is called; the detector's name by default.")
    ] = None,
    reproduce: Annotated[
        str | None, typer.Option(help="Commands that lead to RESULT; `evaluate` by default.")
    ] = None,
    board: Annotated[
        Path, typer.Option(help="The leaderboard; its page lies beside it, with .md.")
    ] = Path("leaderboard.json"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of an entry of the same.")
    ] = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Add a result to a leaderboard and make its page anew.

    RESULT has to follow docs/protocol.md: the suite, at a budget of Push-Pull's, on a whole split.
    """
    from pushpull.leaderboard import add_entry

    console = Console(as_json=as_json, quiet=quiet)
    entry = add_entry(
        board,
        result,
        defence=defence,
        by=by,
        name=name,
        reproduce=reproduce,
        audit=audit,
        replace=replace,
    )
    clean, left = (percent(entry[kind]["average_precision"]) for kind in ("clean", "attacked"))
    line = f"{entry['name']}: mAP {clean}, {left} under {entry['attack']['version']}"
    record = {"entries": [entry]}
    console.result(record, kind="leaderboard", lines=[line, str(board.with_suffix(".md"))])

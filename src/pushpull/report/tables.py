"""Small tables of rates, as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["as_markdown", "html_table", "percent"]


def as_markdown(text: str) -> str:
    r"""Words of others in a Markdown page: one line, and no markup of theirs.

    Examples:
        >>> from pushpull.report.tables import as_markdown
        >>> print(as_markdown("mine |\n# *holds*"))
        mine \| \# \*holds\*
    """
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def html_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as HTML, every cell escaped.

    Examples:
        >>> from pushpull.report.tables import html_table
        >>> html_table("a < b", ["x"], [[1]])
        '<table><caption>a &lt; b</caption><tr><th>x</th></tr><tr><td>1</td></tr></table>'
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><caption>{escape(title)}</caption><tr>{head}</tr>{body}</table>"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent.

    Examples:
        >>> from pushpull.report.tables import percent
        >>> percent(0.9258), percent(None)
        ('92.6 %', 'none')
    """
    return "none" if share is None else f"{100 * share:.{digits}f} %"

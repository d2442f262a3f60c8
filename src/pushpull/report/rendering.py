"""Pages of HTML from templates in the package, and what they hold in themselves."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["csv_text", "encoded", "picture", "rendered"]

INK, PAPER = "#e6e9ec", "#15181b"
"""Of pictures where the reader's screen is dark."""

DARKEST = 0.35
"""Mean of red, green and blue below which a line or a word cannot be seen there."""


def rendered(
    package: str, template: str, filters: Mapping[str, Callable[..., Any]], **values: Any
) -> str:
    """A template filled in; texts are escaped, and a name that it does not know is an error.

    Args:
        package: Whose folder `templates` holds it, such as "pushpull.report".
        template: Its name there.
        filters: Functions that it may use, by name.
        **values: What it is about.

    Raises:
        jinja2.TemplateError: If there is no such template, or it names what is not given.

    Examples:
        >>> from pushpull.report.rendering import rendered
        >>> rendered("pushpull.report", "report.html", {})
        Traceback (most recent call last):
            ...
        jinja2.exceptions.TemplateAssertionError: No filter named 'percent'.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(template).render(**values)


def picture(
    figure: Figure,
    *,
    name: str,
    alt: str,
    caption: str = "",
    rows: Iterable[Sequence[Any]] = (),
) -> dict[str, str]:
    """A drawing for a page: `light` and `dark` png, what it shows in words, its numbers as csv.

    Args:
        figure: It; dark afterwards.
        name: Of the csv, without suffix.
        alt: What it shows, for who does not see it.
        caption: What stands below it.
        rows: Its numbers, below a header.

    Examples:
        >>> from pushpull.report.figures import draw_beyond
        >>> from pushpull.report.rendering import picture
        >>> curves = {"pgd": [{"eps": 5, "average_precision": 0.5}]}
        >>> shown = picture(
        ...     draw_beyond({"curves": curves, "floor": 0.4}),
        ...     name="beyond",
        ...     alt="50 % at eps_av 5",
        ...     rows=[("eps_av", "mAP"), (5, 0.5)],
        ... )
        >>> sorted(shown), shown["light"] != shown["dark"]
        (['alt', 'caption', 'csv', 'dark', 'light', 'name'], True)
    """
    light = _png(figure)
    # Where everything stands is known by now, and takes most of the time to find out.
    figure.set_layout_engine("none")
    return {
        "name": name,
        "alt": alt,
        "caption": caption,
        "light": light,
        "dark": _png(_darkened(figure)),
        "csv": encoded(csv_text(rows)),
    }


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    r"""Rows as a csv file.

    Examples:
        >>> from pushpull.report.rendering import csv_text
        >>> csv_text([("steps", "mAP"), (1, 0.5)])
        'steps,mAP\r\n1,0.5\r\n'
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def encoded(content: str | bytes) -> str:
    """Content for an address that begins with `data:`.

    Examples:
        >>> from pushpull.report.rendering import encoded
        >>> encoded("a,b")
        'YSxi'
    """
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


def _png(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return encoded(data.getvalue())


def _darkened(figure: Figure) -> Figure:
    """The same on dark paper; what lies on coloured cells stays as it is."""
    figure.set_facecolor(PAPER)
    for text in figure.texts if figure._suptitle is None else [*figure.texts, figure._suptitle]:  # type: ignore[attr-defined]
        text.set_color(INK)
    for axes in figure.axes:
        axes.set_facecolor(PAPER)
        axes.tick_params(colors=INK, which="both")
        for spine in axes.spines.values():
            spine.set_edgecolor(INK)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_color(INK)
        if axes.images:
            # Colours that let the paper through are read with the words on them.
            axes.set_facecolor("white")
        else:
            _lighten(axes)
        legend = axes.get_legend()
        if legend is not None:
            legend.get_frame().set(facecolor=PAPER, edgecolor=INK)
            for text in legend.get_texts():
                text.set_color(INK)
    return figure


def _lighten(axes: Axes) -> None:
    """Dark words, lines and outlines become light ones."""
    from matplotlib.colors import to_rgb

    def is_dark(colour: Any) -> bool:
        return sum(to_rgb(colour)) / 3 < DARKEST and max(to_rgb(colour)) - min(to_rgb(colour)) < 0.1

    for text in axes.texts:
        if is_dark(text.get_color()):
            text.set_color(INK)
    for line in axes.lines:
        if is_dark(line.get_color()):
            line.set_color(INK)
    for patch in axes.patches:
        if not patch.get_fill() and is_dark(patch.get_edgecolor()):
            patch.set_edgecolor(INK)
    for collection in axes.collections:
        edges = collection.get_edgecolor()
        if len(edges) and len(collection.get_facecolor()) == 0 and is_dark(edges[0]):
            collection.set_edgecolor(INK)

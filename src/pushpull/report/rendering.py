"""Pages of HTML from templates in the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["rendered"]


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

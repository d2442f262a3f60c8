"""Templates of the package: texts are escaped, and what is missing is an error."""

import jinja2
import pytest

from pushpull.report.rendering import rendered


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "pages" / "templates"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "one.html").write_text("{% if title %}\n<h1>{{ title | twice }}</h1>\n{% endif %}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "pages"


def test_texts_are_escaped_and_tags_leave_no_lines(package) -> None:
    page = rendered(package, "one.html", {"twice": lambda text: 2 * text}, title="<b>")
    assert page == "<h1>&lt;b&gt;&lt;b&gt;</h1>\n"


def test_what_is_missing_is_an_error(package) -> None:
    twice = {"twice": str}
    with pytest.raises(jinja2.TemplateError, match="'title' is undefined"):
        rendered(package, "one.html", twice)
    with pytest.raises(jinja2.TemplateError, match="No filter named 'twice'"):
        rendered(package, "one.html", {}, title="a")
    with pytest.raises(jinja2.TemplateError, match=r"two\.html"):
        rendered(package, "two.html", twice, title="a")

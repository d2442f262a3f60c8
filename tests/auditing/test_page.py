"""The page of an audit: what it says first, what stands behind it, and how it looks."""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from support.app_browser import CHROMIUM_FLAGS, EMPTY_ENDS, chromium_path
from support.audit_detectors import EPS

from pushpull.auditing import FIGURES, examine, write_report
from pushpull.auditing.page import audit_page, opening
from pushpull.auditing.plots import PICTURED

HOSTILE = '<script>alert("1")</script>'


class Elements(HTMLParser):
    """What a page is made of, in order: tags with their attributes, and the text of headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.words.append(data)

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.found if tag in tags]


@pytest.fixture(scope="module")
def record(plain, clips, small):
    """As it is read again from its file."""
    found = examine(plain, clips, eps=EPS, config=small)
    said = {"detector": {"name": HOSTILE}, "data": {"name": HOSTILE, "split": "test"}}
    return json.loads(json.dumps(replace(found, **said).as_dict()))


def test_the_first_screen_says_all_there_is_to_know(record) -> None:
    text = audit_page(record)
    shown = " ".join(" ".join(Elements(text).words).split())
    before = shown[: shown.index("In pictures")]
    standing = record["standing"]
    low, high = (f"{100 * end:.1f}" for end in standing["worst_interval"])
    for said in (
        "Broken at this budget: ",
        f"{100 * standing['worst']:.1f} mAP ({low} to {high}, 95 % over 12 tracks)",
        f"on 12 tracks of {HOSTILE} (test): {record['clips']['frames']} frames",
        "every sample by at most 0.001 of full scale (-60 dB)",
        "every pixel by at most 1 of 255 grey levels",
        record["verdict"]["advice"],
    ):
        assert said in before
    assert before.index("Broken") < before.index("What is left") < before.index("What to do next")


def test_pictures_come_before_tables_and_are_said_in_words(record) -> None:
    page = Elements(audit_page(record))
    tags = [tag for tag, _ in page.found]
    assert tags.index("figure") < tags.index("table")
    pictures = page.of("img")
    assert len(pictures) == len(FIGURES)
    assert all(re.search(r"\d", of["alt"]) and len(of["alt"]) > 40 for of in pictures)
    assert all(of["role"] == "img" and of["aria-label"] for of in page.of("svg"))


def test_every_picture_has_its_numbers_behind_it(record) -> None:
    links = {of["download"]: of["href"] for of in Elements(audit_page(record)).of("a")}
    assert links.keys() == {"audit.json", "audit.csv", *(f"{name}.csv" for name in FIGURES)}
    files = {
        name: base64.b64decode(link.partition("base64,")[2]).decode()
        for name, link in links.items()
    }
    assert json.loads(files.pop("audit.json")) == record
    tables = {name: list(csv.reader(io.StringIO(text))) for name, text in files.items()}
    for rows in tables.values():
        assert len({len(row) for row in rows}) == 1
        assert len(rows) > 1
    (steps,) = (f["data"] for f in record["tests"] if f["test"] == "steps")
    left = [float(row[1]) for row in tables["step-sweep.csv"][1:]]
    assert left == [row["average_precision"] for row in steps["found"]]


def test_the_two_tables_of_pictures_name_the_same() -> None:
    assert FIGURES.keys() == PICTURED.keys()


def test_what_is_true_by_construction_is_said_to_be(record) -> None:
    said = " ".join(opening(record)["by_construction"])
    assert f"leaves {100 * record['standing']['bound']:.1f} %: it is never above" in said
    assert "No figure was stated" in said
    stated = {**record, "standing": {**record["standing"], "claimed": 0.123}}
    assert "No figure was stated" not in " ".join(opening(stated)["by_construction"])


def test_text_of_others_is_no_markup(record) -> None:
    text = audit_page(record)
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;") >= 2
    assert not Elements(text).of("script")


def test_a_name_is_no_markup_in_what_is_read_as_text(record, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pushpull.auditing.page.FIGURES", {})
    name, failure = "mine\n# **holds** |", "out of\n\n# memory | of all"
    runs = [{**record["runs"][0], "counts": False, "outside": "", "error": failure}]
    spoilt = {**record, "detector": {**record["detector"], "name": name}, "runs": runs}
    text = write_report(spoilt, tmp_path)["audit.md"].read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        r"# Audit of mine \# \*\*holds\*\* \|"
    ]
    assert "| out of # memory / of all |" in text


@pytest.mark.parametrize("word", ["masked", "broken", "overstated", "holds", "inconclusive"])
def test_every_verdict_begins_with_its_word(record, word) -> None:
    verdict = {**record["verdict"], "word": word, "why": ["one thing", "another"]}
    said = opening({**record, "verdict": verdict})
    assert said["sentence"].lower().startswith(word)
    assert said["sentence"].endswith(".")
    assert "another" in said["points"]
    assert ("one thing" in said["points"]) != ("one thing" in said["sentence"])


@pytest.mark.parametrize("near", [0.02, 0.5, 0.99])
def test_labels_of_the_scale_lie_inside_and_apart(record, near) -> None:
    values = {"worst": near, "claimed": min(near + 0.005, 1.0), "chance": near, "clean": near}
    said = opening({**record, "standing": {**record["standing"], **values}})
    for scale in said["scales"]:
        boxes = []
        for mark in scale["marks"]:
            width = 7.5 * len(mark["text"])
            start = mark["at"] - (width if mark["anchor"] == "end" else 0)
            assert 0 <= start <= start + width <= scale["width"]
            boxes.append((mark["y"], start, start + width))
        for i, (y, start, end) in enumerate(boxes):
            for other_y, other_start, other_end in boxes[i + 1 :]:
                assert abs(y - other_y) >= 12 or end + 4 < other_start or other_end + 4 < start


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        path = chromium_path(p)
        if path is None:
            pytest.skip("needs Chromium: apt-get install chromium, or set PUSHPULL_CHROMIUM")
        browser = p.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(browser, record, tmp_path_factory):
    """The page in a window of some width, light or dark."""
    path = tmp_path_factory.mktemp("page") / "audit.html"
    path.write_text(audit_page(record), encoding="utf-8")

    def show(width: int, scheme: str):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        view = context.new_page()
        view.problems = []
        view.on("pageerror", lambda e: view.problems.append(str(e)))
        view.on("console", lambda m: view.problems.append(m.text) if m.type == "error" else None)
        view.goto(path.as_uri())
        return view

    return show


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280, 1920])
def test_it_fits_any_screen_and_changes_with_it(opened, width, scheme) -> None:
    view = opened(width, scheme)
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    light = view.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
    )
    assert (sum(light) > 600) == (scheme == "light")
    shown = view.evaluate("[...document.images].map(i => i.currentSrc.length)")
    other = opened(width, "dark" if scheme == "light" else "light")
    assert shown != other.evaluate("[...document.images].map(i => i.currentSrc.length)")
    assert view.problems == []


@pytest.mark.parametrize("width", [375, 800, 1000, 1920])
def test_cards_of_the_first_screen_leave_no_row_half_empty(opened, width) -> None:
    first = opened(width, "light").locator(".first")
    assert first.locator("> *").count() > 2
    assert first.evaluate(EMPTY_ENDS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_axe_finds_nothing(opened, width, scheme) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(opened(width, scheme)).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []


def test_on_paper_nothing_is_cut_and_nothing_asks_for_a_click(opened) -> None:
    view = opened(1280, "dark")
    view.emulate_media(media="print", color_scheme="light")
    hidden = "[...document.querySelectorAll('.screen')].every(e => !e.getClientRects().length)"
    assert view.evaluate(hidden)
    cut = view.evaluate(
        "[...document.querySelectorAll('figure, .card')].map(e => getComputedStyle(e).breakInside)"
    )
    assert set(cut) == {"avoid"}
    assert view.pdf(format="A4").startswith(b"%PDF")

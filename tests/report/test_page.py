"""The page of a reproduction: what it says first, what stands behind pictures, how it looks."""

import base64
import csv
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from support.app_browser import CHROMIUM_FLAGS, EMPTY_ENDS, chromium_path

from pushpull.report.page import opening, sentence, write_page

HOSTILE = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Tags of a page in order, with their attributes, and its words."""

    def __init__(self, text):
        super().__init__()
        self.found, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def finding(reproduced, claim="AVIL keeps more than CE"):
    return {
        "claim": claim, "paper": "77.4 against 47.8", "ours": "61.0 against 40.2",
        "decided_by": "the difference", "interval": [-0.1, 0.3], "threshold": None,
        "reproduced": reproduced,
    }  # fmt: skip


@pytest.fixture(scope="module")
def results():
    def left(share):
        return {"average_precision": share, "interval": [share - 0.1, share + 0.1]}

    points = [{"eps": e, "accuracy": 0.5, **left(1 - 0.1 * e)} for e in (1.0, 5.0)]
    names = ("white-box", "from nc", "from spec", "audio", "visual", "both", "bim", "mim", "pgd")
    return {
        "what": "all", "name": HOSTILE, "samples": {"A": [sample()]}, "training": {}, "stages": [],
        "findings": [finding("yes"), finding("open", HOSTILE), finding("open")],
        "preset": {"model": {}}, "given_data": "a data set", "data": None, "audits": {},
        "command": "pushpull reproduce " + "--and-a-very-long-option " * 20, "machine": "a laptop",
        "versions": {"pushpull": "1"},
        "norms": {"A": {"clean": dict.fromkeys(NORMS, 1.0)}},
        "figure3": {
            "tracks": {"speaking": 2, "other": 3}, "frames": 90, "of_frames": 100, "floor": 0.4,
            "curves": {"pgd": points}, "paper": {name: [0.9, 0.8, 0.7, 0.6, 0.5] for name in names},
        },
        "figure4": {
            "rows": ["A"], "frames": 90,
            "bars": {"pgd": {"training-aware": {"A": 0.5}, "inference-aware": {"A": None}}},
        },
        "map": {
            "weights": [0.0], "best": [0.0, 0.0], "geometry": {},
            "cells": [
                {"l1": 0.0, "l4": 0.0, "learnt": True, "clean": left(0.8), "pgd": left(0.5),
                 "suite": None}
            ],
        },
    }  # fmt: skip


NORMS = ("audio_norm", "visual_norm", "pair_distance", "margin", "margin_99")


def sample():
    return {"track_id": "talk:1", "case": "speaking", "snr_db": 40.0, "psnr_db": 50.0, "ssim": 0.99}


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    rng = np.random.default_rng(0)
    kinds = ("clean_audio", "clean_visual", "attacked_audio", "attacked_visual")
    embeddings = {kind: rng.standard_normal((20, 8)) for kind in kinds}
    faces, sound = np.full((2, 112, 112), 90.0), np.zeros(1280)
    arrays = {
        "clean_faces": faces, "faces": faces, "speaking": np.array([1, 1]),
        "clean_waveform": sound, "waveform": sound, "clean_score": np.array([2.0, 2.0]),
        "score": np.array([-2.0, 1.0]),
    }  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(
        results,
        path,
        embeddings={"A": {**embeddings, "speaking": np.arange(20) % 2}},
        samples={"A": [arrays]},
        audit_pictures={},
    )
    return path


def test_the_verdict_is_the_first_sentence_and_pictures_come_before_tables(page, results):
    text = page.read_text(encoding="utf-8")
    found = Elements(text)
    said = "Of 3 statements checked 1 were reproduced, 0 were not, 2 are open."
    assert sentence(results) == opening(results)[0] == said
    assert text.index(said) < text.index("<figure>") < text.index("<table")
    words = [word.strip() for word in found.words if word.strip()]
    assert words.index(said) < words.index("What was tried")
    assert HOSTILE not in text
    assert not found.of("script")


def test_every_picture_is_said_in_words_and_has_its_numbers(page):
    found = Elements(page.read_text(encoding="utf-8"))
    pictures = found.of("img")
    links = {of["download"]: of["href"] for of in found.of("a") if "download" in of}
    assert len(pictures) == len(found.of("source")) == 6
    assert all(len(of["alt"]) > 40 and any(c.isdigit() for c in of["alt"]) for of in pictures)
    assert links.keys() == {
        "results.json", "map.csv", "figure3.csv", "beyond.csv", "figure4.csv", "embeddings.csv",
        "sample-A-talk-1.csv",
    }  # fmt: skip
    for name, link in links.items():
        content = base64.b64decode(link.partition("base64,")[2]).decode()
        if name.endswith(".csv"):
            rows = list(csv.reader(io.StringIO(content)))
            assert len(rows) > 1
            assert len({len(row) for row in rows}) == 1


@pytest.fixture(scope="module")
def opened(page):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        path = chromium_path(p)
        if path is None:
            pytest.skip("needs Chromium: apt-get install chromium, or set PUSHPULL_CHROMIUM")
        browser = p.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)

        def show(width, scheme):
            window = {"width": width, "height": 800}
            view = browser.new_context(viewport=window, color_scheme=scheme).new_page()
            view.goto(page.as_uri())
            return view

        yield show
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280, 1920])
def test_it_fits_any_screen_and_changes_with_it(opened, width, scheme):
    view = opened(width, scheme)
    view.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    paper = view.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)")
    assert (sum(map(int, paper)) > 600) == (scheme == "light")
    assert view.locator(".verdict").bounding_box()["y"] < 200
    shown = view.evaluate("[...document.images].map(i => i.currentSrc)")
    other = opened(width, "dark" if scheme == "light" else "light")
    others = other.evaluate("[...document.images].map(i => i.currentSrc)")
    assert not set(shown) & set(others)


@pytest.mark.parametrize("width", [375, 800, 1000, 1920])
def test_cards_of_the_first_screen_leave_no_row_half_empty(opened, width):
    first = opened(width, "light").locator(".first")
    assert first.locator("> *").count() > 2
    assert first.evaluate(EMPTY_ENDS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(opened(375, scheme)).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []


def test_on_paper_pictures_are_whole_and_nothing_asks_for_a_click(opened):
    view = opened(1280, "dark")
    view.emulate_media(media="print", color_scheme="light")
    hidden = "[...document.querySelectorAll('.screen')].every(e => !e.getClientRects().length)"
    assert view.evaluate(hidden)
    cut = view.evaluate(
        "[...document.querySelectorAll('figure')].map(e => getComputedStyle(e).breakInside)"
    )
    assert set(cut) == {"avoid"}
    assert view.pdf(format="A4").startswith(b"%PDF")

"""The app as people meet it: pages in a real browser, a real server behind them."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from playwright import sync_api as playwright
from support.app_browser import CHROMIUM_FLAGS, chromium_path
from support.app_server import Running
from support.media_files import make_video
from support.official_score import official_score

from pushpull.annotations import read_table
from pushpull.detection import TurnRules, turns_of

WAIT_MS = 180_000
FAKE_CAMERA = "--use-fake-device-for-media-stream"
FAKE_CONSENT = "--use-fake-ui-for-media-stream"


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as p:
        path = chromium_path(p)
        if path is None:
            pytest.skip("needs Chromium: apt-get install chromium, or set PUSHPULL_CHROMIUM")

        @contextmanager
        def launched(flags):
            browser = p.chromium.launch(executable_path=path, args=flags)
            yield browser
            browser.close()

        yield launched


@pytest.fixture(scope="module")
def browser(chromium):
    with chromium(CHROMIUM_FLAGS) as browser:
        yield browser


@contextmanager
def opened(browser, server, page="detect", expected="Failed to load resource", **options):
    """A page of a new visitor; whatever goes wrong in its scripts fails the test."""
    context = browser.new_context(accept_downloads=True, **options)
    context.set_default_timeout(WAIT_MS)
    view = context.new_page()
    problems = []
    view.on("pageerror", lambda e: problems.append(str(e)))
    view.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    view.goto(f"{server.base}/#{page}")
    yield view
    context.close()
    # An answer of 4xx is logged by the browser itself; pages show it to people.
    assert [p for p in problems if not re.search(expected, p)] == []


def choose(view, path, section="detect"):
    """Take a file through the page's own picker."""
    card = view.locator(f"#page-{section}")
    card.locator("input[type=file]").set_input_files(str(path))
    return card


def example(view, section):
    """Take the bundled video of two people."""
    card = view.locator(f"#page-{section}")
    card.get_by_role("button", name="Example").click()
    card.get_by_text("two-people.mp4").first.wait_for()


def plays(view, selector):
    """Whether a video's time moves when it is played."""
    view.evaluate(
        "s => { const v = document.querySelector(s); v.muted = true; v.play(); }", selector
    )
    view.wait_for_function("s => document.querySelector(s).currentTime > 0.2", arg=selector)
    return True


def test_a_clip_becomes_an_annotated_video_with_a_timeline(browser, server, real_clip, tmp_path):
    with opened(browser, server) as view:
        page = choose(view, real_clip)
        page.get_by_text(real_clip.name).wait_for()
        page.get_by_role("button", name="Who speaks?").click()
        result = view.locator("#job-result")
        result.locator("video").wait_for()
        assert plays(view, "#job-result video")

        curve = result.locator(".curve").first
        assert len(curve.locator(".line").get_attribute("points").split()) > 20
        box = curve.bounding_box()
        view.evaluate("document.querySelector('#job-result video').pause()")
        curve.click(position={"x": box["width"] / 2, "y": 10})
        duration, now = view.evaluate(
            "(({duration, currentTime}) => [duration, currentTime])"
            "(document.querySelector('#job-result video'))"
        )
        assert now == pytest.approx(duration / 2, abs=0.15)
        curve.focus()
        view.keyboard.press("Home")
        view.wait_for_function(
            "() => document.querySelector('#job-result video').currentTime === 0"
        )

        links = result.locator("a[download]")
        names = links.all_inner_texts()
        kinds = [name.partition(".")[2] for name in names]
        assert sorted(kinds) == ["csv", "json", "labels.csv", "mp4", "rttm", "srt", "vtt"]
        for i in range(len(names)):
            with view.expect_download() as download:
                links.nth(i).click()
            path = tmp_path / download.value.suggested_filename
            download.value.save_as(path)
            # A detector with random weights may find nobody speaking: no line there.
            assert path.stat().st_size > 0 or path.suffix in (".rttm", ".srt")


def attack(view, path, steps, **chosen):
    """Fill in the form of the attack page and start."""
    page = choose(view, path, "attack")
    page.get_by_text(path.name).wait_for()
    page.locator("input[name=steps]").fill(str(steps))
    for name, value in chosen.items():
        page.locator(f"select[name={name}]").select_option(value)
    page.get_by_role("button", name="Attack", exact=True).click()
    return page


def test_an_attack_changes_scores_and_abx_of_it_gives_a_result(browser, server, talking, tmp_path):
    with opened(browser, server, "attack") as view:
        example(view, "attack")
        attack(view, talking, 2)
        result = view.locator("#job-result")
        result.locator("video").first.wait_for(state="attached")
        curves = result.locator(".curve").first.locator(".line")
        assert curves.nth(0).get_attribute("points") != curves.nth(1).get_attribute("points")

        pictures = "[...document.querySelectorAll('#job-result img')]"
        view.wait_for_function(f"() => {pictures}.every(i => i.complete && i.naturalWidth > 100)")
        assert view.evaluate(f"{pictures}.length") == 3

        links = result.locator("a[download]")
        assert "results.json" in links.all_inner_texts()
        with view.expect_download() as download:
            links.get_by_text("results.json").click()
        download.value.save_as(tmp_path / "results.json")
        record = json.loads((tmp_path / "results.json").read_text())
        assert record["video"] == talking.name
        assert record["delta"]["audio_linf"] > 0

        result.get_by_role("link", name="Take the ABX test").click()
        abx = view.locator("#page-abx")
        abx.locator("input[name=trials]").fill("5")
        abx.get_by_role("button", name="Start").click()
        for n in range(5):
            abx.get_by_role("heading", name=f"Question {n + 1} of 5").wait_for()
            answer = abx.get_by_role("button", name="X is A")
            assert answer.is_disabled()
            for key in "xab":
                view.keyboard.press(key)
                # The picture that is shown is no blank canvas.
                view.wait_for_function(
                    "() => { const c = document.querySelector('#page-abx canvas');"
                    "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
                    "return d.some((v, i) => i % 4 < 3 && v > 20) }"
                )
            playwright.expect(answer).to_be_enabled(timeout=WAIT_MS)
            if n % 2:
                view.keyboard.press("2")
            else:
                answer.click()
        card = view.locator("#abx-result")
        card.wait_for()
        right = int(re.search(r"(\d) of 5", card.inner_text())[1])
        assert "p-value" in card.inner_text()
        assert all(view.locator("#page-abx thead th").all_inner_texts())
        with view.expect_download() as download:
            card.get_by_role("link", name="Download csv").click()
        download.value.save_as(tmp_path / "abx.csv")
        rows = list(csv.DictReader((tmp_path / "abx.csv").read_text().splitlines()))
        assert len(rows) == 5
        assert sum(int(row["right"]) for row in rows) == right
        kept = [p.read_text() for p in (server.folder / "results").glob("abx-*.csv")]
        assert (tmp_path / "abx.csv").read_text() in kept


@pytest.fixture(scope="module")
def finished(browser, server):
    """A visitor with a detection and an attack that are done."""
    client = server.client()
    video = client.post("/api/examples/two-people").json()
    asked = {"kind": "attack", "attack": "fgsm", "eps": 5, "amplify": 50}
    jobs = [client.start(video, detector="synthetic-a", **more) for more in ({}, asked)]
    for job in jobs:
        assert client.until(job)["state"] == "done"
    cookie = {"name": "pushpull", "value": client.http.cookies["pushpull"], "url": server.base}
    return {"cookies": [cookie], "origins": []}, jobs


@pytest.fixture
def reported(server):
    """A run in the reports."""
    folder = server.folder / "runs" / "shown"
    (folder / "audit").mkdir(parents=True)
    (folder / "audit" / "audit.md").write_text("# Audit")
    verdict = {"verdict": {"sentence": "broken: 0 % is left"}}
    (folder / "audit" / "audit.json").write_text(json.dumps(verdict))
    cv2.imwrite(str(folder / "audit" / "steps.png"), np.full((90, 120, 3), 200, np.uint8))
    yield
    shutil.rmtree(folder)


VIDEOS = "[...document.querySelectorAll('#job-result video')]"
TRACE = """() => {
  window.trace = { sought: [0, 0, 0], rates: [], apart: [], audible: [] };
  const videos = [...document.querySelectorAll('#job-result video')];
  videos.forEach((v, i) => v.addEventListener('seeking', () => { trace.sought[i] += 1; }));
  const look = () => {
    const lead = videos.find((v) => !v.muted);
    trace.audible.push(videos.filter((v) => !v.muted).length);
    trace.rates.push(lead.playbackRate);
    const apart = videos.map((v) => Math.abs(v.currentTime - lead.currentTime));
    if (!lead.paused) trace.apart.push(Math.max(...apart));
    requestAnimationFrame(look);
  };
  look();
}"""


def test_clean_and_attacked_change_places_while_both_play_in_step(browser, server, finished):
    state, (_, job) = finished
    with opened(browser, server, f"jobs/{job}", storage_state=state) as view:
        result = view.locator("#job-result")
        result.locator("video").first.wait_for(state="attached")
        said = result.locator(".verdict").inner_text()
        start = (
            "Same to the eye: at most 0.5 grey levels and 5e-4 of the sound's range; the detector "
        )
        assert said.startswith(start)
        assert re.search("now says otherwise of|still says the same", said)

        view.wait_for_function(f"() => {VIDEOS}.every((v) => v.readyState >= 3)")
        view.evaluate(TRACE)
        seen = "document.querySelector('.shots > .seen')"
        assert view.evaluate(f"{seen}.ariaLabel") == "Attacked"
        result.get_by_role("button", name="Play").click()
        view.wait_for_function(f"() => Math.min(...{VIDEOS}.map((v) => v.currentTime)) > 0.7")
        result.get_by_role("radio", name="Attacked").focus()
        view.keyboard.press("ArrowLeft")
        assert view.evaluate(f"{seen}.ariaLabel") == "Clean"
        assert view.evaluate("document.querySelectorAll('.shots > .seen').length") == 1
        assert view.evaluate(f"{VIDEOS}.map((v) => v.muted)") == [False, True, True]
        # One that fell behind catches up by playing faster.
        view.evaluate(f"{VIDEOS}[1].currentTime -= 0.25")
        view.wait_for_function(f"() => {VIDEOS}[1].playbackRate > 1.05")
        view.wait_for_function(
            f"() => Math.abs({VIDEOS}[1].currentTime - {VIDEOS}[0].currentTime) < 0.05"
        )
        found = view.evaluate("trace")
        assert found["sought"] == [0, 1, 0], "only what the test itself sought was sought"
        assert set(found["rates"]) == {1}, "what is heard is never bent"
        assert set(found["audible"]) == {1}
        assert sorted(found["apart"])[len(found["apart"]) // 2] < 0.2

        result.get_by_role("combobox", name="Sound").select_option("difference")
        assert view.evaluate(f"{VIDEOS}.map((v) => v.muted)") == [True, True, False]
        assert re.search(
            r"only the change . \d+", result.get_by_role("combobox", name="Sound").inner_text()
        )
        view.wait_for_function(f"() => {VIDEOS}.every((v) => v.paused)")
        result.get_by_role("radio", name="Heat map").check(force=True)
        assert view.evaluate(f"{VIDEOS}.map((v) => v.muted)") == [True, True, False]
        coloured = view.evaluate(
            "() => { const c = document.querySelector('canvas.seen');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let n = 0; for (let i = 0; i < d.length; i += 4) n += Math.abs(d[i] - d[i + 2]) > 40;"
            "return n / (d.length / 4) }"
        )
        assert 0.01 < coloured < 0.5, "faces are warm, the rest is grey"


def test_a_detection_is_on_one_screen_and_its_turns_can_be_corrected(
    browser, server, tmp_path, pushpull
):
    with opened(browser, server, viewport={"width": 1280, "height": 800}) as view:
        example(view, "detect")
        view.locator("#page-detect select[name=detector]").select_option("synthetic-a")
        view.get_by_role("button", name="Who speaks?").click()
        result = view.locator("#job-result")
        result.locator("video").wait_for()
        who, slider = result.locator(".who"), result.locator("input[name=threshold]")
        view.wait_for_function("() => document.querySelector('#job-result video').readyState >= 2")
        curves = result.locator(".curve")
        assert curves.count() == 2
        for part in (result.locator("video"), who, slider, curves.first, curves.last):
            box = part.bounding_box()
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= 800

        def saved(name):
            with view.expect_download() as download:
                result.get_by_role("link", name=name, exact=True).first.click()
            download.value.save_as(tmp_path / name)
            return tmp_path / name

        record = json.loads(saved("two-people.json").read_text())
        tracks = record["tracks"]
        rows = result.locator("#turns tbody tr")

        def shown():
            pairs = (
                "[...document.querySelectorAll('#turns tbody tr')].map((r) => "
                "[r.querySelector('button').textContent, "
                "...[...r.querySelectorAll('input')].map((i) => Number(i.value))])"
            )
            return sorted(map(tuple, view.evaluate(pairs)))

        def turns_at(threshold):
            return sorted(
                (
                    f"Face {n}",
                    pytest.approx(turn.start_s, abs=0.006),
                    pytest.approx(turn.end_s, abs=0.006),
                )
                for n, track in enumerate(tracks)
                for turn in turns_of(
                    np.array(track["timestamps_s"]), np.array(track["scores"]),
                    TurnRules(threshold=threshold),
                )
            )  # fmt: skip

        before = shown()
        assert before == turns_at(0.5)
        # A turn leads to its place, and there its face speaks.
        rows.last.get_by_role("button", name="Go to turn").click()
        name, start, _ = max(before, key=lambda turn: turn[1])
        view.wait_for_function(
            "t => Math.abs(document.querySelector('#job-result video').currentTime - t) < 0.03",
            arg=start,
        )
        playwright.expect(who).to_contain_text(name.split()[1])
        assert rows.last.get_attribute("class") == "now"

        settled = "() => !document.querySelector('#turns').ariaBusy"
        slider.focus()
        for _ in range(30):
            view.keyboard.press("ArrowRight")
        result.get_by_text("Threshold 0.80").wait_for()
        view.wait_for_function(settled)
        assert shown() == turns_at(0.8) != before
        # By hand, from where the line is.
        box = curves.first.bounding_box()
        line = curves.first.locator(".limit")
        y = box["y"] + float(line.get_attribute("y1")) / 100 * box["height"]
        view.mouse.move(box["x"] + 30, y)
        view.mouse.down()
        view.mouse.move(box["x"] + 60, box["y"] + box["height"] / 2, steps=4)
        view.mouse.up()
        result.get_by_text(re.compile(r"Threshold 0\.(49|50|51)")).wait_for()
        view.wait_for_function(settled)

        first = rows.first.get_by_role("spinbutton")
        rows.first.get_by_label("End of turn 1").fill(str(float(first.first.input_value()) + 0.32))
        view.keyboard.press("Tab")
        assert slider.is_disabled()
        result.get_by_role("button", name="Add a turn here").click()
        rows.last.get_by_role("button", name="Delete turn").click()
        result.get_by_label("Face of the new turn").select_option("1")
        result.get_by_role("button", name="Add a turn here").click()
        wanted = shown()
        result.get_by_role("button", name="Save corrections").click()
        result.get_by_text("Saved:").wait_for()
        view.reload()
        result.locator("video").wait_for()
        assert shown() == wanted, "corrections are there after a reload"
        assert slider.is_disabled()

        truth, scores = saved("two-people.corrected.csv"), saved("two-people.csv")
        table = read_table(truth)
        says = {
            (table.entities[e], round(t, 3)): bool(s)
            for e, t, s in zip(
                table.entity, table.timestamps_s.tolist(), table.speaking, strict=True
            )
        }
        inside = {
            (track["track_id"], round(t, 3)): any(
                name == f"Face {n}" and start - 0.01 <= t < end - 0.01
                for name, start, end in wanted
            )
            for n, track in enumerate(tracks)
            for t in track["timestamps_s"]
        }
        assert says == inside
        assert 0 < sum(says.values()) < len(says)
        code, out, _ = pushpull("score", truth, scores, "--json")
        assert code == 0
        assert 100 * json.loads(out)["average_precision"] == pytest.approx(
            official_score(truth, scores)
        )

        result.get_by_role("button", name="Discard corrections").click()
        view.wait_for_function("() => !document.querySelector('input[name=threshold]').disabled")


def test_cancel_works_and_the_page_goes_on(browser, server, talking):
    with opened(browser, server, "attack") as view:
        page = attack(view, talking, 1000, modality="visual")
        job = view.locator("#page-jobs")
        job.get_by_text("left in this step").wait_for()
        job.get_by_role("button", name="Cancel").click()
        job.get_by_text("Cancelled. Nothing was kept").wait_for()
        assert view.locator(".problem:visible").count() == 0, "what was wanted is no error"
        view.go_back()
        page.locator("input[name=steps]").fill("1")
        page.get_by_role("button", name="Attack", exact=True).click()
        view.locator("#job-result video").first.wait_for(state="attached")


def test_a_reload_loses_nothing_and_the_list_leads_back(browser, server, talking):
    with opened(browser, server, "attack") as view:
        attack(view, talking, 1000, modality="visual")
        job = view.locator("#page-jobs")
        job.get_by_text("left in this step").wait_for()
        address = view.url
        assert re.search(r"#jobs/[\w-]+$", address)
        view.reload()
        job.get_by_text("left in this step").wait_for()
        job.get_by_role("link", name="all your jobs").click()
        row = view.get_by_role("region", name="Your jobs").get_by_role("listitem")
        row.filter(has_text="running").wait_for()
        assert row.get_by_role("link", name=talking.name).count() == 1
        assert row.locator("time").get_attribute("datetime")
        row.get_by_role("link").click()
        assert view.url == address
        job.get_by_role("button", name="Cancel").click()
        job.get_by_text("Cancelled. Nothing was kept").wait_for()
        job.get_by_role("link", name="all your jobs").click()
        row.filter(has_text="cancelled").get_by_role("button", name="Delete").click()
        row.wait_for(state="detached")
        view.goto(address)
        job.get_by_role("alert").filter(has_text="not there any more").wait_for()


def test_a_page_follows_its_job_through_the_end_of_the_server(
    browser, tmp_path, checkpoint, talking
):
    server = Running(tmp_path, checkpoint)
    try:
        with opened(browser, server, "attack") as view:
            attack(view, talking, 1000, modality="visual")
            job = view.locator("#page-jobs")
            job.get_by_text("left in this step").wait_for()
            server.kill()
            job.get_by_text("The server does not answer").wait_for()
            server = Running(tmp_path, checkpoint, port=server.port)
            job.get_by_text("The server ended before this was done").wait_for()
            job.get_by_role("button", name="Run again").click()
            job.get_by_text("left in this step").wait_for()
            job.get_by_role("button", name="Cancel").click()
            job.get_by_text("Cancelled").wait_for()
    finally:
        server.stop()


def test_a_killed_worker_is_shown_as_an_error(browser, server, talking):
    with opened(browser, server, "attack") as view:
        attack(view, talking, 1000)
        page = view.locator("#page-jobs")
        page.get_by_text("left in this step").wait_for()
        os.kill(server.workers()[0], signal.SIGKILL)
        page.get_by_role("alert").filter(has_text="ended before it was done").wait_for()
        assert page.get_by_role("button", name="Run again").is_enabled()


def test_a_job_that_failed_says_what_to_do_on_a_page(browser, server, tmp_path):
    silent = make_video(tmp_path / "silent.mp4", sound=np.zeros(32_000))
    with opened(browser, server) as view:
        page = choose(view, silent)
        page.get_by_text("silent.mp4").wait_for()
        page.get_by_role("button", name="Who speaks?").click()
        job = view.locator("#page-jobs")
        said = job.get_by_role("alert").filter(has_text="is silent")
        said.wait_for()
        # An option of the command line helps nobody here.
        assert said.inner_text().endswith("give a video with sound")
        below = said.bounding_box()
        again = job.get_by_role("button", name="Run again").bounding_box()
        assert again["y"] > below["y"] + below["height"] + 8
        job.get_by_role("link", name="Choose another video").click()
        page.get_by_text("Drop a video here").wait_for()


def test_each_problem_says_what_to_do(browser, server, tmp_path):
    text = tmp_path / "<img src=x onerror=document.title=1>.mp4"
    text.write_text("words " * 100)
    with opened(browser, server) as view:
        page = choose(view, text)
        page.get_by_role("alert").filter(has_text="is text; expected a video").wait_for()
        assert page.locator(".problem img").count() == 0
        assert page.get_by_role("button", name="Who speaks?").is_disabled()

        # Before anything is sent: the browser knows the size.
        view.evaluate("Object.defineProperty(File.prototype, 'size', { get: () => 300 * 2 ** 20 })")
        choose(view, text)
        page.get_by_role("alert").filter(has_text="expected at most 200").wait_for()

        view.goto(f"{server.base}/#reports")
        view.locator("#page-reports").get_by_text("No runs yet").wait_for()
        view.goto(f"{server.base}/#abx")
        view.locator("#page-abx").get_by_text("Nothing to compare yet").wait_for()


def test_a_recording_of_the_camera_is_taken(browser, server):
    with opened(browser, server) as view:
        page = view.locator("#page-detect")
        page.get_by_role("button", name="Record").click()
        page.get_by_role("button", name="Stop").wait_for()
        view.wait_for_timeout(1500)
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("recording.webm").wait_for()
        # The fake camera shows a clock, no face.
        page.get_by_role("button", name="Who speaks?").click()
        view.get_by_role("alert").filter(has_text="no face was found").wait_for()


def test_reports_open_and_run_no_script(browser, server):
    folder = server.folder / "runs" / "demo"
    folder.mkdir()
    (folder / "report.html").write_text(
        "<h1>All rows</h1><script>parent.document.title = document.title = 'ran'</script>"
    )
    (folder / "audit.md").write_text("# Verdict\n<b>not markup</b>")
    blocked = "Blocked script execution"
    with opened(browser, server, "reports", expected=blocked) as view:
        view.get_by_role("button", name="report.html").click()
        frame = view.frame_locator("#report-view iframe")
        frame.get_by_role("heading", name="All rows").wait_for()
        assert view.title() == "Reports · pushpull"
        view.get_by_role("button", name="audit.md").click()
        view.get_by_text("<b>not markup</b>").wait_for()
    shutil.rmtree(folder)


NARROW, WIDE = 375, 1920


@pytest.fixture(scope="module")
def axe():
    """Looks for what people with a screen reader or weak sight cannot use."""
    found = pytest.importorskip("axe_playwright_python.sync_playwright")
    return found.Axe()


def everywhere(view, server, jobs):
    """Each page in turn, the results of jobs among them."""
    for place in ("detect", "live", "attack", "abx", "reports", *(f"jobs/{job}" for job in jobs)):
        view.goto(f"{server.base}/#{place}")
        name = place.partition("/")[0]
        view.locator(f"#page-{name} h1").wait_for()
        if name == "jobs":
            view.locator("#job-result .card").first.wait_for()
        view.wait_for_timeout(200)
        yield place


def test_all_pages_fit_and_can_be_used_by_everybody(browser, server, finished, reported, axe):
    state, jobs = finished
    for width in (NARROW, 1280):
        # Colours change at once, not over time.
        look = {"viewport": {"width": width, "height": 800}, "reduced_motion": "reduce"}
        with opened(browser, server, storage_state=state, **look) as view:
            for place in everywhere(view, server, jobs):
                for scheme in ("light", "dark"):
                    view.emulate_media(color_scheme=scheme)
                    found = axe.run(view)
                    assert found.violations_count == 0, f"{place} {scheme} {width}: " + "; ".join(
                        f"{one['id']} at {[node['target'] for node in one['nodes']][:3]}"
                        for one in found.response["violations"]
                    )


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_nothing_is_wider_than_a_screen_and_results_use_a_wide_one(
    browser, server, finished, reported, width
):
    state, jobs = finished
    size = {"width": width, "height": 900}
    with opened(browser, server, viewport=size, storage_state=state) as view:
        for place in everywhere(view, server, jobs):
            wide = view.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{place} is {wide} pixels wide"
            if place.startswith("jobs/"):
                left, right = (
                    view.locator("#job-result .watch > .card").nth(n).bounding_box() for n in (0, 1)
                )
                beside = right["y"] < left["y"] + left["height"] and right["x"] > left["x"]
                assert beside == (width == WIDE)


def test_a_report_is_listed_with_its_picture_time_and_verdict(browser, server, reported):
    with opened(browser, server, "reports") as view:
        row = view.locator("#page-reports li").filter(has_text="shown/audit")
        row.get_by_text("broken: 0 % is left").wait_for()
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", row.inner_text())
        drawn = "i => i.complete && i.naturalWidth === 120"
        view.wait_for_function(drawn, arg=row.locator("img.thumb").element_handle())


def test_a_phone_and_a_keyboard_are_enough(browser, server):
    with opened(browser, server, viewport={"width": 360, "height": 740}) as view:
        for name in ("Detect", "Live", "Attack", "ABX", "Reports"):
            view.get_by_role("link", name=name, exact=True).focus()
            view.keyboard.press("Enter")
            view.wait_for_function("n => document.title.startsWith(n)", arg=name)
            wide = view.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360, f"{name} is {wide} pixels wide"


@pytest.fixture(scope="module")
def camera(real_clip, tmp_path_factory):
    """Flags for a camera and a microphone that give a clip over and over."""
    folder = tmp_path_factory.mktemp("camera")
    given = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", real_clip]
    pictures, sound = folder / "camera.mjpeg", folder / "microphone.wav"
    subprocess.run([*given, "-r", "25", "-q:v", "3", pictures], check=True)
    subprocess.run([*given, "-ac", "1", "-ar", "48000", sound], check=True)
    return [
        *CHROMIUM_FLAGS,
        f"--use-file-for-fake-video-capture={pictures}",
        f"--use-file-for-fake-audio-capture={sound}",
    ]


def test_a_face_before_the_camera_is_scored_while_it_is_seen(chromium, server, camera):
    with (
        chromium(camera) as browser,
        opened(browser, server, "live", viewport={"width": 375, "height": 740}) as view,
    ):
        page = view.locator("#page-live")
        answers = []
        view.on(
            "response",
            lambda r: (
                answers.append(r.json())
                if r.status == 200 and re.search(r"/api/live/[^/]+\?", r.url)
                else None
            ),
        )
        page.get_by_text("do not leave this machine").wait_for()
        view.evaluate(
            "() => { const devices = navigator.mediaDevices;"
            "const given = devices.getUserMedia.bind(devices);"
            "devices.getUserMedia = async (...a) => window.camera = await given(...a) }"
        )
        # One that keeps up with a camera on a busy machine.
        page.locator("select[name=detector]").select_option("synthetic-a")
        page.get_by_role("button", name="Start").click()
        page.get_by_text(re.compile(r"^Face \d+ speaks|^Nobody speaks")).wait_for()
        page.get_by_text(re.compile(r"scores \d\.\d s behind, \d+ left out")).wait_for()
        view.wait_for_timeout(2000)
        scores = [row for found in answers for row in found["scores"]]
        assert {row["final"] for row in scores} == {True, False}
        assert len({row["time_s"] for row in scores}) > 20
        # The picture that is shown is the camera's.
        drawn = view.evaluate(
            "() => { const c = document.querySelector('canvas.live');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return d.filter((v, i) => i % 4 < 3 && v > 60).length / d.length }"
        )
        assert drawn > 0.2
        assert view.evaluate("document.documentElement.scrollWidth") <= 375
        assert len(server.workers()) >= 2

        def late(route):
            found = route.fetch()
            answer = found.json()
            for row in answer.get("scores", []):
                row["time_s"] -= 3
            route.fulfill(response=found, json=answer)

        view.route(re.compile(r"/api/live/[^/]+\?"), late)
        page.get_by_text("Scores come too late to be shown").wait_for()
        view.unroute_all(behavior="ignoreErrors")
        page.get_by_text(re.compile(r"^Face \d+ speaks|^Nobody speaks")).wait_for()

        view.evaluate("camera.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
        page.get_by_role("alert").filter(has_text="is gone. Plug it in").wait_for()
        page.get_by_role("button", name="Start").click()
        page.get_by_text("The detector is being loaded").wait_for()
        page.get_by_role("button", name="Stop").wait_for()

        # The end of the page is the end of the process.
        running = set(server.workers())
        view.goto("about:blank")
        end = time.monotonic() + 60
        while running <= set(server.workers()):
            assert time.monotonic() < end
            time.sleep(0.2)


def test_a_camera_that_is_refused_or_unsafe_says_what_to_do(chromium, server):
    flags = [f for f in CHROMIUM_FLAGS if f != FAKE_CONSENT]
    with (
        chromium([*flags, "--deny-permission-prompts"]) as browser,
        opened(browser, server, "live") as view,
    ):
        page = view.locator("#page-live")
        page.get_by_role("button", name="Start").click()
        page.get_by_role("alert").filter(has_text="was refused. Allow both").wait_for()
        assert page.get_by_role("button", name="Start").is_enabled()
        view.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
        page.get_by_role("button", name="Start").click()
        page.get_by_role("alert").filter(has_text="open this app as localhost").wait_for()
    without = [f for f in flags if f != FAKE_CAMERA]
    with chromium([*without, FAKE_CONSENT]) as browser, opened(browser, server, "live") as view:
        page = view.locator("#page-live")
        page.get_by_role("button", name="Start").click()
        page.get_by_role("alert").filter(has_text="was found. Plug in").wait_for()

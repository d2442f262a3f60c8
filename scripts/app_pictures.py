"""Pictures of the web app and of reports for the documents, on desktop and phone, light and dark.

    PUSHPULL_WEIGHTS_PATH=../shared/weights python scripts/app_pictures.py OUT [--runs demo-out]
        [--only pages | reports | app]

Starts the app on a free port, detects and attacks the bundled example (synthetic people), corrects
a turn, takes a listening test, looks through a camera that shows a synthetic person, fails on a
silent video, opens a report. Of `report.html` and `audit.html` below --runs it draws the first
screens: report.png and audit.png. What it draws is what a visitor sees: nothing is made up.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.app_browser import CHROMIUM_FLAGS, chromium_path  # noqa: E402
from support.media_files import make_video  # noqa: E402

from pushpull.synthetic import one_face_video  # noqa: E402

SIZES = {"wide": (1920, 1080), "desktop": (1280, 800), "phone": (375, 812)}
WAIT_MS = 300_000

PAGE = {"width": 1000, "height": 1500}
"""Of a report: its first screens."""


def main() -> None:
    """Start the app and take all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, default=None, help="Folder with a report.")
    parser.add_argument("--only", choices=("pages", "reports", "app"), default=None)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.only in (None, "pages") and asked.runs is not None:
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=chromium_path(p), args=CHROMIUM_FLAGS)
            take_pages(browser, asked.runs, asked.out)
            browser.close()
    if asked.only == "pages":
        return
    with tempfile.TemporaryDirectory() as results, tempfile.TemporaryDirectory() as shown:
        runs = asked.runs or Path(results)
        command = [sys.executable, "-m", "pushpull", "app", "--port", "0", "--out", results]
        server = subprocess.Popen(
            [*command, "--runs", str(runs), "--face-finder", "dlib"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            base = server.stdout.readline().strip() if server.stdout else ""
            with sync_playwright() as p:
                path = chromium_path(p)
                seen = [] if asked.only == "reports" else camera(Path(shown))
                browser = p.chromium.launch(executable_path=path, args=[*CHROMIUM_FLAGS, *seen])
                if asked.only == "reports":
                    take_reports(browser.new_page(), base, asked.out)
                else:
                    take_all(browser, base, asked.out)
                browser.close()
        finally:
            server.terminate()
            server.wait()


def camera(folder: Path) -> list[str]:
    """Flags for a camera and a microphone that give a synthetic person over and over."""
    film, pictures, sound = (folder / f"camera.{kind}" for kind in ("mp4", "mjpeg", "wav"))
    one_face_video(film, seed=1, duration_s=4.0)
    convert = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(film)]
    subprocess.run([*convert, "-r", "25", "-q:v", "3", str(pictures)], check=True)
    subprocess.run([*convert, "-ac", "1", "-ar", "48000", str(sound)], check=True)
    return [
        f"--use-file-for-fake-video-capture={pictures}",
        f"--use-file-for-fake-audio-capture={sound}",
    ]


def take_pages(browser: Browser, runs: Path, out: Path) -> None:
    """The first screens of a reproduction's page and of an audit's."""
    for name in ("report", "audit"):
        found = sorted(runs.rglob(f"{name}.html"))
        if found:
            page = browser.new_page(viewport=PAGE)
            page.goto(found[0].resolve().as_uri())
            page.wait_for_timeout(500)
            page.screenshot(path=out / f"{name}.png")
            print(out / f"{name}.png", "of", found[0])
            page.close()


def take_all(browser: Browser, base: str, out: Path) -> None:
    """One visitor does everything; each state is taken in all ways."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, permissions=["camera", "microphone"]
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(f"{base}#detect")
    section = page.locator("#page-detect")
    section.get_by_role("button", name="Example").wait_for()
    take(page, out, "front")
    silent = make_video(out / "silent.mp4", sound=np.zeros(32_000))
    section.locator("input[type=file]").first.set_input_files(silent)
    section.locator(".chosen").wait_for()
    silent.unlink()
    section.get_by_role("button", name="Who speaks?").click()
    page.locator("#page-jobs .problem").wait_for()
    take(page, out, "failed")
    page.goto(f"{base}#detect")
    section.get_by_role("button", name="Example").click()
    section.locator(".chosen").wait_for()
    section.get_by_role("button", name="Who speaks?").click()
    page.locator("#job-result video").wait_for()
    at(page, "#job-result video", 1.2)
    take(page, out, "detect")
    turn = page.locator("#turns tbody tr").first
    turn.get_by_label("End of turn 1").fill("0.9")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Save corrections").click()
    page.get_by_text("Saved:").wait_for()
    take(page, out, "corrected")

    page.goto(f"{base}#attack")
    page.locator("#page-attack .chosen").wait_for()
    page.get_by_role("button", name="Attack", exact=True).click()
    page.locator("#page-jobs").get_by_text("left in this step").wait_for()
    take(page, out, "progress")
    page.locator("#job-result video").first.wait_for(state="attached")
    at(page, "#job-result video", 1.2)
    take(page, out, "attack")
    page.locator("input[value=heat]").check(force=True)
    page.wait_for_timeout(500)
    take(page, out, "heat")

    page.goto(f"{base}#detect")
    page.get_by_role("region", name="Your jobs").wait_for()
    take(page, out, "jobs")

    page.goto(f"{base}#abx")
    page.locator("#page-abx input[name=trials]").fill("5")
    take(page, out, "abx-start")
    page.get_by_role("button", name="Start").click()
    for n in range(5):
        page.get_by_role("heading", name=f"Question {n + 1} of 5").wait_for()
        for key in "xab":
            page.keyboard.press(key)
            page.wait_for_timeout(400)
        if n == 2:
            take(page, out, "abx")
        page.get_by_role("button", name="X is A").click()
    page.locator("#abx-result").wait_for()
    take(page, out, "abx-result")

    page.goto(f"{base}#live")
    take(page, out, "live-start")
    page.get_by_role("button", name="Start").click()
    page.locator("#page-live").get_by_text(
        re.compile(r"^Face \d+ speaks|^Nobody speaks")
    ).wait_for()
    page.wait_for_timeout(3000)
    take(page, out, "live")
    take_reports(page, base, out)
    context.close()


def take_reports(page: Page, base: str, out: Path) -> None:
    """The list of reports, and with the first that can be read on a page."""
    page.goto(f"{base}#reports")
    page.locator("#page-reports .card").first.wait_for()
    page.wait_for_timeout(1000)
    take(page, out, "reports-list")
    report = page.get_by_role("button", name=re.compile(r"(report|audit)\.html"))
    if report.count():
        report.first.click()
        page.frame_locator("#report-view iframe").locator("h1").wait_for()
        page.wait_for_timeout(1000)
    take(page, out, "reports")


def at(page: Page, videos: str, time_s: float) -> None:
    """Show a moment of some videos."""
    page.evaluate(
        "([s, t]) => document.querySelectorAll(s).forEach(v => { v.currentTime = t; })",
        [videos, time_s],
    )
    page.wait_for_function(
        "s => [...document.querySelectorAll(s)].every(v => !v.seeking && v.readyState >= 2)",
        arg=videos,
    )
    page.wait_for_timeout(500)


def take(page: Page, out: Path, name: str) -> None:
    """The whole page at both widths, light and dark."""
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.wait_for_timeout(250)
            path = out / f"app-{name}-{size}-{scheme}.png"
            page.screenshot(path=path, full_page=True)
            print(path)
    page.set_viewport_size({"width": 1280, "height": 800})


if __name__ == "__main__":
    main()

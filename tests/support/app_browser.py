"""Finding and starting a Chromium, for tests of the web app and for pictures of it."""

import os
import shutil
from pathlib import Path

# As root there is no sandbox, and a machine without network is not to be asked for updates.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def chromium_path(p):
    """A Chromium on this machine, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = [os.environ.get("PUSHPULL_CHROMIUM"), *map(shutil.which, names)]
    found += [p.chromium.executable_path]
    return next((path for path in found if path and Path(path).exists()), None)


EMPTY_ENDS = """e => {
  const end = e.getBoundingClientRect().right, ends = {};
  for (const child of e.children) {
    const at = child.getBoundingClientRect();
    ends[Math.round(at.top)] = Math.max(ends[Math.round(at.top)] ?? 0, at.right);
  }
  return Object.values(ends).map(right => Math.round(end - right)).filter(gap => gap > 1);
}"""
"""What rows of cards leave empty at their ends, in pixels."""

"""Many videos: the same results by however many processes, failures named, nothing done twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.many_videos import ASKED, listed, results, some_videos

from pushpull.detection import Saving, detect_many
from pushpull.errors import MediaError, OutputExists


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return some_videos(tmp_path_factory.mktemp("videos"))


def test_processes_make_the_same_files_as_one(videos, tmp_path, checkpoint):
    ended = {}
    for workers in (1, 2):
        done = detect_many(
            listed(videos), tmp_path / str(workers), checkpoint, workers=workers, **ASKED
        )
        ended[workers] = {one.name: one for one in done}
    assert list(ended[1]) == ["a", "broken", "b", "c", "a-2"]
    assert set(ended[1]) == set(ended[2])
    for found in ended.values():
        assert isinstance(found["broken"].error, MediaError)
        assert found["broken"].record is None
        assert found["a-2"].path == videos / "more/a.mp4"
        assert all(one.error is None and not one.kept for n, one in found.items() if n != "broken")
    assert results(tmp_path / "1") == results(tmp_path / "2")
    assert len(results(tmp_path / "1")) == 4 * 6


def test_what_is_done_is_kept_by_content(videos, tmp_path, checkpoint):
    mine = tmp_path / "mine"
    shutil.copytree(videos, mine)
    out = tmp_path / "out"

    def kept(**changed) -> dict[str, bool]:
        done = detect_many(listed(mine), out, checkpoint, **ASKED | changed)
        return {one.name: one.kept for one in done if one.error is None}

    assert not any(kept().values())
    first = {one.name: one.record for one in detect_many(listed(mine), out, checkpoint, **ASKED)}
    os.utime(mine / "a.mp4")
    assert all(kept().values())
    # A file that is gone, or another content, is done again; the rest is not.
    (out / "b.rttm").unlink()
    assert [name for name, was in kept().items() if not was] == ["b"]
    assert not any(kept(saving=Saving(video="none", overwrite=True)).values())
    shutil.copy(videos / "b.mp4", mine / "c.mp4")
    with pytest.raises(OutputExists, match=r"c\.csv: is there already, made of another input"):
        kept()
    assert first["a"]["tracks"] == next(
        one.record["tracks"]
        for one in detect_many(listed(mine)[:1], tmp_path / "new", checkpoint, **ASKED)
    )


def test_stopped_and_begun_again(videos, tmp_path, checkpoint):
    """Killed after the first is written: the second run does the others only."""
    arguments = [
        sys.executable, "-m", "pushpull", "detect", *map(str, listed(videos)), "-o", "out",
        "-d", str(checkpoint), "--face-finder", "dlib", "--video", "none", "--workers", "1",
        "--json",
    ]  # fmt: skip
    run = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end_s = time.monotonic() + 120
    while not (tmp_path / "out/a.vtt").exists():
        assert time.monotonic() < end_s, run.poll()
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    before = (tmp_path / "out/a.json").read_bytes()
    again = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert again.returncode == 1
    assert "1 of 5 videos failed" in again.stderr
    records = json.loads(again.stdout)["videos"]
    assert len(records) == 5
    assert [Path(r["video"]).name for r in records if "error" in r] == ["broken.mp4"]
    assert (tmp_path / "out/a.json").read_bytes() == before

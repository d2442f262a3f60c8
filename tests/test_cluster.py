"""A cluster gives what one machine gives: one cluster for all that can work on one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.many_videos import ASKED, listed, results, some_videos
from support.ray_cluster import ray_cluster, search_path

from pushpull.data.ava import find_sources, prepare, write_synthetic_ava
from pushpull.detection import detect_many

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Ray is tried on Linux only")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Its address."""
    with ray_cluster() as address:
        yield address


def test_many_videos_are_detected_as_they_are_here(cluster, tmp_path, checkpoint, monkeypatch):
    (tmp_path / "videos").mkdir()
    videos = some_videos(tmp_path / "videos")
    monkeypatch.chdir(videos)
    names = [str(path.relative_to(videos)) for path in listed(videos)]
    list(detect_many(names, tmp_path / "here", checkpoint, **ASKED))
    where = {"workers": 2, "engine": "ray", "address": cluster}
    done = list(detect_many(names, tmp_path / "ray", checkpoint, **where, **ASKED))
    assert sorted(one.name for one in done if one.error is None) == ["a", "a-2", "b", "c"]
    assert results(tmp_path / "ray") == results(tmp_path / "here")


def test_two_nodes_write_the_same_bytes_of_ava(cluster: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_synthetic_ava(source, videos=3, duration_s=1.0, size=(160, 120), seed=3)
    videos = sorted(source.rglob("*.mp4"))
    shutil.move(videos[0], tmp_path / "elsewhere.mp4")
    videos[1].write_bytes(videos[1].read_bytes()[:2000])
    here = prepare(find_sources(source), tmp_path / "here")
    command = [sys.executable, "-m", "pushpull", "data", "ava", str(source), "--out", "there"]
    done = subprocess.run(
        [*command, "--workers", "2", "--engine", "ray", "--ray-address", cluster],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        env=os.environ | {"PYTHONPATH": search_path()},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert videos[0].stem in done.stderr
    there = tmp_path / "there"
    files = sorted(p.relative_to(there) for p in there.rglob("*.arrow"))
    assert files == sorted(
        p.relative_to(tmp_path / "here") for p in (tmp_path / "here").rglob("*.arrow")
    )
    assert len(files) > 1
    for file in files:
        assert (there / file).read_bytes() == (tmp_path / "here" / file).read_bytes()
    assert len(here.problems) == 2


def test_pieces_end_as_they_do_here(cluster: str, tmp_path: Path) -> None:
    script = tmp_path / "cluster.py"
    script.write_text(PIECES.format(path=sys.path, address=cluster))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    # Ray tells of lost workers there too.
    said = [line.partition("found ") for line in done.stdout.splitlines()]
    lines = [found for before, mark, found in said if mark and not before]
    assert lines[:4] == ["0 5", "1 no such data", "2 unknown thing 'x': choose one of a, b", "3 6"]
    assert lines[4].startswith("4 piece 4: lost by the cluster")
    assert lines[5:] == ["bug _Twofold: one and two"]


PIECES = """
import sys
sys.path[:0] = {path!r}
from support import pieces as work
from pushpull.runtime.workers import run_pieces

if __name__ == "__main__":
    where = {{"workers": 2, "engine": "ray", "address": {address!r}}}
    pieces = {{f"piece {{k}}": (n,) for k, n in enumerate([5, -1, -2, 6, -4])}}
    found = {{o.piece: o for o in run_pieces(pieces, work.choosy, **where)}}
    for k in range(5):
        o = found[f"piece {{k}}"]
        print("found", k, o.result if o.error is None else o.error)
    try:
        list(run_pieces({{"bug": (-5,)}}, work.choosy, **where))
    except RuntimeError as e:
        print("found bug", str(e).splitlines()[-1].rsplit(".", 1)[-1])
"""

"""The same preparation on a real Ray cluster of two nodes, and clusters that are not there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pushpull.data.ava import find_sources, prepare, write_synthetic_ava

RAY = Path(sys.executable).with_name("ray")


def ray(*arguments: object) -> str:
    done = subprocess.run(
        [RAY, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
    )
    return done.stdout


@pytest.fixture
def cluster():
    """Address of a head and one more node, with one processor each."""
    ray("start", "--head", "--port", 0, "--num-cpus", 1, "--include-dashboard", "false")
    address = Path("/tmp/ray/ray_current_cluster").read_text().strip()
    assert re.fullmatch(r"[\d.]+:\d+", address)
    ray("start", "--address", address, "--num-cpus", 1)
    yield address
    ray("stop", "--force")


def test_two_nodes_write_the_same_bytes(tmp_path: Path, cluster: str) -> None:
    source = tmp_path / "source"
    write_synthetic_ava(source, videos=3, duration_s=1.5, size=(160, 120), seed=3)
    videos = sorted(source.rglob("*.mp4"))
    shutil.move(videos[0], tmp_path / "elsewhere.mp4")
    videos[1].write_bytes(videos[1].read_bytes()[:2000])
    here = prepare(find_sources(source), tmp_path / "here")
    command = [sys.executable, "-m", "pushpull", "data", "ava", str(source), "--out", "there"]
    done = subprocess.run(
        [*command, "--workers", "2", "--cluster", cluster],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
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


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:9", "'127.0.0.1:9': no Ray cluster answers there; start one"),
        ("nowhere", "'nowhere'; expected HOST:PORT or auto"),
        ("[::1:9", "'[::1:9'; expected HOST:PORT or auto"),
    ],
)
def test_no_cluster_is_said(tmp_path: Path, pushpull, address: str, says: str) -> None:
    source = tmp_path / "source"
    write_synthetic_ava(source, videos=2, duration_s=1.0, size=(160, 120), seed=3)
    out = tmp_path / "out"
    code, _, err = pushpull("data", "ava", source, "--out", out, "--cluster", address)
    assert code == 1
    assert f"error: --cluster is {says}" in err

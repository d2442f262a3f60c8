"""Fixtures that every test may use."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from pushpull.cli import main
from pushpull.data import SynthConfig, write_synth
from pushpull.models import LRASD
from pushpull.models.checkpoints import save
from pushpull.runtime.malloc import release_freed_memory
from pushpull.synthetic import one_face_video

# How long an example takes says something of the machine, nothing of the law.
settings.register_profile("pushpull", deadline=None)
settings.load_profile("pushpull")

# Ignored in the background of a script (`make test &`), and so by every process that tests begin.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CAN_SCHEDULE = hasattr(os, "sched_getscheduler")
USUAL = os.sched_getscheduler(0) if CAN_SCHEDULE else None
"""How the system shares out processor time to this process, as whoever began it wants."""

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pages of the documents first: each takes minutes, and none is to be left for the end."""
    items.sort(key=lambda item: "test_every_block_does_what_the_page_says" not in item.name)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data that lies beside the project on development machines, never at a user's."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (reference outputs, weights, clips): not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def talking(tmp_path_factory) -> Path:
    """A synthetic person who talks, 1 s."""
    path = tmp_path_factory.mktemp("talking") / "talking.mp4"
    one_face_video(path, seed=1, duration_s=1.0, size=(320, 240))
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A detector with random weights, so that no download is needed."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    torch.manual_seed(0)
    save(LRASD().eval(), path)
    return path


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A synthetic data set of 14 short tracks: 10, 2 and 2."""
    root = tmp_path_factory.mktemp("data") / "synthetic"
    write_synth(root, SynthConfig(tracks=14, seed=3, min_frames=6, max_frames=12))
    return root


@pytest.fixture
def pushpull(capsys, monkeypatch):
    """Run `pushpull ...` in this process: exit code, stdout, stderr."""

    def pushpull(*arguments):
        monkeypatch.setattr(sys, "argv", ["pushpull", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as e:
            code = e.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return pushpull


@pytest.fixture(autouse=True, scope="module")
def _no_more_memory_than_is_used() -> Iterator[None]:
    """A command keeps what it has freed; one process does hundreds of them here."""
    yield
    release_freed_memory()


@pytest.fixture(autouse=True)
def _at_usual_priority() -> Iterator[None]:
    """Native code may raise its own; processes that are begun later would starve all else."""
    yield
    assert not CAN_SCHEDULE or os.sched_getscheduler(0) == USUAL


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> None:
    # Tests run in parallel processes, so each keeps to one thread.
    torch.set_num_threads(1)
    torch.manual_seed(0)

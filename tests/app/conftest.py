"""One server for all tests of the web app, and visitors of it."""

from pathlib import Path

import pytest
from support.app_server import Running


@pytest.fixture(scope="session")
def server(tmp_path_factory, checkpoint):
    running = Running(tmp_path_factory.mktemp("app"), checkpoint)
    yield running
    running.stop()


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture(scope="session")
def real_clip(talking):
    """A real clip of 3 s where there is one, else a synthetic one of 1 s."""
    path = Path(__file__).resolve().parents[3] / "shared" / "clips" / "grid_s31_bgiq6p.mpg"
    return path if path.is_file() else talking

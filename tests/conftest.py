"""Fixtures that every test may use."""

from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data that lies beside the project on development machines, never at a user's."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (reference outputs, weights, clips): not on this machine")
    return SHARED


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> None:
    # Tests run in parallel processes, so each keeps to one thread.
    torch.set_num_threads(1)
    torch.manual_seed(0)

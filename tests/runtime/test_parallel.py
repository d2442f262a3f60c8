"""Two processes that share a batch compute what one computes of the whole."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).parents[1] / "support" / "parallel_worker.py"


def together(world, file) -> list[dict[str, torch.Tensor]]:
    workers = [
        subprocess.Popen([sys.executable, WORKER, str(rank), str(world), str(file)])
        for rank in range(world)
    ]
    assert [w.wait(timeout=120) for w in workers] == [0] * world
    return [torch.load(f"{file}.{rank}", weights_only=True) for rank in range(world)]


@pytest.mark.parametrize("world", [2, 3])
def test_losses_gradients_and_statistics_are_those_of_one_process(tmp_path, world) -> None:
    (alone,) = together(1, tmp_path / "one")
    for shared in together(world, tmp_path / "many"):
        assert set(shared) == set(alone)
        for name, value in alone.items():
            assert torch.allclose(shared[name], value, rtol=1e-10, atol=1e-12), name

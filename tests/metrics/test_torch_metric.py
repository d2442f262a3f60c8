"""The torch metric: over batches, types, resets and processes."""

import socket

import pytest
import torch

from pushpull.errors import ShapeError
from pushpull.metrics import AVAAveragePrecision, average_precision


def test_the_torch_metric_agrees_over_batches_with_masks():
    torch.manual_seed(0)
    metric = AVAAveragePrecision()
    kept_scores, kept_speaking = [], []
    for t in (5, 9, 2):
        scores, speaking = torch.randn(3, t), torch.rand(3, t) < 0.4
        mask = torch.rand(3, t) < 0.8
        metric.update(scores, speaking, mask)
        kept_scores.append(scores[mask])
        kept_speaking.append(speaking[mask])
    want = average_precision(torch.cat(kept_scores).double(), torch.cat(kept_speaking))
    assert metric.compute().item() == pytest.approx(want, abs=1e-12)


def test_the_torch_metric_refuses_unlike_shapes():
    with pytest.raises(ShapeError, match=r"scores is \(2, 3\), speaking \(2, 4\)"):
        AVAAveragePrecision().update(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_torch_metric_keeps_scores_of_any_type_as_they_are(dtype):
    torch.manual_seed(1)
    scores, speaking = torch.randn(200).to(dtype), torch.rand(200) < 0.4
    metric = AVAAveragePrecision()
    metric.update(scores, speaking.long())
    assert metric.compute().item() == average_precision(scores.double(), speaking)


def test_the_torch_metric_has_no_value_without_speaking_frames():
    metric = AVAAveragePrecision()
    metric.update(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ShapeError, match="none of 3 rows is positive"):
        metric.compute()


def test_the_torch_metric_starts_anew_after_a_reset():
    metric = AVAAveragePrecision()
    metric.update(torch.tensor([2.0, 1.0]), torch.tensor([0, 1]))
    metric.reset()
    metric.update(torch.tensor([1.0, 2.0]), torch.tensor([0, 1]))
    assert metric.compute() == 1


def frames():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(101, generator=generator), torch.rand(101, generator=generator) < 0.3


# Which frames each of two processes sees.
SHARES = {
    "every second": (slice(0, None, 2), slice(1, None, 2)),
    "all and none": (slice(None), None),
    "none and all": (None, slice(None)),
}


def merge(rank, port, path):
    """A process of two: sees its share, writes what the merged metric says."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    scores, speaking = frames()
    for name, shares in SHARES.items():
        metric = AVAAveragePrecision()
        if shares[rank] is not None:
            metric.update(scores[shares[rank]], speaking[shares[rank]])
        (path / f"{name}-{rank}.txt").write_text(repr(metric.compute().item()))
    torch.distributed.destroy_process_group()


def test_two_processes_merge_to_the_score_of_all_frames(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    processes = [context.Process(target=merge, args=(rank, port, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    scores, speaking = frames()
    want = average_precision(scores.double(), speaking)
    for name in SHARES:
        for rank in range(2):
            value = float((tmp_path / f"{name}-{rank}.txt").read_text())
            assert value == pytest.approx(want, abs=1e-12)

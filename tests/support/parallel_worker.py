"""One of several processes: losses, gradients and batch norm over its share of a batch."""

import sys

import torch
import torch.distributed as dist

from pushpull.losses.avil import Avil, training_loss
from pushpull.models.blocks import batch_norm
from pushpull.schema import Output


def shares(rank: int, world: int, file: str) -> dict[str, torch.Tensor]:
    """What this process computes from its clips; gradients averaged as data-parallel training."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (4, 6), generator=generator)
    mask = torch.arange(6) < torch.tensor([6, 4, 5, 3])[:, None]
    mine = slice(rank, None, world)
    torch.manual_seed(1)
    bn = torch.nn.BatchNorm1d(3, momentum=0.1).double().train()
    torch.nn.init.uniform_(bn.weight)
    w = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    e = (batch_norm(x[mine], bn, mask[mine]).transpose(1, 2) @ w).tanh()
    e_a, e_v = e, e.roll(1, -1) * 0.7 + 0.1
    output = Output(logits=e[..., :2], mask=mask[mine], e_a=e_a, e_v=e_v)
    terms = training_loss(output, labels[mine], Avil(l1=1, l2=1, l3=1, l4=1))
    terms["total"].backward()
    grads = {"w": w.grad, "scale": bn.weight.grad, "shift": bn.bias.grad}
    if world > 1:
        for grad in grads.values():
            dist.all_reduce(grad)
            grad /= world
    found = {k: v.detach() for k, v in terms.items()} | grads
    return found | {"mean": bn.running_mean, "var": bn.running_var}


if __name__ == "__main__":
    rank, world, file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{file}.init", rank=rank, world_size=world
        )
    torch.save(shares(rank, world, file), f"{file}.{rank}")
    if world > 1:
        # Who leaves while others still talk ends with an abort now and then.
        dist.barrier()
        dist.destroy_process_group()

"""Gradients past modules that ruin them: the answer stays, its derivative is another's.

A module that rounds, ripples or adds noise in front of a detector may leave no gradient of use,
though what it computes is nearly what it was given. On the way back such a module is taken for the
identity (BPDA, Athalye et al., "Obfuscated Gradients", ICML 2018). Scores stay the detector's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pushpull.errors import ConfigError, UnknownName
from pushpull.schema import Batch

__all__ = ["bypassed", "early_modules"]

LIKE = 0.5
"""The most that a module that is taken for the identity may change its input, as a share of the
input's spread."""


@contextmanager
def bypassed(detector: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Take modules for the identity on the way back, for a while.

    Args:
        detector: Whose modules.
        names: As `named_modules` has them.

    Raises:
        UnknownName: If the detector has no such module.
        ConfigError: If what one gives is of another shape than what it is given.

    Examples:
        >>> from pushpull.attacks.bypass import bypassed
        >>> class Rounding(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x.round()
        >>> model = torch.nn.Sequential(Rounding())
        >>> x = torch.tensor([0.4, 1.6], requires_grad=True)
        >>> with bypassed(model, ["0"]):
        ...     y = model(x)
        >>> y, torch.autograd.grad(y.sum(), x)[0]
        (tensor([0., 2.], grad_fn=<AddBackward0>), tensor([1., 1.]))
    """
    modules = dict(detector.named_modules())
    with ExitStack() as stack:
        for name in names:
            if name not in modules or not name:
                raise UnknownName("module", name, [n for n in modules if n])
            handle = modules[name].register_forward_hook(_straight(name))
            stack.callback(handle.remove)
        yield


def early_modules(detector: nn.Module, batch: Batch) -> tuple[str, ...]:
    """Modules without parameters that inputs pass before any with, and hardly change.

    They are what a defence puts in front of a detector: a rounding, a filter, a noise.

    Args:
        detector: Whose modules.
        batch: Clips to show it.

    Examples:
        >>> from pushpull.attacks.bypass import early_modules
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> early_modules(build("light_asd").eval(), Batch.from_clips([clip]))
        ()
    """
    inputs = (batch.waveform, batch.faces)
    found: dict[str, bool] = {}
    # What has only passed modules of this kind so far, by where it lies in memory.
    early = {id(x): x for x in inputs}

    def look(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
            if not (given and isinstance(given[0], Tensor) and isinstance(out, Tensor)):
                return
            x = given[0]
            like = x.shape == out.shape and x.is_floating_point() and _near(x, out)
            from_input = any(
                x is seen or (x.numel() == seen.numel() and x.data_ptr() == seen.data_ptr())
                for seen in early.values()
            )
            found[name] = found.get(name, True) and like and from_input
            if like and from_input:
                early[id(out)] = out

        return hook

    with ExitStack() as stack:
        for name, module in detector.named_modules():
            if name and not any(True for _ in module.parameters()):
                stack.callback(module.register_forward_hook(look(name)).remove)
        with torch.no_grad():
            detector(**batch.inputs)
    return tuple(name for name, early_one in found.items() if early_one)


def _near(x: Tensor, out: Tensor) -> bool:
    spread = float(x.float().std(correction=0).clamp(min=1e-12))
    return float((out - x).float().abs().mean()) <= LIKE * spread


def _straight(name: str) -> Any:
    def hook(module: nn.Module, given: tuple[Any, ...], out: Any) -> Tensor:
        x = given[0] if given else None
        if not (isinstance(x, Tensor) and isinstance(out, Tensor) and x.shape == out.shape):
            shapes = [tuple(v.shape) if isinstance(v, Tensor) else type(v) for v in (x, out)]
            raise ConfigError(
                f"module {name} makes {shapes[1]} of {shapes[0]}; only one that keeps the shape "
                "can be taken for the identity on the way back"
            )
        # Exactly what it gave: what is added is zero, but has the gradient.
        return out.detach() + (x - x.detach())

    return hook

"""The carriers that cross module borders.

Those that hold tensors are loaded when they are asked for, so that scores of csv files do not wait
for torch.
"""

from typing import TYPE_CHECKING

from pushpull.schema.scores import (
    FrameScores,
    worst_adversaries,
    worst_case,
)

if TYPE_CHECKING:
    from pushpull.schema.tensors import (
        FACE_SIZE,
        GRID,
        SAMPLE_RATE_HZ,
        Batch,
        Clip,
        Output,
        Track,
        brief,
        check_inputs,
        int16_samples,
        length_mask,
    )

__all__ = [
    "FACE_SIZE",
    "GRID",
    "SAMPLE_RATE_HZ",
    "Batch",
    "Clip",
    "FrameScores",
    "Output",
    "Track",
    "brief",
    "check_inputs",
    "int16_samples",
    "length_mask",
    "worst_adversaries",
    "worst_case",
]

# Hidden from type checkers, which would otherwise take any name for one that is here.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load the module of tensors (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pushpull.schema import tensors

        return getattr(tensors, name)

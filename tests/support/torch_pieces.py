"""Work of a module that needs torch, as most has; others need not take seconds to import it."""

from __future__ import annotations

import os
from typing import Any

import torch


def threads(report: Any) -> tuple[int, str | None]:
    return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")

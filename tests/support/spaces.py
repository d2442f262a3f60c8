"""Points of a space to look at, without an attack."""

import torch


def noisy(space):
    """Points of the full budget, on the grid that the space has."""
    generator = torch.Generator().manual_seed(0)
    return {name: region.place(region.noise(generator)) for name, region in space.regions.items()}

"""Training and adversarial training of detectors."""

from pushpull.training.config import TrainConfig, read_config
from pushpull.training.loop import Trained, train

__all__ = ["TrainConfig", "Trained", "read_config", "train"]

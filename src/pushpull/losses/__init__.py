"""What training minimises and attacks maximise: classification losses and AVIL."""

from pushpull.losses.avil import (
    DISTANCES,
    L3_READINGS,
    Avil,
    interaction_terms,
    training_loss,
)
from pushpull.losses.classification import (
    OBJECTIVES,
    Centres,
    Goal,
    Objective,
    ObjectiveBuilder,
    build_objective,
    class_centres,
    cross_entropy,
    cross_entropy_all,
    log_odds,
    margin,
    over_frames,
)

__all__ = [
    "DISTANCES",
    "L3_READINGS",
    "OBJECTIVES",
    "Avil",
    "Centres",
    "Goal",
    "Objective",
    "ObjectiveBuilder",
    "build_objective",
    "class_centres",
    "cross_entropy",
    "cross_entropy_all",
    "interaction_terms",
    "log_odds",
    "margin",
    "over_frames",
    "training_loss",
]

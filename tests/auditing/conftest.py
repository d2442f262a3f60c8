"""Detectors that take seconds to train, and what they are audited with."""

from dataclasses import replace

import pytest
from support.audit_detectors import TinyDetector, people, trained

from pushpull.auditing import FAST, AuditClips, AuditConfig


@pytest.fixture(scope="session")
def plain() -> TinyDetector:
    return trained(hardened=False, steps=25)


@pytest.fixture(scope="session")
def hardened() -> TinyDetector:
    return trained(hardened=True, steps=30)


@pytest.fixture(scope="session")
def clips() -> AuditClips:
    return AuditClips.of(people(12, seed=1))


@pytest.fixture(scope="session")
def small() -> AuditConfig:
    """All tests, each as short as it can be and still say something."""
    return replace(
        FAST,
        steps=(1, 4),
        restart_steps=2,
        eps_factors=(1.0, 10.0),
        eps_steps=4,
        loss_steps=4,
        suite="suite-1-fast",
        noise_draws=3,
        probe_clips=3,
        grid=5,
        draws=60,
    )

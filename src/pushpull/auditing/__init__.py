"""Is a claim of robustness true? An audit of a detector, an attack, and the mAP said to be left.

    found = audit("best.safetensors", "data", out="out", config=FAST)
    found.verdict.sentence

A claim is a detector, an attack, and what is said to be left under it. Some twenty tests look for
signs that the gradient misleads attackers, that the attack is weak, or that the evaluation is
signs that the gradient misleads attackers, that the attack is weak, or that the evaluation is
wrong; together with the worst adversary found for each track they come to a verdict: masked,
broken, overstated, holds or inconclusive.

    proved = certify_tracks("best.safetensors", "data", sigma=10, out="out")

A certificate says the opposite: what no attack can do to the smoothed detector, on the same tracks.
"""

from pushpull.auditing.auditing import Audit, audit, examine
from pushpull.auditing.certificate import (
    Certificate,
    CertificateSettings,
    certify,
    certify_tracks,
)
from pushpull.auditing.clips import AuditClips, choose_clips
from pushpull.auditing.findings import Finding, Standing, Verdict, judged
from pushpull.auditing.plots import FIGURES
from pushpull.auditing.registry import TESTS, Test
from pushpull.auditing.report import audit_lines, write_report
from pushpull.auditing.settings import FAST, FULL, TINY, AuditConfig, Claim, claim_of

__all__ = [
    "FAST",
    "FIGURES",
    "FULL",
    "TESTS",
    "TINY",
    "Audit",
    "AuditClips",
    "AuditConfig",
    "Certificate",
    "CertificateSettings",
    "Claim",
    "Finding",
    "Standing",
    "Test",
    "Verdict",
    "audit",
    "audit_lines",
    "certify",
    "certify_tracks",
    "choose_clips",
    "claim_of",
    "examine",
    "judged",
    "write_report",
]

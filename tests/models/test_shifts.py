"""A sound that is moved against the faces."""

import pytest
import torch

from pushpull.models import build
from pushpull.models.detector import Detector
from pushpull.models.shifts import SHIFTS_S, scores_at_shifts


@pytest.mark.parametrize("name", ["light_asd", "lr_asd", "talknet"])
def test_a_row_is_what_the_moved_embeddings_give(name) -> None:
    detector = build(name, **({"width": 0.125} if name == "talknet" else {})).eval()
    with torch.inference_mode():
        output = detector(torch.randn(1, 40_000) / 10, 255 * torch.rand(1, 62, 112, 112))
        scores = scores_at_shifts(detector, output, fps=25.0)
        n = torch.tensor([62])
        fits = scores.isfinite().all(1)
        assert fits.tolist() == [abs(shift_s) < 1.5 for shift_s in SHIFTS_S]
        for row, shift_s in zip(scores[fits], SHIFTS_S, strict=False):
            moved = torch.roll(output.e_a, round(25 * shift_s), 1)
            alone = detector.fuse(moved, output.e_v, n).score[0]
            torch.testing.assert_close(row, alone, rtol=0, atol=1e-5)


def test_a_short_clip_has_fewer_shifts_and_a_very_short_one_none() -> None:
    detector = build("light_asd").eval()
    counts = []
    for n in (5, 20, 100):
        sound, faces = torch.zeros(1, 640 * n), torch.zeros(1, n, 112, 112)
        with torch.inference_mode():
            found = scores_at_shifts(detector, detector(sound, faces), fps=25.0)
        counts.append(int(found.isfinite().all(1).sum()))
    assert counts == [0, 4, len(SHIFTS_S)]


def test_a_model_without_embeddings_has_none() -> None:
    class Loudness(torch.nn.Module):
        def forward(self, waveform, faces):
            return waveform.unfold(1, 640, 640).square().mean(2)[:, : faces.shape[1]]

    detector = Detector.wrap(Loudness())
    output = detector(torch.zeros(1, 64_000), torch.zeros(1, 100, 112, 112))
    assert scores_at_shifts(detector, output, fps=25.0) is None

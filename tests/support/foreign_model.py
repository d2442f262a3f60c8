"""A stranger's model: small colour faces, no embeddings, log-odds. It knows nothing of pushpull."""

import torch
from torch import nn


class LipsAndLoudness(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv3d(3, 4, (3, 8, 8), stride=(1, 8, 8), padding=(1, 0, 0))
        self.hear = nn.Conv1d(1, 4, 1280, stride=640, padding=640)
        self.judge = nn.Linear(4 * 36 + 4, 1)

    def forward(self, waveform, faces):  # (B, S), (B, T, 3, 48, 48) in 0..255
        seen = self.see(faces.transpose(1, 2) / 255 - 0.5).relu().transpose(1, 2).flatten(2)
        heard = self.hear(waveform[:, None]).relu().transpose(1, 2)
        return self.judge(torch.cat([seen, fit(heard, seen.shape[1])], 2))[..., 0]


def fit(heard, n_frames):
    return nn.functional.pad(heard, (0, 0, 0, max(0, n_frames - heard.shape[1])))[:, :n_frames]


def build():
    from pushpull import Detector

    torch.manual_seed(0)
    return Detector.wrap(LipsAndLoudness(), face_size=48, colour=True)

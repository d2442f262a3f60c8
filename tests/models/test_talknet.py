"""TalkNet against frozen outputs of the published code, and what is special about it."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pushpull.errors import ConfigError
from pushpull.models import NcTalkNet, SpecTalkNet, TalkNet, build
from pushpull.models.checkpoints import load, published_state, save
from pushpull.models.talknet import VisualFrontend, stacked_frames
from pushpull.schema import Batch, Clip

# A few of the 487 names that a published checkpoint holds.
PUBLISHED_SHAPES = {
    "model.visualFrontend.frontend3D.0.weight": (64, 1, 5, 7, 7),
    "model.visualFrontend.frontend3D.1.running_var": (64,),
    "model.visualFrontend.resnet.layer1.downsample.weight": (64, 64, 1, 1),
    "model.visualFrontend.resnet.layer4.outbnb.num_batches_tracked": (),
    "model.visualTCN.net.4.net.2.weight": (512, 1, 3),
    "model.visualTCN.net.0.net.3.weight": (1,),
    "model.visualTCN.net.0.net.4.gamma": (1, 512, 1),
    "model.visualConv1D.net.3.bias": (128,),
    "model.audioEncoder.conv1.weight": (16, 1, 7, 7),
    "model.audioEncoder.layer2.0.downsample.1.weight": (32,),
    "model.audioEncoder.layer3.5.se.fc.2.weight": (64, 8),
    "model.crossA2V.self_attn.in_proj_weight": (384, 128),
    "model.crossV2A.linear1.weight": (512, 128),
    "model.selfAV.norm2.bias": (256,),
    "lossAV.FC.weight": (2, 256),
    "lossA.FC.bias": (2,),
    "lossV.FC.weight": (2, 128),
}


def test_outputs_equal_the_published_code(shared):
    folder = shared / "data" / "model-parity"
    spec = importlib.util.spec_from_file_location("weights_rule", folder / "weights_rule.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    model = TalkNet().eval()
    published = published_state(model)
    assert len(published) == 487
    state = rule.rule_state_dict(published)
    model.load_state_dict(dict(zip(model.state_dict(), map(state.get, published), strict=True)))
    with np.load(folder / "talknet-rule.npz") as frozen, torch.no_grad():
        output = model.from_features(
            torch.tensor(frozen["mfcc"]), torch.tensor(frozen["faces"]).float()
        )
        for name, value in {
            "e_a": output.e_a,
            "e_v": output.e_v,
            "z_a": output.z_a,
            "z_v": output.z_v,
            "logits_av": output.logits,
            "logits_a": output.logits_a,
            "logits_v": output.logits_v,
        }.items():
            expected = frozen[name].reshape(value.shape)
            assert np.abs(value.numpy() - expected).max() < 1e-4 * np.abs(expected).max(), name


def test_parameters_carry_the_published_names():
    found = published_state(TalkNet())
    assert {k: tuple(found[k].shape) for k in PUBLISHED_SHAPES} == PUBLISHED_SHAPES
    assert sum(v.numel() for v in TalkNet().parameters()) == 15_743_451 + 2 * 256 + 4 * 128 + 6


def test_variants_differ_from_talknet_in_one_thing_each():
    keys = TalkNet().state_dict().keys()
    assert SpecTalkNet().state_dict().keys() == keys
    without = {k for k in keys if not k.startswith(("crossA2V", "crossV2A"))}
    assert NcTalkNet().state_dict().keys() == without
    lengths = {
        "n_samples": torch.tensor([1280]),
        "n_frames": torch.tensor([2]),
        "fps": torch.tensor([25.0]),
    }
    sound = torch.rand(1, 1280) - 0.5
    assert TalkNet().front_end(sound, **lengths).shape == (1, 8, 13)
    assert SpecTalkNet().front_end(sound, **lengths).shape == (1, 8, 257)


def test_the_stem_over_stacked_frames_is_the_three_dimensional_convolution():
    frontend = VisualFrontend(64).double().eval()
    conv, norm = frontend.frontend3D
    nn.init.normal_(norm.running_mean)
    nn.init.normal_(norm.bias)
    faces = torch.randn(2, 3, 112, 112, dtype=torch.float64)
    with torch.no_grad():
        windows = stacked_frames(faces, None).flatten(0, 1).permute(0, 3, 1, 2)
        ours = frontend.stem(windows).unflatten(0, (2, 3))
        video = F.relu(norm(conv(faces[:, None])))
        plain = F.max_pool3d(video, (1, 3, 3), (1, 2, 2), (0, 1, 1)).transpose(1, 2)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)


def test_frames_in_parts_give_what_all_together_give(monkeypatch):
    model = TalkNet().double().eval()
    faces = 255 * torch.rand(1, 5, 112, 112, dtype=torch.float64)
    n_frames = torch.tensor([5])
    with torch.no_grad():
        whole = model.visual_local(faces, n_frames)
        monkeypatch.setattr(VisualFrontend, "frames_at_once", 2)
        parts = model.visual_local(faces, n_frames)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [2.0, 1.0, 0.1875])
def test_fewer_channels_let_more_frames_go_through_the_first_layers_together(monkeypatch, width):
    model = TalkNet(width=width).eval()
    seen = []
    stem = VisualFrontend.stem
    monkeypatch.setattr(
        VisualFrontend, "stem", lambda self, w: seen.append(len(w)) or stem(self, w)
    )
    monkeypatch.setattr(VisualFrontend, "frames_at_once", 2)
    with torch.no_grad():
        model.visual_local(255 * torch.rand(1, 9, 112, 112), torch.tensor([9]))
    channels = model.visualFrontend.frontend3D[0].out_channels
    assert sum(seen) == 9
    assert max(seen) * channels <= 2 * 64 or max(seen) == 1
    assert len(seen) == -(-9 // max(2 * 64 // channels, 1))


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operator returns."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = (v.numel() for v in tree_leaves(result) if isinstance(v, torch.Tensor))
        self.numel = max(self.numel, *sizes, 0)
        return result


@pytest.mark.parametrize("lengths", [(1500, 1500), (1500, 900)])
@pytest.mark.parametrize("gradient", [False, True])
def test_attention_never_holds_the_scores_of_all_pairs_of_frames(lengths, gradient):
    model = TalkNet().eval()
    t = max(lengths)
    embeddings = torch.randn(2, 2, t, 128, requires_grad=gradient)
    with torch.set_grad_enabled(gradient), LargestTensor() as largest:
        output = model.fuse(*embeddings, torch.tensor(lengths))
        if gradient:
            output.logits.sum().backward()
    # The widest layer has 1024 channels.
    assert largest.numel <= 2 * t * 1024 < t * t * 2


@pytest.mark.parametrize("name", ["talknet", "spec_talknet", "nc_talknet"])
def test_a_reduced_model_is_rebuilt_from_its_file_and_keeps_the_laws(name, tmp_path) -> None:
    torch.manual_seed(0)
    reduced = build(name, width=0.25, face_step=2, dropout=0.0).eval()
    assert sum(p.numel() for p in reduced.parameters()) < 1_100_000
    save(reduced, tmp_path / "reduced.safetensors")
    again = load(tmp_path / "reduced.safetensors")
    assert again.config() == {"width": 0.25, "face_step": 2, "dropout": 0.0}
    clips = [random_clip(frames) for frames in (7, 12)]
    batch = Batch.from_clips(clips)
    with torch.no_grad():
        together = reduced(**batch.inputs)
        assert torch.equal(again(**batch.inputs).logits, together.logits)
        for i, clip in enumerate(clips):
            alone = reduced(**Batch.from_clips([clip]).inputs)
            n = len(clip.faces)
            assert torch.allclose(together.logits[i, :n], alone.logits[0], atol=1e-5)
    assert together.e_a.shape == together.e_v.shape == (2, 12, 32)


def random_clip(frames: int) -> Clip:
    generator = torch.Generator().manual_seed(frames)
    return Clip(
        waveform=torch.randn(640 * frames, generator=generator).clamp(-3, 3) / 10,
        faces=torch.randint(0, 256, (frames, 112, 112), generator=generator).to(torch.uint8),
        fps=25.0,
    )


@pytest.mark.parametrize(
    "options", [{"width": 0.0}, {"width": 0.3}, {"face_step": 3}, {"dropout": 1.0}]
)
def test_a_build_that_cannot_be_is_refused(options) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name} is "):
        build("talknet", **options)

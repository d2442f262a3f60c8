"""Light-ASD and LR-ASD against the outputs of their published code."""

import numpy as np
import pytest
import torch

from pushpull.models.light_asd import LightASD
from pushpull.models.lr_asd import LRASD

PUBLISHED = {
    "light-asd-ava": (LightASD, "light-asd/pretrain_AVA_CVPR.model"),
    "lr-asd-ava": (LRASD, "lr-asd/pretrain_AVA.model"),
}


@pytest.fixture(params=PUBLISHED)
def published(request, shared):
    """A detector with its published weights, and frozen inputs and outputs."""
    model, path = PUBLISHED[request.param]
    state = torch.load(shared / "weights" / path, map_location="cpu", weights_only=True)
    renamed = {
        key.removeprefix("model.")
        .replace("lossAV.FC", "head_av")
        .replace("lossV.FC", "head_v"): value
        for key, value in state.items()
    }
    detector = model().eval()
    detector.load_state_dict(renamed, strict=True)
    arrays = np.load(shared / "data" / "model-parity" / f"{request.param}.npz")
    return detector, {name: torch.tensor(arrays[name]) for name in arrays.files}


def test_every_output_equals_the_published_codes(published):
    detector, arrays = published
    with torch.no_grad():
        output = detector.from_features(arrays["mfcc"], arrays["faces"].float())
    ours = {
        "e_a": output.e_a,
        "e_v": output.e_v,
        "logits_av": output.logits,
        "logits_v": output.logits_v,
    }
    for name, value in ours.items():
        want = arrays[name].reshape(value.shape)
        assert (value - want).abs().max() <= 1e-4 * want.abs().max(), name


@pytest.mark.parametrize("model", [LightASD, LRASD])
def test_recurrent_layers_take_one_thread_and_give_the_others_back(model):
    """Threads that meet at every step of a sequence wait for each other on a busy machine."""
    detector, threads = model().eval(), []
    for layer in detector.modules():
        if isinstance(layer, torch.nn.GRU):
            layer.register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    inputs = torch.randn(1, 3 * 640) / 10, 255 * torch.rand(1, 3, 112, 112)
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            detector(*inputs)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert threads == [1, 1]


@pytest.mark.parametrize("model", [LightASD, LRASD])
def test_a_frame_sees_exactly_the_stated_context(model):
    detector = model().eval()
    context = detector.visual_context
    faces = torch.rand(1, 2 * context + 11, 112, 112) * 255
    changed = faces.clone()
    middle = faces.shape[1] // 2
    changed[0, middle] = 255 - changed[0, middle]
    n_frames = torch.tensor([faces.shape[1]])
    with torch.no_grad():
        moved = detector.visual_local(faces, n_frames) != detector.visual_local(changed, n_frames)
    frames = moved.any(-1)[0].nonzero().flatten()
    assert (frames.min(), frames.max()) == (middle - context, middle + context)


@pytest.mark.parametrize("model", [LightASD, LRASD])
def test_padding_does_not_enter_training_statistics(model):
    torch.manual_seed(0)
    short, long = torch.rand(1, 6, 112, 112) * 255, torch.rand(1, 10, 112, 112) * 255
    audio_short, audio_long = torch.randn(1, 24, 13), torch.randn(1, 40, 13)
    faces = torch.cat([torch.full((1, 10, 112, 112), 255.0), long])
    faces[0, :6] = short[0]
    features = torch.cat([torch.full((1, 40, 13), 50.0), audio_long])
    features[0, :24] = audio_short[0]
    clean = faces.clone()
    clean[0, 6:] = 0
    quiet = features.clone()
    quiet[0, 24:] = 0
    n_frames = torch.tensor([6, 10])
    outputs, statistics = [], []
    for f, x in ((faces, features), (clean, quiet)):
        torch.manual_seed(1)
        detector = model().train()
        torch.manual_seed(2)
        outputs.append(detector.from_features(x, f, n_frames=n_frames))
        statistics.append(dict(detector.named_buffers()))
    mask = outputs[0].mask
    assert torch.allclose(outputs[0].logits[mask], outputs[1].logits[mask], atol=1e-6)
    for name, value in statistics[0].items():
        assert torch.allclose(value, statistics[1][name], atol=1e-6), name

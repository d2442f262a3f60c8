"""What holds for every detector in MODELS."""

import copy
from functools import cache

import pytest
import torch
from support.small_detectors import with_lively_norms
from torch import Tensor, nn

from pushpull.errors import ShapeError, UnknownName
from pushpull.models import MODELS, Detector, build
from pushpull.schema import Batch, Clip, Output

every_model = pytest.mark.parametrize("name", MODELS)

# Checkpoints hold it, the published forward pass has no use for it.
UNUSED = {"visualFrontend.resnet.layer1.downsample.weight"}

LENGTHS = (5, 2, 4)
FPS = (25.0, 30.0, 23.976)


@cache
def detector(name: str) -> Detector:
    """In eval mode and float64, with batch norms that do something. Tests leave it as it is."""
    torch.manual_seed(0)
    model = build(name).double().eval()
    return with_lively_norms(model)


@cache
def clips() -> tuple[Clip, ...]:
    g = torch.Generator().manual_seed(1)
    return tuple(
        Clip(
            waveform=torch.rand(int(t / fps * 16000) + 77, generator=g, dtype=torch.float64) - 0.5,
            faces=255 * torch.rand(t, 112, 112, generator=g, dtype=torch.float64),
            fps=fps,
        )
        for t, fps in zip(LENGTHS, FPS, strict=True)
    )


def batch_of(chosen: tuple[Clip, ...], *, more: int = 0, noise: float = 0.0) -> Batch:
    """Clips padded to the longest and `more` frames, with noise of some size in the padding."""
    frames = max(len(c.faces) for c in chosen) + more
    samples = max(len(c.waveform) for c in chosen) + 640 * more
    g = torch.Generator().manual_seed(2)
    faces = noise * torch.randn(len(chosen), frames, 112, 112, generator=g, dtype=torch.float64)
    waveform = noise * torch.randn(len(chosen), samples, generator=g, dtype=torch.float64)
    for i, clip in enumerate(chosen):
        faces[i, : len(clip.faces)] = clip.faces
        waveform[i, : len(clip.waveform)] = clip.waveform
    return Batch(
        waveform=waveform,
        faces=faces,
        n_samples=torch.tensor([len(c.waveform) for c in chosen]),
        n_frames=torch.tensor([len(c.faces) for c in chosen]),
        fps=torch.tensor([c.fps for c in chosen], dtype=torch.float64),
    )


def values(output: Output) -> dict[str, Tensor]:
    names = ("logits", "logits_a", "logits_v", "e_a", "e_v", "z_a", "z_v")
    return {n: v for n in names if (v := getattr(output, n)) is not None}


def assert_same_clip(output: Output, i: int, alone: Output, j: int = 0) -> None:
    """Valid frames of clip i are those of clip j of another output."""
    n = int(alone.mask[j].sum())
    assert int(output.mask[i].sum()) == n
    for name, value in values(output).items():
        expected = values(alone)[name][j, :n]
        scale = expected.abs().max().item()
        torch.testing.assert_close(value[i, :n], expected, rtol=0, atol=1e-9 * scale)


@every_model
def test_outputs_have_one_row_per_frame(name):
    with torch.no_grad():
        output = detector(name)(**batch_of(clips()).inputs)
    b, t = len(LENGTHS), max(LENGTHS)
    found = values(output)
    assert {"logits", "logits_v", "e_a", "e_v"} <= found.keys()
    for key, value in found.items():
        assert value.shape[:2] == (b, t)
        assert torch.isfinite(value).all()
        assert not key.startswith("logits") or value.shape[2] == 2
    assert output.mask.sum(1).tolist() == list(LENGTHS)
    assert output.score.shape == (b, t)


@every_model
def test_no_clip_influences_another_and_padding_changes_nothing(name):
    model = detector(name)
    with torch.no_grad():
        together = model(**batch_of(clips(), more=2, noise=100.0).inputs)
        for i, clip in enumerate(clips()):
            assert_same_clip(together, i, model(**batch_of((clip,)).inputs))


@every_model
def test_equal_lengths_need_no_mask_and_do_not_mix_either(name):
    model = detector(name)
    short = tuple(
        Clip(waveform=c.waveform[:1300], faces=c.faces[:2], fps=c.fps) for c in clips()[:2]
    )
    with torch.no_grad():
        together = model(**batch_of(short).inputs)
        for i, clip in enumerate(short):
            assert_same_clip(together, i, model(**batch_of((clip,)).inputs))


@every_model
def test_the_order_of_clips_is_the_order_of_outputs(name):
    model = detector(name)
    with torch.no_grad():
        one = model(**batch_of(clips()).inputs)
        other = model(**batch_of(clips()[::-1]).inputs)
    for i in range(len(LENGTHS)):
        assert_same_clip(one, i, other, len(LENGTHS) - 1 - i)


@every_model
def test_gradients_reach_both_inputs_of_a_clip_and_nothing_else(name):
    batch = batch_of(clips(), more=1, noise=1.0)
    waveform, faces = batch.waveform.requires_grad_(), batch.faces.requires_grad_()
    inputs = batch.inputs | {"waveform": waveform, "faces": faces}
    detector(name)(**inputs).score[1, : LENGTHS[1]].sum().backward()
    for gradient, valid in (
        (waveform.grad, batch.audio_mask),
        (faces.grad, batch.mask),
    ):
        assert torch.isfinite(gradient).all()
        assert not gradient[[0, 2]].any()
        assert not gradient[1][~valid[1]].any()
    assert faces.grad[1][batch.mask[1]].flatten(1).any(1).all()
    # The audio of two frames, and no more than what rounding of windows leaves out.
    heard = waveform.grad[1, : int(LENGTHS[1] / FPS[1] * 16000)]
    assert (heard != 0).float().mean() > 0.9


@every_model
def test_the_gradient_of_the_inputs_is_that_of_the_scores(name):
    model, clip = detector(name), clips()[1]
    batch = batch_of((clip,))
    g = torch.Generator().manual_seed(3)
    direction = {
        "waveform": torch.randn(batch.waveform.shape, generator=g, dtype=torch.float64),
        "faces": 100 * torch.randn(batch.faces.shape, generator=g, dtype=torch.float64),
    }

    def score(step: float) -> Tensor:
        moved = {k: batch.inputs[k] + step * v for k, v in direction.items()}
        return model(**(batch.inputs | moved)).score.sum()

    inputs = {k: batch.inputs[k].clone().requires_grad_() for k in direction}
    model(**(batch.inputs | inputs)).score.sum().backward()
    slope = sum((inputs[k].grad * v).sum() for k, v in direction.items()).item()
    step = 1e-8
    with torch.no_grad():
        measured = (score(step) - score(-step)).item() / (2 * step)
    assert slope == pytest.approx(measured, rel=1e-4)


@every_model
def test_every_parameter_gets_a_gradient(name):
    model = copy.deepcopy(detector(name))
    output = model(**batch_of(clips()[1:]).inputs)
    sum(v.square().sum() for v in values(output).values()).backward()
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == UNUSED & dict(model.named_parameters()).keys()


@every_model
def test_in_training_padding_enters_neither_outputs_nor_batch_statistics(name):
    def trained(more: int, noise: float) -> tuple[Output, dict[str, Tensor]]:
        model = copy.deepcopy(detector(name)).train()
        for module in model.modules():
            # Random masks would differ with the padded shape.
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
        with torch.no_grad():
            output = model(**batch_of(clips()[:2], more=more, noise=noise).inputs)
        return output, dict(model.named_buffers())

    tight, tight_buffers = trained(0, 0.0)
    loose, loose_buffers = trained(3, 100.0)
    for i in range(2):
        assert_same_clip(loose, i, tight, i)
    before = dict(detector(name).named_buffers())
    for key, value in tight_buffers.items():
        torch.testing.assert_close(loose_buffers[key], value, rtol=1e-9, atol=1e-9)
        assert not torch.equal(before[key], value)


@every_model
def test_the_steps_make_the_forward_pass(name):
    model, batch = detector(name), batch_of(clips())
    n_frames = batch.n_frames
    with torch.no_grad():
        whole = model(**batch.inputs)
        features = model.front_end(batch.waveform, batch.n_samples, n_frames, batch.fps)
        assert features.shape[:2] == (len(LENGTHS), 4 * max(LENGTHS))
        ready = model.from_features(features, batch.faces, n_frames=n_frames)
        e_v = model.encode_visual(batch.faces, n_frames)
        fused = model.fuse(model.encode_audio(features, n_frames), e_v, n_frames)
    for output in (ready, fused):
        assert torch.equal(output.logits, whole.logits)


@every_model
def test_a_frame_sees_exactly_the_promised_context(name):
    model = detector(name)
    context = model.visual_context
    t = 2 * context + 3
    middle = context + 1
    g = torch.Generator().manual_seed(4)
    faces = 255 * torch.rand(1, t, 112, 112, generator=g, dtype=torch.float64)
    changed = faces.clone()
    changed[:, middle] = 255 - changed[:, middle]
    n_frames = torch.tensor([t])
    with torch.no_grad():
        difference = model.visual_local(changed, n_frames) - model.visual_local(faces, n_frames)
    reached = (difference.abs().amax((0, 2)) > 1e-12).tolist()
    assert reached == [abs(i - middle) <= context for i in range(t)]


@every_model
def test_float32_is_close_to_float64(name):
    batch = batch_of(clips()[:1])
    model = copy.deepcopy(detector(name)).float()
    with torch.no_grad():
        exact = detector(name)(**batch.inputs)
        single = model(
            batch.waveform.float(), batch.faces.float(), fps=FPS[0], n_samples=batch.n_samples
        )
    for key, value in values(single).items():
        assert value.dtype == torch.float32
        expected = values(exact)[key]
        assert (value - expected).abs().max() < 1e-4 * expected.abs().max()


@every_model
def test_mixed_precision_is_close_to_float32(name):
    g = torch.Generator().manual_seed(5)
    faces = 255 * torch.rand(1, 2, 112, 112, generator=g)
    features = torch.randn(1, 8, 13, generator=g)
    n_frames = torch.tensor([2])
    model = copy.deepcopy(detector(name)).float()

    def steps() -> Output:
        # As `from_features` does, but on any processor.
        e_v = model.encode_visual(faces, n_frames)
        return model.fuse(model.encode_audio(features, n_frames), e_v, n_frames)

    with torch.no_grad():
        exact = values(model.from_features(features, faces))
        with torch.autocast("cpu", torch.bfloat16):
            low, whole = values(steps()), values(model.from_features(features, faces))
    assert low["e_v"].dtype == torch.bfloat16 or low["logits"].dtype == torch.bfloat16
    for key, expected in exact.items():
        for value in (low[key], whole[key]):
            assert (value.float() - expected).abs().max() < 0.1 * expected.abs().max(), key


@every_model
def test_inputs_and_buffers_stay_as_they_were(name):
    model, batch = detector(name), batch_of(clips()[:1])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    waveform, faces = batch.waveform.clone(), batch.faces.clone()
    with torch.inference_mode():
        model(**batch.inputs)
    assert torch.equal(batch.waveform, waveform)
    assert torch.equal(batch.faces, faces)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@every_model
def test_config_builds_the_model_again(name):
    again = build(name, **detector(name).config()).double().eval()
    again.load_state_dict(detector(name).state_dict())
    batch = batch_of(clips()[1:2])
    with torch.no_grad():
        assert torch.equal(again(**batch.inputs).logits, detector(name)(**batch.inputs).logits)


@every_model
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faces": torch.zeros(1, 2, 100, 112)}, r"faces is \(1, 2, 100, 112\)"),
        ({"faces": torch.zeros(1, 0, 112, 112)}, "T > 0"),
        ({"waveform": torch.zeros(2, 1280)}, r"waveform is \(2, 1280\).*B = 1"),
        ({"n_frames": torch.tensor([3])}, r"n_frames is \[3\].*in 1\.\.2"),
        ({"n_samples": torch.tensor([1281])}, r"n_samples is \[1281\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named(name, change, message):
    inputs = {"waveform": torch.zeros(1, 1280), "faces": torch.zeros(1, 2, 112, 112)} | change
    with pytest.raises(ShapeError, match=message):
        detector(name)(**inputs)


def test_unknown_models_are_answered_with_the_known_ones():
    with pytest.raises(UnknownName, match=r"unknown model 'talk_net'.*light_asd.*talknet"):
        build("talk_net")

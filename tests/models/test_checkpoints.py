import argparse
import json
import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pushpull.errors import CheckpointError, OutputError, UnknownName
from pushpull.models import MODELS, build
from pushpull.models.checkpoints import (
    PARTS,
    load,
    looks_like,
    model_name,
    own_name,
    published_name,
    published_state,
    read_state,
    save,
)

# Entries of the state dicts that the published code saves.
PUBLISHED_ENTRIES = {"talknet": 487, "light_asd": 192, "lr_asd": 168}

PUBLISHED_FILES = {
    "light-asd/pretrain_AVA_CVPR.model": "light_asd",
    "light-asd/finetuning_TalkSet.model": "light_asd",
    "lr-asd/pretrain_AVA.model": "lr_asd",
    "lr-asd/finetuning_TalkSet.model": "lr_asd",
}

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def published() -> State:
    """A published state dict of LR-ASD, the smallest model."""
    torch.manual_seed(1)
    return published_state(build("lr_asd"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.model"


def refusal(path: Path, **options: Any) -> str:
    """The message with which `load` refuses a file; it starts with the path and is one line."""
    with pytest.raises(CheckpointError) as error:
        load(path, **options)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def same_state(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# Names


@pytest.mark.parametrize(
    ("key", "own"),
    [
        ("model.visualEncoder.block1.s_3.weight", "visualEncoder.block1.s_3.weight"),
        ("model.module.visualEncoder.block1.s_3.weight", "visualEncoder.block1.s_3.weight"),
        ("module.model.visualEncoder.block1.s_3.weight", "visualEncoder.block1.s_3.weight"),
        ("_orig_mod.model.GRU.bias", "GRU.bias"),
        ("visualEncoder.block1.s_3.weight", "visualEncoder.block1.s_3.weight"),
        ("lossAV.FC.weight", "head_av.weight"),
        ("module.lossAV.FC.weight", "head_av.weight"),
        ("lossAV.module.FC.weight", "head_av.weight"),
        ("lossA.FC.bias", "head_a.bias"),
        ("lossV.FC.bias", "head_v.bias"),
        ("fcAV.weight", "head_av.weight"),
        ("module.fcA.weight", "head_a.weight"),
        ("fcV.bias", "head_v.bias"),
        ("head_av.weight", "head_av.weight"),
    ],
)
def test_a_key_of_any_publisher_has_one_own_name(key: str, own: str) -> None:
    assert own_name(key) == own


@pytest.mark.parametrize("name", MODELS)
def test_names_lead_back_and_parts_are_those_of_the_model(name: str) -> None:
    keys = list(build(name).state_dict())
    for prefix in ("", "module.", "_orig_mod.", "_orig_mod.module."):
        assert [own_name(prefix + published_name(key)) for key in keys] == keys
        assert [own_name(prefix + key) for key in keys] == keys
    assert {key.partition(".")[0] for key in keys} == PARTS[name]
    assert len(keys) == PUBLISHED_ENTRIES.get(name, len(keys))


def test_every_model_can_be_recognised() -> None:
    assert PARTS.keys() == MODELS.keys()


# What loads


@pytest.mark.parametrize(("file", "name"), PUBLISHED_FILES.items())
def test_published_checkpoints_load_whole(shared: Path, file: str, name: str) -> None:
    path = shared / "weights" / file
    raw = torch.load(path, map_location="cpu", weights_only=True)
    detector = load(path)
    assert model_name(detector) == name
    assert not detector.training
    assert same_state(published_state(detector), dict(raw))
    assert same_state(load(path, expect=name).state_dict(), detector.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_an_own_checkpoint_rebuilds_its_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / "any.name"
    detector = build(name).train()
    save(detector, path)
    again = load(path, expect=name)
    assert type(again) is type(detector)
    assert again.config() == detector.config()
    assert not again.training
    assert same_state(again.state_dict(), detector.state_dict())
    assert detector.training


def test_an_own_checkpoint_is_safetensors_with_name_config_and_metadata(path: Path) -> None:
    detector = build("lr_asd")
    save(detector, path, trained_on="my data", epochs=3, curve=[0.5, 0.25])
    state, header = read_state(path)
    assert same_state(state, detector.state_dict())
    assert header == {
        "format": 1,
        "model": "lr_asd",
        "config": detector.config(),
        "metadata": {"trained_on": "my data", "epochs": 3, "curve": [0.5, 0.25]},
    }
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["pushpull"]) == header


def test_saving_replaces_a_checkpoint_and_leaves_nothing_else(path: Path) -> None:
    path.write_text("old")
    save(build("lr_asd"), path)
    assert model_name(load(path)) == "lr_asd"
    assert list(path.parent.iterdir()) == [path]


def data_parallel(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


def loconet_style(state: State) -> State:
    return {re.sub(r"^model\.", "model.module.", key): value for key, value in state.items()}


def three_d_speaker_style(state: State) -> State:
    return {
        re.sub(r"^loss(A|V|AV)\.FC\.", r"fc\1.", key).removeprefix("model."): value
        for key, value in state.items()
    }


@pytest.mark.parametrize("restyle", [data_parallel, loconet_style, three_d_speaker_style])
@pytest.mark.parametrize("name", ["talknet", "lr_asd"])
def test_checkpoints_of_other_code_load(name: str, restyle: Any, path: Path) -> None:
    detector = build(name)
    state = restyle(published_state(detector))
    assert state.keys() != published_state(detector).keys()
    torch.save(state, path)
    again = load(path)
    assert model_name(again) == name
    assert same_state(again.state_dict(), detector.state_dict())


@pytest.mark.parametrize(
    "nest",
    [
        lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"state": {}, "lr": 0.1}},
        lambda s: {"model": s, "args": None},
        lambda s: {"model_state_dict": s},
        lambda s: {"state_dict": {"model": OrderedDict(s)}},
    ],
)
def test_training_checkpoints_are_unwrapped(nest: Any, published: State, path: Path) -> None:
    torch.save(nest(published), path)
    assert same_state(published_state(load(path)), published)


def test_the_old_format_of_torch_loads(published: State, path: Path) -> None:
    torch.save(published, path, _use_new_zipfile_serialization=False)
    assert same_state(published_state(load(path)), published)


def test_published_weights_in_safetensors_load(published: State, path: Path) -> None:
    save_file(published, path)
    assert read_state(path)[1] == {}
    assert same_state(published_state(load(path)), published)


def test_half_precision_weights_become_single_precision(published: State, path: Path) -> None:
    torch.save({key: value.half() for key, value in published.items()}, path)
    state = load(path).state_dict()
    assert state["head_av.weight"].dtype == torch.float32
    assert torch.equal(state["head_av.weight"], published["lossAV.FC.weight"].half().float())


def test_talknet_keys_are_accepted_for_the_spectrogram_variant(path: Path) -> None:
    torch.save(published_state(build("spec_talknet")), path)
    assert model_name(load(path)) == "talknet"
    assert model_name(load(path, expect="spec_talknet")) == "spec_talknet"


def test_the_variant_without_cross_attention_is_told_from_talknet(path: Path) -> None:
    torch.save(published_state(build("nc_talknet")), path)
    assert model_name(load(path)) == "nc_talknet"


@pytest.mark.parametrize("drop", [0, 10, 60])
def test_a_model_is_recognised_even_if_entries_are_missing(drop: int, published: State) -> None:
    assert looks_like(list(published)[drop:]) == "lr_asd"


def test_foreign_keys_name_no_model() -> None:
    assert looks_like(nn.LSTM(2, 2).state_dict()) is None
    assert looks_like(["audioEncoder.w", "visualEncoder.w", "decoder.w", "loss.w"]) is None


# Bad files


def test_a_missing_file_is_named(path: Path) -> None:
    assert refusal(path) == (
        "no such file; expected a published checkpoint of TalkNet, Light-ASD or LR-ASD, or a "
        "safetensors file that pushpull saved"
    )


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith("is a folder; expected a published checkpoint")


def test_an_empty_file_is_refused(path: Path) -> None:
    path.touch()
    assert refusal(path) == "is empty (0 bytes); copy or download it again"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("hello\nworld", "(it starts with 'hello world')"),
        ("{}", "(it starts with '{}')"),
        (" <!DOCTYPE html><html><title>Virus scan warning", "(a web page: the site sent a page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "(a Git LFS pointer: run"),
        ("x", "(it starts with 'x')"),
    ],
)
def test_text_is_no_checkpoint(content: str, part: str, path: Path) -> None:
    path.write_text(content)
    assert refusal(path).startswith(f"is no checkpoint {part}")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_that_runs_code_is_refused_unrun(
    new_format: bool, published: State, path: Path
) -> None:
    marker = path.with_name("marker")
    content = {**published, "model.x": Payload(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    message = refusal(path)
    assert not marker.exists()
    assert re.match(r"refused, since loading it would call (\S+\.)?exec: ", message)
    assert "a pickle can run any code, so only tensors are read, and nothing was run" in message
    assert message.endswith(
        "If you trust where it comes from, load it there and save model.state_dict() alone"
    )


def test_the_payload_would_run(path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(path)))
    assert path.exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_with_code_is_refused_unrun(protocol: int, path: Path) -> None:
    marker = path.with_name("marker")
    path.write_bytes(pickle.dumps(Payload(marker), protocol=protocol))
    refusal(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "called"),
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"args": argparse.Namespace(lr=0.1)}, "argparse.Namespace"),
    ],
)
def test_a_pickled_object_is_refused_by_its_class(content: Any, called: str, path: Path) -> None:
    torch.save(content, path)
    assert refusal(path).startswith(f"refused, since loading it would call {called}: ")


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_a_pickle_cut_short_is_refused(
    new_format: bool, share: float, published: State, path: Path
) -> None:
    torch.save(published, path, _use_new_zipfile_serialization=new_format)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    message = refusal(path)
    assert message.startswith("damaged, cut short or no checkpoint (")
    assert "copy or download it again" in message


@pytest.mark.parametrize("share", [0.00001, 0.1, 0.5, 0.999])
def test_safetensors_cut_short_are_refused(share: float, path: Path) -> None:
    save(build("lr_asd"), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    message = refusal(path)
    assert message.startswith("safetensors, but damaged or cut short (")
    assert message.endswith("copy or download it again")


def test_another_zip_file_is_refused(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "hello")
    assert refusal(path).startswith("damaged, cut short or no checkpoint (")


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        ([1, 2], "a list"),
        (torch.zeros(3), "a Tensor"),
        ({}, "an empty dict"),
        ({"epoch": 3, "lr": 0.1}, "a dict whose 'epoch' is a int"),
        ({"state_dict": {}}, "an empty dict"),
        ({3: torch.zeros(1)}, "a dict whose 3 is a Tensor"),
    ],
)
def test_a_file_without_weights_is_refused(content: Any, holds: str, path: Path) -> None:
    torch.save(content, path)
    assert refusal(path) == (
        f"holds {holds}; expected parameter names with their tensors, as "
        "torch.save(model.state_dict(), path) writes, alone or under one of state_dict, "
        "model_state_dict, model"
    )


# Bad content


def test_weights_of_no_known_model_are_refused(path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), path)
    assert refusal(path).startswith(
        f"its entries (weight, bias) fit none of the models {', '.join(MODELS)}; expected a "
    )


@pytest.mark.parametrize("asked", ["talknet", "light_asd", "nc_talknet"])
def test_weights_of_another_model_are_refused_by_name(
    asked: str, published: State, path: Path
) -> None:
    torch.save(published, path)
    assert refusal(path, expect=asked) == (
        f"looks like weights of lr_asd, not of {asked} as asked; ask for lr_asd or give another "
        "file"
    )


def test_an_own_checkpoint_of_another_model_is_refused_by_name(path: Path) -> None:
    save(build("spec_talknet"), path)
    assert refusal(path, expect="talknet") == (
        "holds weights of spec_talknet, not of talknet as asked; ask for spec_talknet or give "
        "another file"
    )


def test_an_unknown_model_cannot_be_asked_for(published: State, path: Path) -> None:
    torch.save(published, path)
    with pytest.raises(UnknownName, match=r"unknown model 'resnet': choose one of .*lr_asd"):
        load(path, expect="resnet")


@pytest.mark.parametrize("own", [False, True])
def test_missing_entries_are_counted_and_named(own: bool, published: State, path: Path) -> None:
    detector = build("lr_asd")
    if own:
        save(detector, path)
        state, header = read_state(path)
        for key in list(state)[:5]:
            del state[key]
        save_file(state, path, metadata={"pushpull": json.dumps(header)})
        missing = [key for key in detector.state_dict() if key not in state]
    else:
        missing = list(published)[:5]
        torch.save({k: v for k, v in published.items() if k not in missing}, path)
    assert refusal(path) == (
        f"does not fit lr_asd: of its 168 entries 5 missing ({', '.join(missing[:3])} and 2 more); "
        "give a checkpoint of exactly this model"
    )


def test_an_unexpected_entry_is_named(published: State, path: Path) -> None:
    torch.save({**published, "model.extra.weight": torch.zeros(2)}, path)
    assert "entries 1 unexpected (model.extra.weight); give" in refusal(path)


def test_an_entry_of_another_shape_is_named_with_both_shapes(published: State, path: Path) -> None:
    torch.save({**published, "lossAV.FC.weight": torch.zeros(3, 128)}, path)
    assert "1 of another shape (lossAV.FC.weight is 3 x 128, expected 2 x 128)" in refusal(path)


def test_an_entry_under_two_names_is_refused(published: State, path: Path) -> None:
    torch.save({**published, "fcAV.bias": torch.zeros(2)}, path)
    assert "1 there twice (lossAV.FC.bias = fcAV.bias)" in refusal(path)


def test_all_problems_are_told_at_once(published: State, path: Path) -> None:
    state = {**published, "x": torch.zeros(1), "lossAV.FC.bias": torch.zeros(3)}
    del state["lossV.FC.bias"]
    torch.save(state, path)
    assert refusal(path) == (
        "does not fit lr_asd: of its 168 entries 1 missing (lossV.FC.bias); 1 unexpected (x); "
        "1 of another shape (lossAV.FC.bias is 3, expected 2); give a checkpoint of exactly this "
        "model"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(
    value: float, published: State, path: Path
) -> None:
    bias = published["lossAV.FC.bias"].clone()
    bias[1] = value
    torch.save({**published, "lossAV.FC.bias": bias}, path)
    assert refusal(path) == (
        "NaN or infinity in 1 of 168 entries (lossAV.FC.bias); its training diverged or the file "
        "is damaged: use another checkpoint"
    )


def write_header(path: Path, header: object, published: State) -> None:
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(published, path, metadata={"pushpull": text})


@pytest.mark.parametrize("header", ["not json", "[]", "{}", '"x"'])
def test_a_header_that_is_not_ours_is_refused(header: str, published: State, path: Path) -> None:
    write_header(path, header, published)
    assert refusal(path).startswith(f"its pushpull header cannot be understood ({header!r})")


def test_a_header_of_a_later_version_is_refused(published: State, path: Path) -> None:
    write_header(path, {"format": 2, "model": "lr_asd", "weights": "elsewhere"}, published)
    assert refusal(path) == "its header has format 2, this version reads 1; update pushpull"


@pytest.mark.parametrize(
    ("name", "config", "reason"),
    [
        ("lr_asd", {"depth": 99}, "depth"),
        ("gone_asd", {}, "unknown model 'gone_asd'"),
    ],
)
def test_a_header_that_cannot_be_built_is_refused(
    name: str, config: dict[str, int], reason: str, published: State, path: Path
) -> None:
    header = {"format": 1, "model": name, "config": config, "metadata": {}}
    write_header(path, header, published)
    message = refusal(path)
    assert message.startswith(f"was saved as {name} with {config}, which cannot be built (")
    assert reason in message
    assert message.endswith("use the version of pushpull that saved it")


# Saving


def test_saving_into_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "no" / "mine.safetensors"
    with pytest.raises(OutputError, match=re.escape(f"{path}: cannot be written (No such file")):
        save(build("lr_asd"), path)


def test_metadata_that_json_cannot_hold_leaves_no_file(path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        save(build("lr_asd"), path, tensor=torch.zeros(1))
    assert list(path.parent.iterdir()) == []


def test_a_detector_that_could_not_be_built_again_is_not_saved(path: Path) -> None:
    class Mine(type(build("lr_asd"))):
        pass

    with pytest.raises(CheckpointError, match=r"a Mine is none of the models .*lr_asd"):
        save(Mine(), path)
    assert list(path.parent.iterdir()) == []


# Files that nobody means well with


def test_a_checkpoint_that_holds_itself_ends(path: Path) -> None:
    one: dict[str, Any] = {}
    other = {"state_dict": one}
    one["model"] = other
    torch.save(one, path)
    assert refusal(path).startswith("holds a dict whose ")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[]", "header cannot be understood"),
        ('{"format": 1, "config": {}}', "header says no model (got None)"),
        ('{"format": 1, "model": "lr_asd"}', "header says no config (got None)"),
        ('{"format": 1, "model": ["lr_asd"], "config": {}}', "header says no model (got ['lr_asd'"),
        ('{"format": 1, "model": "lr_asd", "config": {}, "metadata": 3}', "says no metadata"),
        ('{"format": 1, "model": ' + "[" * 100_000, "header cannot be understood"),
        ('{"format": 1, "model": "lr_asd", "config": {"more": 1}}', "cannot be built"),
    ],
)
def test_a_header_that_says_nonsense_is_refused(
    text: str, part: str, published: State, path: Path
) -> None:
    save_file(published, path, metadata={"pushpull": text})
    assert part in refusal(path)


@pytest.mark.parametrize(
    "dtype",
    ["float8_e4m3fn", "float8_e5m2", "complex64", "bool", "uint8", "int64"],
)
def test_weights_of_another_kind_of_number_are_not_converted(
    dtype: str, published: State, path: Path
) -> None:
    torch.save({k: v.to(getattr(torch, dtype)) for k, v in published.items()}, path)
    assert f"is {dtype}" in refusal(path)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_another_precision_are(dtype: str, published: State, path: Path) -> None:
    torch.save({k: v.to(getattr(torch, dtype)) for k, v in published.items()}, path)
    assert load(path).state_dict()["head_av.weight"].dtype == torch.float32


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("packed", "kind"),
    [
        (lambda t: t.to("meta"), "without content"),
        (lambda t: t.to_sparse(), "sparse"),
        (lambda t: t.to_sparse_csr(), "sparse"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "quantised"),
        (lambda t: torch.nested.nested_tensor([t[0]]), "nested"),
    ],
)
def test_packed_tensors_are_refused(packed: Any, kind: str, published: State, path: Path) -> None:
    torch.save({**published, "lossAV.FC.weight": packed(published["lossAV.FC.weight"])}, path)
    assert f"its entry lossAV.FC.weight is {kind}" in refusal(path)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe").startswith("is no regular file")

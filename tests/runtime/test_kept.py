"""What is kept is found by all that decides it and by nothing less, exactly as it was."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushpull.errors import OutputError
from pushpull.runtime.kept import Store, find_kept, key_of, write_kept

SETTINGS = st.dictionaries(st.sampled_from("abc"), st.integers() | st.text(max_size=3))
RESULTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def same(a: object, b: object) -> bool:
    """Equal, with NaN equal to itself."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return set(a) == set(b) and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


@given(SETTINGS, SETTINGS, RESULTS)
def test_a_result_comes_back_for_the_same_settings_only(one, other, result) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        write_kept(path, one, result, seconds=1.5)
        found = find_kept(path, dict(reversed(one.items())))
        assert found is not None
        assert same(found.result, result)
        assert found.seconds == 1.5
        assert (find_kept(path, other) is not None) == (one == other)
        assert (key_of(one) == key_of(other)) == (one == other)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"kind": "stage", "schema_version": 1}', None])
def test_what_is_damaged_is_not_found(tmp_path: Path, damage: str | None) -> None:
    path = tmp_path / "result.json"
    write_kept(path, {"seed": 1}, 3, seconds=0.0)
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    assert find_kept(path, {"seed": 1}) is None


def test_results_of_another_format_are_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path, {}).get("x", {}, lambda: {"is": "old"})
    monkeypatch.setattr("pushpull.runtime.kept.STAGE_FORMAT", 99)
    assert Store(tmp_path, {}).get("x", {}, lambda: {"is": "new"}) == {"is": "new"}
    assert len(list(tmp_path.iterdir())) == 2


def test_settings_that_json_does_not_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"eps": math.inf})


class Counted:
    """A result that says how often it was made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, int]:
        self.times += 1
        return {"times": self.times}


def test_a_store_makes_once_what_it_may_keep(tmp_path: Path) -> None:
    make = Counted()
    store = Store(tmp_path / "new", {"detector": "a"})
    for _ in range(2):
        assert store.get("x", {"seed": 1}, make) == {"times": 1}
    assert store.get("y", {"seed": 1}, make) == {"times": 2}
    assert store.get("x", {"seed": 1}, make, keep=False) == {"times": 3}
    assert Store(tmp_path / "new", {"detector": "b"}).get("x", {"seed": 1}, make) == {"times": 4}
    again = Store(tmp_path / "new", {"detector": "a"})
    assert again.get("x", {"seed": 1}, make) == {"times": 1}
    assert (store.made, store.reused, again.made, again.reused) == (3, 1, 0, 1)
    assert {p.name.rsplit("-", 1)[0] for p in (tmp_path / "new").iterdir()} == {"x", "y"}


def test_a_store_without_a_folder_keeps_nothing() -> None:
    make, store = Counted(), Store(None, {})
    assert [store.get("x", {}, make)["times"] for _ in range(2)] == [1, 2]
    assert (store.made, store.reused) == (2, 0)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write here"):
        Store(tmp_path / "file", {})

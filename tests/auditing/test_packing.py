"""Arrays come back bit for bit as float32."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pushpull.auditing.packing import packed, unpacked


@given(arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32)))
def test_arrays_come_back(values) -> None:
    text = json.loads(json.dumps(packed(values)))
    assert unpacked(text).astype(np.float32).tobytes() == values.tobytes()


def test_nothing_is_nothing() -> None:
    assert unpacked(packed(None)) is None

"""Turns as the programs read them that they are written for."""

from io import StringIO

import numpy as np
import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Segment, Timeline
from pyannote.database.util import load_rttm
from pyannote.metrics.diarization import DiarizationErrorRate

from pushpull.detection import ScoredTrack, Turn, rttm_lines, srt_lines, vtt_lines
from pushpull.schema import Track

MS = 0.0005 + 1e-9
"""Times are written to the millisecond."""


def face(number, scores, *, start_s=0.0, fps=25.0):
    n = len(scores)
    return ScoredTrack(
        track=Track(
            track_id=number,
            frames=np.arange(n),
            timestamps_s=start_s + np.arange(n) / fps,
            boxes=np.tile([10.0, 10, 50, 50], (n, 1)),
            detected=np.ones(n, bool),
        ),
        scores=np.asarray(scores, float),
    )


def expected(faces):
    turns = [(t.start_s, t.end_s, one.track.track_id) for one in faces for t in one.turns]
    return sorted(turns)


TWO = [
    face(0, [3] * 30 + [-3] * 30 + [3] * 30),
    face(1, [-3] * 25 + [3] * 40, start_s=3599.5, fps=30_000 / 1001),
    face(2, [-3] * 10),
]


def of_rttm(name, faces, tmp_path):
    path = tmp_path / "it.rttm"
    path.write_text("".join(rttm_lines(name, faces)))
    return load_rttm(str(path))


def test_pyannote_reads_the_turns(tmp_path):
    (annotation,) = of_rttm("two people", TWO, tmp_path).values()
    found = [(s.start, s.end, label) for s, _, label in annotation.itertracks(yield_label=True)]
    wanted = expected(TWO)
    assert [label for *_, label in found] == [f"two_people:{n}" for *_, n in wanted]
    for (start, end, _), (start_s, end_s, _) in zip(found, wanted, strict=True):
        assert (start, end) == (
            pytest.approx(start_s, abs=MS), pytest.approx(end_s, abs=2 * MS)
        )  # fmt: skip


def test_pyannote_counts_errors_between_two_detections(tmp_path):
    (ours,) = of_rttm("talk", TWO, tmp_path).values()
    rate = DiarizationErrorRate()
    whole = Timeline([Segment(0, 4000)])
    assert rate(ours, ours, uem=whole) == 0
    # Half of the first turn of the first face is not said.
    late = [face(0, [-3] * 15 + [3] * 15 + [-3] * 30 + [3] * 30), *TWO[1:]]
    (theirs,) = of_rttm("talk", late, tmp_path).values()
    spoken_s = sum(end - start for start, end, _ in expected(TWO))
    begins = expected(late)[0][0]
    assert begins > 0.5
    assert rate(ours, theirs, uem=whole) == pytest.approx(begins / spoken_s, abs=1e-3)


def test_a_subtitle_reader_reads_the_turns():
    found = list(srt.parse("".join(srt_lines(TWO))))
    assert [(c.index, c.content) for c in found] == [
        (k + 1, f"face {number}") for k, (*_, number) in enumerate(expected(TWO))
    ]
    for cue, (start_s, end_s, _) in zip(found, expected(TWO), strict=True):
        assert cue.start.total_seconds() == pytest.approx(start_s, abs=MS)
        assert cue.end.total_seconds() == pytest.approx(end_s, abs=MS)


def test_a_webvtt_reader_reads_the_turns_and_who_speaks():
    found = webvtt.from_buffer(StringIO("".join(vtt_lines(TWO))))
    assert [(c.voice, c.text) for c in found] == [
        (f"face {n}", f"face {n}") for *_, n in expected(TWO)
    ]
    assert [c.start_in_seconds for c in found] == [int(start_s) for start_s, *_ in expected(TWO)]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 4e5), st.lists(st.sampled_from([-4.0, 4.0]), min_size=1, max_size=60)
        ),
        max_size=4,
    )
)
def test_every_turn_is_read_back_to_the_millisecond(faces):
    tracks = [face(k, scores, start_s=start_s) for k, (start_s, scores) in enumerate(faces)]
    wanted = expected(tracks)
    cues = list(srt.parse("".join(srt_lines(tracks))))
    assert len(cues) == len(wanted)
    for cue, (start_s, end_s, number) in zip(cues, wanted, strict=True):
        assert cue.start.total_seconds() == pytest.approx(start_s, abs=MS)
        assert cue.end.total_seconds() == pytest.approx(end_s, abs=MS)
        assert cue.content == f"face {number}"
    fields = [line.split() for line in rttm_lines("a  b\tc", tracks)]
    assert all(len(line) == 10 and line[1] == "a_b_c" for line in fields)
    for line, (start_s, end_s, _) in zip(fields, wanted, strict=True):
        assert float(line[3]) == pytest.approx(start_s, abs=MS)
        assert float(line[3]) + float(line[4]) == pytest.approx(end_s, abs=2 * MS)


def test_nobody_who_speaks_is_an_empty_file_that_can_be_read():
    silent = [face(0, [-3] * 30)]
    assert list(rttm_lines("talk", silent)) == []
    assert list(srt.parse("".join(srt_lines(silent)))) == []
    assert list(webvtt.from_buffer(StringIO("".join(vtt_lines(silent))))) == []


@pytest.fixture
def tracks():
    """Face 0 speaks from 0.4 to 1.2 s, face 10 from 1.6 to 2 s."""
    found = []
    for number, (first, last) in ((0, (10, 30)), (10, (40, 50))):
        scores = np.full(50, -4.0)
        scores[first:last] = 4.0
        track = Track(
            track_id=number,
            frames=np.arange(50),
            timestamps_s=np.arange(50) / 25,
            boxes=np.array([[10.0, 10.0, 60.0, 70.0]] * 50),
            detected=np.ones(50, bool),
        )
        found.append(ScoredTrack(track=track, scores=scores))
    return found


OFF = (Turn(0.0, 0.4), Turn(1.2, 1.6))


def test_a_voice_off_screen_is_a_speaker_of_its_own(tracks):
    fields = [line.split() for line in rttm_lines("my talk", tracks, OFF)]
    assert [(f[3], f[4], f[7]) for f in fields] == [
        ("0.000", "0.400", "my_talk:off-screen"),
        ("0.400", "0.800", "my_talk:0"),
        ("1.200", "0.400", "my_talk:off-screen"),
        ("1.600", "0.400", "my_talk:10"),
    ]


def test_subtitles_say_who_is_heard(tracks):
    blocks = "".join(srt_lines(tracks, OFF)).strip().split("\n\n")
    assert [block.splitlines()[2] for block in blocks] == [
        "off-screen", "face 0", "off-screen", "face 10",
    ]  # fmt: skip
    assert blocks[3].splitlines()[1] == "00:00:01,600 --> 00:00:02,000"
    cues = "".join(vtt_lines(tracks, OFF)).strip().split("\n\n")
    assert cues[0] == "WEBVTT"
    assert cues[1].splitlines() == ["00:00:00.000 --> 00:00:00.400", "<v off-screen>off-screen</v>"]


def test_nothing_is_said_of_nobody():
    assert list(rttm_lines("talk", [])) == []
    assert list(srt_lines([])) == []
    assert list(vtt_lines([])) == ["WEBVTT\n\n"]

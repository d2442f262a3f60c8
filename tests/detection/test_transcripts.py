"""Words of a transcript and who says them."""

import json
import time
from io import StringIO

import numpy as np
import pytest
import srt
import webvtt
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pushpull.cli.options import names_of
from pushpull.detection import (
    ScoredTrack,
    TurnRules,
    Word,
    attribute,
    read_transcript,
    transcript_srt,
    transcript_vtt,
)
from pushpull.errors import AnnotationError, ConfigError
from pushpull.schema import Track


def face(number, spans, *, length_s=10.0, start_s=0.0, level=3.0, rules=None):
    """A face that speaks in some spans of seconds."""
    times_s = start_s + np.arange(round(length_s * 25)) / 25
    speaks = np.zeros(len(times_s), bool)
    for a, b in spans:
        speaks |= (times_s >= a - 1e-9) & (times_s < b - 1e-9)
    track = Track(
        track_id=number,
        frames=np.arange(len(times_s)),
        timestamps_s=times_s,
        boxes=np.tile([10.0, 10, 50, 50], (len(times_s), 1)),
        detected=np.ones(len(times_s), bool),
    )
    scores = np.where(speaks, level, -level)
    return ScoredTrack(track=track, scores=scores, rules=rules or TurnRules())


def word(text, start_s, end_s, segment=0, *, spaced=True):
    return Word(text=text, start_s=start_s, end_s=end_s, segment=segment, spaced=spaced)


def who(words, faces):
    return [spoken.track_id for spoken in attribute(words, faces)]


TURNS = [face(0, [(0, 2), (6, 8)]), face(3, [(2, 4)])]
SAID = [
    word("Good", 0.5, 0.9), word("day,", 0.9, 1.4), word("Ada.", 1.5, 1.9),
    word("Hello.", 2.2, 2.9, 1), word("Meanwhile,", 4.5, 5.5, 2), word("well", 6.1, 6.5, 3),
]  # fmt: skip


def test_each_word_is_said_by_the_face_whose_turn_it_is():
    assert who(SAID, TURNS) == [0, 0, 0, 3, None, 0]
    assert [round(s.covered, 2) for s in attribute(SAID, TURNS)] == [1, 1, 1, 1, 0, 1]


def test_a_word_over_a_change_of_turns_is_of_the_one_who_says_most_of_it():
    assert who([word("x", 1.5, 2.3), word("y", 1.8, 2.6)], TURNS) == [0, 3]


def test_of_two_who_speak_the_surer_one_says_it():
    faces = [face(0, [(0, 4)], level=2.0), face(1, [(0, 4)], level=4.0)]
    assert who([word("x", 1, 2)], faces) == [1]
    assert who([word("x", 1, 2)], faces[::-1]) == [1]


def test_a_pause_inside_a_turn_is_of_the_turn_and_a_burst_too_short_for_one_counts():
    paused = face(0, [(0, 2), (2.24, 4)])
    assert who([word("um", 2.05, 2.2)], [paused]) == [0]
    burst = face(0, [(1, 1.4)], rules=TurnRules(shortest_s=1.0))
    assert burst.turns == []
    assert who([word("yes", 1.05, 1.3), word("no", 2, 2.5)], [burst]) == [0, None]


def test_nobody_says_what_is_said_while_no_face_is_seen():
    late = face(0, [(5, 9)], start_s=5.0, length_s=4.0)
    words = [word("a", 1, 2), word("b", 4.0, 4.5), word("c", 6, 7), word("d", 9.5, 9.9)]
    assert who(words, [late]) == [None, None, 0, None]
    assert who(words, []) == [None] * 4


def test_a_word_without_length_is_of_the_turn_that_it_lies_in():
    assert who([word("x", 1.0, 1.0), word("y", 3.0, 3.0), word("z", 5.0, 5.0)], TURNS) == [
        0, 3, None
    ]  # fmt: skip


@given(st.lists(st.integers(0, 144), min_size=1, max_size=12), st.randoms())
def test_who_speaks_follows_time_and_no_order_of_words_or_faces(starts, random):
    words = [word(f"w{k}", a / 16, a / 16 + 0.375, k) for k, a in enumerate(sorted(starts))]
    # A word in equal parts before and behind a change of turns is of either.
    assume(all(abs(w.start_s + 0.1875 - edge_s) > 0.1 for w in words for edge_s in (0, 2, 4, 6, 8)))
    before = who(words, TURNS)
    moved = [face(0, [(10, 12), (16, 18)], length_s=20), face(3, [(12, 14)], length_s=20)]
    later = [word(w.text, w.start_s + 10, w.end_s + 10, w.segment) for w in words]
    assert who(later, moved) == before
    order = [*range(len(words))]
    random.shuffle(order)
    assert who([words[k] for k in order], TURNS[::-1]) == [before[k] for k in order]


def test_subtitles_of_who_says_what_are_read_by_others():
    spoken = attribute(SAID, TURNS)
    cues = list(srt.parse(transcript_srt(spoken, {3: "Ada"})))
    assert [cue.content for cue in cues] == [
        "face 0: Good day, Ada.", "Ada: Hello.", "off-screen: Meanwhile,", "face 0: well"
    ]  # fmt: skip
    assert [cue.start.total_seconds() for cue in cues] == [0.5, 2.2, 4.5, 6.1]
    assert [cue.end.total_seconds() for cue in cues] == [1.9, 2.9, 5.5, 6.5]
    found = webvtt.from_buffer(StringIO(transcript_vtt(spoken, {3: "Ada"})))
    assert [(cue.voice, cue.text) for cue in found] == [
        ("face 0", "Good day, Ada."), ("Ada", "Hello."), ("off-screen", "Meanwhile,"),
        ("face 0", "well"),
    ]  # fmt: skip


def test_long_silences_and_long_speeches_part_subtitles():
    faces = [face(0, [(0, 40)], length_s=40)]
    spoken = attribute([word("a", 0, 0.5), word("b", 2, 2.5), word("c", 2.6, 3)], faces)
    assert [c.content for c in srt.parse(transcript_srt(spoken))] == ["face 0: a", "face 0: b c"]
    spoken = attribute([word(f"w{k}", k, k + 0.9) for k in range(20)], faces)
    cues = list(srt.parse(transcript_srt(spoken)))
    assert max((c.end - c.start).total_seconds() for c in cues) <= 7
    assert " ".join(c.content.removeprefix("face 0: ") for c in cues).split() == [
        f"w{k}" for k in range(20)
    ]


WHISPER = {
    "text": " Good day, Ada.",
    "language": "en",
    "segments": [
        {
            "id": 0, "start": 0.5, "end": 1.9, "text": " Good day, Ada.",
            "words": [
                {"word": " Good", "start": 0.5, "end": 0.9, "probability": 0.9},
                {"word": " day", "start": 0.9, "end": 1.2, "probability": 0.9},
                {"word": ",", "start": 1.2, "end": 1.4, "probability": 0.9},
                {"word": " Ada.", "start": 1.5, "end": 1.9, "probability": 0.9},
            ],
        }
    ],
}  # fmt: skip


def test_json_of_whisper_is_read(tmp_path):
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(WHISPER))
    words = read_transcript(path)
    assert [(w.text, w.start_s, w.spaced) for w in words] == [
        ("Good", 0.5, True), ("day", 0.9, True), (",", 1.2, False), ("Ada.", 1.5, True)
    ]  # fmt: skip
    spoken = attribute(words, TURNS)
    assert next(srt.parse(transcript_srt(spoken))).content == "face 0: Good day, Ada."
    # Without the times of words they share that of the segment.
    short = {"segments": [{k: v for k, v in WHISPER["segments"][0].items() if k != "words"}]}
    path.write_text(json.dumps(short))
    assert [w.text for w in read_transcript(path)] == ["Good", "day,", "Ada."]
    assert read_transcript(path)[0].start_s == 0.5
    assert read_transcript(path)[-1].end_s == pytest.approx(1.9)


def test_json_of_whisperx_is_read_also_where_a_number_has_no_time(tmp_path):
    words = [
        {"word": "In", "start": 1.0, "end": 1.2, "score": 0.9},
        {"word": "2014,"},
        {"word": "12"},
        {"word": "came.", "start": 2.2, "end": 2.6, "score": 0.8},
    ]
    segments = [{"start": 1.0, "end": 2.6, "text": "In 2014, 12 came.", "words": words}]
    path = tmp_path / "talk.json"
    path.write_text(json.dumps({"segments": segments, "word_segments": words}))
    found = read_transcript(path)
    assert [(w.text, w.spaced) for w in found] == [
        ("In", True), ("2014,", True), ("12", True), ("came.", True)
    ]  # fmt: skip
    assert [w.start_s for w in found] == pytest.approx([1.0, 1.2, 1.7, 2.2])
    assert [w.end_s for w in found] == pytest.approx([1.2, 1.7, 2.2, 2.6])


def test_a_language_without_blanks_stays_without(tmp_path):
    words = [{"word": c, "start": k / 5, "end": (k + 1) / 5} for k, c in enumerate("今日は")]
    path = tmp_path / "talk.json"
    path.write_text(
        json.dumps({"segments": [{"start": 0, "end": 0.6, "text": "今日は", "words": words}]})
    )
    spoken = attribute(read_transcript(path), TURNS)
    assert next(srt.parse(transcript_srt(spoken))).content == "face 0: 今日は"


def test_a_srt_is_read_as_its_readers_do(tmp_path):
    text = (
        "\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\n<i>Good</i> day\r\nAda\r\n\r\n"
        "2\r\n00:01:00.5 --> 00:01:01,25 X1:10\r\n{\\an8}12\r\n\r\n"
        "3\r\n01:00:00,000 --> 01:00:00,000\r\n\r\n"
    )
    path = tmp_path / "talk.srt"
    path.write_bytes(text.encode())
    found = read_transcript(path)
    assert [(w.text, w.segment) for w in found] == [("Good", 0), ("day", 0), ("Ada", 0), ("12", 1)]
    assert (found[0].start_s, found[2].end_s) == (1.0, pytest.approx(2.0))
    assert (found[3].start_s, found[3].end_s) == (60.5, pytest.approx(61.25))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.srt", "1\n" + "9" * 5000 + ":00:01,000 --> 00:00:02,000\nGood\n"),
        ("a.json", '{"segments": [{"start": 0, "end": ' + "9" * 400 + ', "text": "a"}]}'),
        ("a.json", '{"segments": ' + "[" * 100_000),
    ],
    ids=["hours", "seconds", "brackets"],
)
def test_digits_and_brackets_without_end_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(AnnotationError):
        read_transcript(tmp_path / name)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**7), st.integers(0, 9999),
            st.lists(st.text("abcdefg", min_size=1, max_size=6), min_size=1, max_size=5),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_what_a_srt_writer_writes_comes_back(tmp_path_factory, cues):
    from datetime import timedelta

    made = [
        srt.Subtitle(
            index=k + 1,
            start=timedelta(milliseconds=start),
            end=timedelta(milliseconds=start + length),
            content=" ".join(words),
        )
        for k, (start, length, words) in enumerate(cues)
    ]
    path = tmp_path_factory.mktemp("srt") / "talk.srt"
    path.write_text(srt.compose(made, reindex=False, strict=False))
    found = read_transcript(path)
    for k, (start, length, words) in enumerate(cues):
        of_cue = [w for w in found if w.segment == k]
        assert sorted(w.text for w in of_cue) == sorted(words)
        assert min(w.start_s for w in of_cue) == pytest.approx(start / 1000)
        assert max(w.end_s for w in of_cue) == pytest.approx((start + length) / 1000)


SEGMENT = {"start": 0, "end": 1, "text": "a"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("words", "is neither json nor srt"),
        ("{", "is no json"),
        ("[" * 100_000, "is no json|has no list"),
        ("{}", "has no list of segments"),
        ('{"segments": [3]}', "has no list of segments"),
        (json.dumps([{**SEGMENT, "start": -1}]), "segment 0: start is '-1'; expected seconds"),
        (json.dumps([{**SEGMENT, "end": float("nan")}]), "end is 'nan'"),
        (json.dumps([{**SEGMENT, "end": True}]), "end is 'True'"),
        (json.dumps([{**SEGMENT, "start": 2}]), "goes from 2.0 to 1.0"),
        (json.dumps([{**SEGMENT, "words": [3]}]), "its words are no list of objects"),
        (json.dumps([{**SEGMENT, "words": "ab"}]), "its words are no list of objects"),
        (json.dumps([{**SEGMENT, "words": [{"word": 5}]}]), "word is '5'; expected text"),
        (json.dumps([{**SEGMENT, "text": [1]}]), r"text is '\[1\]'; expected text"),
        (json.dumps([{**SEGMENT, "end": 1e300}]), r"end is '1e\+300'; expected seconds"),
        (
            json.dumps([{**SEGMENT, "words": [{"word": "a", "start": 3, "end": 2}]}]),
            r"word 0 \('a'\): goes from 3.0 to 2.0",
        ),
        ("1\n00:00:02,000 --> 00:00:01,000\nx\n", "line 2: ends before it begins"),
    ],
)
def test_a_transcript_that_cannot_be_used_is_one_line(tmp_path, text, says):
    path = tmp_path / "talk.json"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=says) as error:
        read_transcript(path)
    assert len(str(error.value)) < 600


def test_an_empty_transcript_is_one_without_words(tmp_path):
    for name, text in (("a.srt", ""), ("b.json", '{"segments": []}')):
        (tmp_path / name).write_text(text)
        assert read_transcript(tmp_path / name) == []


def test_what_has_no_text_says_nothing(tmp_path):
    path = tmp_path / "talk.json"
    path.write_text(json.dumps([{**SEGMENT, "text": None}, {**SEGMENT, "words": [{"word": None}]}]))
    assert read_transcript(path) == []


@given(st.lists(st.text(st.characters(exclude_characters=" ")), min_size=1, max_size=4))
@example(["a\n\n2\n00:00:05,000 --> 00:00:06,000\nnobody said this"])
@example(["a\x00b", "\x1b[2J", "\ud83d", "c\u2028d"])
def test_whatever_is_said_stays_inside_its_subtitle(tmp_path_factory, texts):
    """Ends of lines, zeros and halves of characters, as json may hold them."""
    path = tmp_path_factory.mktemp("said") / "odd.json"
    words = [{"word": text, "start": k, "end": k + 0.5} for k, text in enumerate(texts)]
    segment = {"start": 0, "end": 5, "text": " ".join(texts), "words": words}
    for kept in (segment, {k: v for k, v in segment.items() if k != "words"}):
        path.write_text(json.dumps({"segments": [kept]}))
        found = read_transcript(path)
        assert all(len(one.text.splitlines()) == 1 and "\0" not in one.text for one in found)
        said = attribute(found, TURNS)
        written = transcript_srt(said).encode().decode()
        cues = list(srt.parse(written))
        assert sorted({cue.start.total_seconds() for cue in cues}) == [
            cue.start.total_seconds() for cue in cues
        ]
        assert all(len(cue.content.splitlines()) == 1 for cue in cues)
        assert len(written.splitlines()) == 4 * len(cues)
        assert len(list(webvtt.from_buffer(StringIO(transcript_vtt(said))))) == len(cues)


def test_many_words_without_times_take_no_longer_each(tmp_path):
    n = 20_000
    words = [{"word": "a", "start": k, "end": k + 1} if k % 2 else {"word": "b"} for k in range(n)]
    path = tmp_path / "talk.json"
    path.write_text(json.dumps([{"start": 0, "end": n, "text": "", "words": words}]))
    before = time.process_time()
    read = read_transcript(path)
    assert time.process_time() - before < 5
    assert [word.start_s for word in read] == list(range(n))


def test_words_after_the_end_of_the_video_are_said(pushpull, talking, tmp_path):
    said = tmp_path / "said.srt"
    said.write_text("1\n00:00:00,100 --> 00:00:00,900\nGood day\n")
    line = ("detect", talking, "-d", "synthetic-a", "--face-finder", "dlib", "--video", "none")
    line += ("--transcript", said, "--out", tmp_path / "out", "--overwrite")
    assert "words are said after" not in pushpull(*line)[2]
    with said.open("a") as file:
        file.write("\n2\n00:00:01,500 --> 00:00:02,500\nto you all\n")
    code, _, err = pushpull(*line)
    assert code == 0
    assert f"{said}: 3 of 5 words are said after the end of {talking} at 1.0" in err


@pytest.mark.parametrize("names", ["0=Ada,0=Bob", "0=Ada\nBob", "0=\x1b[2J"])
def test_names_that_no_subtitle_holds_are_refused(names):
    with pytest.raises(ConfigError, match="--names is"):
        names_of(names)


def test_the_command_writes_words_with_faces(pushpull, talking, tmp_path):
    said = tmp_path / "said.srt"
    said.write_text("1\n00:00:00,100 --> 00:00:00,900\nGood day\n")
    out = tmp_path / "out"
    line = ("detect", talking, "-d", "synthetic-a", "--face-finder", "dlib", "--video", "none")
    line += ("--out", out)
    assert pushpull(*line)[0] == 0
    code, _, err = pushpull(*line, "--transcript", said, "--names", "0=Ada")
    assert code == 0, err
    record = json.loads((out / "talking.words.json").read_text())
    assert (record["kind"], record["name"]) == ("transcript", "talking")
    assert [w["word"] for w in record["words"]] == ["Good", "day"]
    assert {w["track_id"] for w in record["words"]} <= {"talking:0", None}
    cues = list(srt.parse((out / "talking.words.srt").read_text()))
    assert all(cue.content.startswith(("Ada: ", "off-screen: ")) for cue in cues)
    assert len(webvtt.read(str(out / "talking.words.vtt"))) == len(cues)
    # Another name is another result, and the transcript is an input.
    code, _, err = pushpull(*line, "--transcript", said)
    assert code == 2
    assert "talking.words.json: is there already" in err
    taken = out / "talking.words.srt"
    assert pushpull(*line, "--transcript", taken, "--overwrite")[0] == 2
    for wrong, why in ((("--names", "Ada"), "expected NUMBER=NAME"), (("--transcript", out), "")):
        code, _, err = pushpull(*line, *wrong)
        assert code in (1, 2)
        assert why in err
    code, _, err = pushpull("detect", talking, talking, "--transcript", said)
    assert code == 2

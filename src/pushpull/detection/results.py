"""What detection returns, and the files it becomes.

A csv for the AVA score and one of decisions, json for programs, rttm for diarization, srt and vtt
for players, mp4 to see. All files of one video appear together or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.annotations import write_predictions, write_truth
from pushpull.detection.reframe import plan_windows, window_size
from pushpull.detection.render import Overlay
from pushpull.detection.tables import write_parquet
from pushpull.detection.transcripts import (
    SpokenWord,
    Word,
    attribute,
    read_transcript,
    transcript_srt,
    transcript_vtt,
)
from pushpull.detection.turn_files import rttm_lines, srt_lines, vtt_lines
from pushpull.detection.turns import ScoredTrack, Turn
from pushpull.errors import UnknownName
from pushpull.media import WHOLE, Part, VideoInfo, VideoWriter, read_frames
from pushpull.report.tables import html_table, percent
from pushpull.runtime.files import readable
from pushpull.runtime.outputs import Origin, Outputs
from pushpull.runtime.progress import Progress, no_progress
from pushpull.runtime.records import write_json
from pushpull.schema import FrameScores, brief

__all__ = [
    "VIDEOS",
    "Detection",
    "output_files",
    "reframed_outputs",
    "spoken_outputs",
    "word_files",
]

SHOWN = 20
"""Faces that a notebook shows of a detection."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """Who speaks when in one video.

    Attributes:
        path: The video.
        name: Its name in every output: video_id in the csv, file name in the rttm.
        info: Size, rates, codecs, where its clock begins.
        part: Which part of it was looked at; all times are those of the whole file.
        audio_track: Number of the sound track that was heard, from 1; None where another sound was
            given.
        tracks: Every face with its scores.
        off_screen: Turns of voices that are nobody's on screen, by voice activity.
        settings: Detector, face finder, crop, device: what it takes to do it again.
        seconds: Wall time by stage.
        notes: Anything the user should know (silence, damage, resampled frame rate).
        origin: What was asked for, by which files are told that the same detection left.

    Examples:
        >>> import pushpull as pp
        >>> from pushpull.synthetic import one_face_video
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = pp.detect("talk.mp4", "synthetic-a", face_finder="dlib")
        >>> found.name, found.entity_id(found.tracks[0]), len(found.frame_scores)
        ('talk', 'talk:0', 10)
        >>> found.settings["detector"], found.settings["crop"]
        ('synthetic-a', 'ava')
    """

    path: Path
    name: str
    info: VideoInfo
    part: Part = WHOLE
    audio_track: int | None = None
    tracks: tuple[ScoredTrack, ...]
    off_screen: tuple[Turn, ...] = ()
    settings: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    origin: Origin | None = None

    @property
    def frame_scores(self) -> FrameScores:
        """Scores of all frames of all faces, by the numbers of their tracks; no truth is known."""
        return FrameScores.of_tracks(
            [scored.scores for scored in self.tracks],
            numbers=[scored.track.track_id for scored in self.tracks],
        )

    def entity_id(self, scored: ScoredTrack) -> str:
        """Name of a track in the csv, the json and the rttm."""
        return f"{self.name}:{scored.track.track_id}"

    def as_dict(self, *, frames: bool = True) -> dict[str, Any]:
        """Plain values for JSON: one entry for each track, and lists of all frame values.

        Args:
            frames: Whether the lists are there.

        Examples:
            >>> import pushpull as pp
            >>> from pushpull.synthetic import one_face_video
            >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
            >>> record = pp.detect("talk.mp4", "synthetic-a", face_finder="dlib").as_dict()
            >>> record["name"], record["fps"], len(record["tracks"][0]["scores"])
            ('talk', 25.0, 10)
        """
        info = self.info
        return {
            "video": readable(str(self.path)),
            "name": self.name,
            "fps": info.fps,
            "width": info.width,
            "height": info.height,
            "pixel_aspect": info.pixel_aspect,
            "duration_s": info.duration_s,
            "start_s": info.start_s,
            "zero_s": info.zero_s,
            "part_s": None if self.part == WHOLE else [self.part.start_s, self.part.end_s],
            "audio_track": self.audio_track,
            "settings": dict(self.settings),
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
            "notes": list(self.notes),
            "off_screen": [[turn.start_s, turn.end_s] for turn in self.off_screen],
            "tracks": [
                {"track_id": self.entity_id(scored), **summary_of(scored)}
                | (frames_of(scored) if frames else {})
                for scored in self.tracks
            ],
        }

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        video: str = "fast",
        parquet: bool = False,
        overwrite: bool = False,
        inputs: Sequence[Path] = (),
        transcript: str | os.PathLike[str] | None = None,
        names: Mapping[int, str] | None = None,
        reframe: tuple[int, int] | None = None,
        progress: Progress = no_progress,
    ) -> dict[str, Path]:
        """Write NAME.csv, .json, .rttm, .srt, .vtt, .labels.csv and .mp4 into a folder.

        Files that are there are replaced only if they were made of the same video with the same
        settings, and never if one of them is the video itself.

        Args:
            folder: Made if it is not there.
            video: How the mp4 is made: "none", "fast" (large pictures are compressed in a hurry) or
                "full" (they look better, and take half as long again).
            parquet: Whether to write NAME.parquet too, with the rows of the csv and more columns.
            overwrite: Whether any other file may be replaced.
            inputs: Further files that are never replaced.
            transcript: Json of Whisper or WhisperX, or a srt, whose words are given to faces; also
                writes NAME.words.json, .words.srt and .words.vtt.
            names: What faces are called in these, by the numbers of their tracks.
            reframe: Also write NAME.reframed.mp4, of this width to height, that follows who speaks.
            progress: Called with the stage, frames encoded and frames expected.

        Returns:
            Files by suffix.

        Raises:
            UnknownName: If there is no such way of making the mp4.
            OutputError: If something cannot be written or may not be replaced; then none of the
                files is there.
            AnnotationError: If the transcript cannot be used.
            MediaError: If the video cannot be read again.

        Examples:
            >>> import pushpull as pp
            >>> from pushpull.synthetic import one_face_video
            >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
            >>> found = pp.detect("talk.mp4", "synthetic-a", face_finder="dlib")
            >>> list(found.save("out", video="none"))
            ['csv', 'labels.csv', 'json', 'rttm', 'srt', 'vtt']
        """
        outputs = drawn_outputs(
            Outputs(
                folder=Path(folder),
                origin=self.origin or self._own_origin,
                inputs=(self.path, *inputs),
                overwrite=overwrite,
            ),
            video,
        )
        files = output_files(self.name, video=video, parquet=parquet)
        outputs.check(files.values())
        words = {} if transcript is None else word_files(self.name)
        extra = outputs if transcript is None else spoken_outputs(outputs, transcript, names)
        extra.check(words.values())
        narrow = outputs if reframe is None else reframed_outputs(outputs, reframe)
        reframed = f"{self.name}.reframed.mp4"
        if reframe is not None:
            narrow.check([reframed])
        spoken = [] if transcript is None else self.attribute(read_transcript(transcript))
        with outputs.writing(list(files.values())) as by_name:
            paths = {suffix: by_name[name] for suffix, name in files.items()}
            write_csv(self, paths["csv"])
            write_labels(self, paths["labels.csv"])
            write_json(paths["json"], self.as_dict(), kind="detection")
            for suffix, lines in (
                ("rttm", rttm_lines(self.name, self.tracks, self.off_screen)),
                ("srt", srt_lines(self.tracks, self.off_screen)),
                ("vtt", vtt_lines(self.tracks, self.off_screen)),
            ):
                paths[suffix].write_text("".join(lines), encoding="utf-8")
            if parquet:
                size = {"width": self.info.width, "height": self.info.height}
                write_parquet(paths["parquet"], self.name, self.tracks, **size)
            if video != "none":
                write_video(self, paths["mp4"], progress, hurry=video == "fast")
        if words:
            with extra.writing(list(words.values())) as by_name:
                write_words(self, spoken, names or {}, {s: by_name[n] for s, n in words.items()})
        if reframe is not None:
            with narrow.writing([reframed]) as by_name:
                write_reframed(self, by_name[reframed], reframe, progress)
            words = {**words, "reframed.mp4": reframed}
        return {suffix: outputs.folder / name for suffix, name in {**files, **words}.items()}

    @property
    def _own_origin(self) -> Origin:
        said = {k: v for k, v in self.as_dict().items() if k != "seconds"}
        return Origin.of_result("detect", said, (self.path,))

    def attribute(self, words: Iterable[Word]) -> list[SpokenWord]:
        """Words of a transcript with the face that says each.

        Examples:
            >>> from pushpull.detection import Word
            >>> from pushpull.synthetic import Case, one_face_video
            >>> size, case = (160, 120), Case.SPEAKING
            >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=size, case=case)
            >>> found = pp.detect("talk.mp4", "synthetic-a", face_finder="dlib")
            >>> word = Word(text="Hello,", start_s=0.1, end_s=0.3, segment=0, spaced=True)
            >>> found.attribute([word])[0].track_id
            0
        """
        return attribute(words, self.tracks)

    __repr__ = brief

    def _repr_html_(self) -> str:
        rows = [
            (
                self.entity_id(scored),
                f"{scored.track.timestamps_s[0]:.2f} to {scored.track.timestamps_s[-1]:.2f} s",
                percent(float(scored.speaking.mean())),
                ", ".join(f"{turn.start_s:.2f} to {turn.end_s:.2f} s" for turn in scored.turns),
            )
            for scored in self.tracks[:SHOWN]
        ]
        if len(self.tracks) > SHOWN:
            rows.append((f"and {len(self.tracks) - SHOWN} more", "", "", ""))
        speak = sum(bool(scored.turns) for scored in self.tracks)
        title = f"{self.name}: {speak} of {len(self.tracks)} faces speak"
        return html_table(title, ("face", "seen", "speaking, of frames", "turns"), rows)


def output_files(name: str, *, video: str = "fast", parquet: bool = False) -> dict[str, str]:
    """Names of the files that a detection becomes, by suffix.

    Raises:
        UnknownName: If there is no such way of making the mp4.

    Examples:
        >>> from pushpull.detection import output_files
        >>> output_files("talk")["labels.csv"]
        'talk.labels.csv'
    """
    if video not in VIDEOS:
        raise UnknownName("video", video, VIDEOS)
    suffixes = ["csv", "labels.csv", "json", "rttm", "srt", "vtt"]
    suffixes += ["parquet"] if parquet else []
    suffixes += ["mp4"] if video != "none" else []
    return {suffix: f"{name}.{suffix}" for suffix in suffixes}


def drawn_outputs(outputs: Outputs, video: str) -> Outputs:
    """Where a detection goes whose mp4 is made so: a "full" one is not the usual one.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.detection.results import drawn_outputs
        >>> from pushpull.runtime.outputs import Origin, Outputs
        >>> plain = Outputs(folder=Path("out"), origin=Origin(command="detect"))
        >>> drawn_outputs(plain, "full").origin.settings, drawn_outputs(plain, "fast") is plain
        ({'video': 'full'}, True)
    """
    if video != "full":
        return outputs
    asked = {**outputs.origin.settings, "video": video}
    return replace(outputs, origin=replace(outputs.origin, settings=asked))


def word_files(name: str) -> dict[str, str]:
    """Names of the files that a transcript with faces becomes, by suffix.

    Examples:
        >>> from pushpull.detection.results import word_files
        >>> word_files("talk")["words.srt"]
        'talk.words.srt'
    """
    return {suffix: f"{name}.{suffix}" for suffix in ("words.json", "words.srt", "words.vtt")}


def spoken_outputs(
    outputs: Outputs, transcript: str | os.PathLike[str], names: Mapping[int, str] | None
) -> Outputs:
    """Where words of a transcript go: made of it too, and never in its place.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.detection.results import spoken_outputs
        >>> from pushpull.runtime.outputs import Origin, Outputs
        >>> plain = Outputs(folder=Path("out"), origin=Origin(command="detect"))
        >>> spoken_outputs(plain, "talk.srt", {0: "Ada"}).origin.settings
        {'names': {0: 'Ada'}}
    """
    path, origin = Path(transcript), outputs.origin
    asked = replace(
        origin,
        inputs=(*origin.inputs, path),
        settings={**origin.settings, "names": dict(names or {})},
    )
    return replace(outputs, origin=asked, inputs=(*outputs.inputs, path))


def reframed_outputs(outputs: Outputs, aspect: tuple[int, int]) -> Outputs:
    """Where a narrower video goes: made with one setting more.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.detection.results import reframed_outputs
        >>> from pushpull.runtime.outputs import Origin, Outputs
        >>> plain = Outputs(folder=Path("out"), origin=Origin(command="detect"))
        >>> reframed_outputs(plain, (9, 16)).origin.settings
        {'reframe': [9, 16]}
    """
    asked = {**outputs.origin.settings, "reframe": list(aspect)}
    return replace(outputs, origin=replace(outputs.origin, settings=asked))


def write_reframed(
    detection: Detection, path: Path, aspect: tuple[int, int], progress: Progress
) -> None:
    """The part of each picture that follows who speaks, with the sound that was heard."""
    info, part = detection.info, detection.part
    width, height = window_size(info.width, info.height, aspect)
    windows = plan_windows(detection.tracks, width=info.width, height=info.height, aspect=aspect)
    x, y = (info.width - width) // 2, (info.height - height) // 2
    with VideoWriter(
        path,
        width=width,
        height=height,
        fps=info.fps,
        audio=detection.path,
        audio_track=detection.audio_track,
        audio_part=part,
    ) as writer:
        for frame in read_frames(detection.path, part=part, on_damage=lambda line: None):
            x, y = windows.get(frame.index, (x, y))
            shown = np.ascontiguousarray(frame.rgb()[y : y + height, x : x + width])
            writer.write(shown, frame.time_s - part.start_s)
            if frame.index % 10 == 0:
                progress("reframed video", frame.index, info.n_frames)


def write_words(
    detection: Detection,
    spoken: Sequence[SpokenWord],
    names: Mapping[int, str],
    paths: Mapping[str, Path],
) -> None:
    """Words with who says them: json for programs, srt and vtt for players."""
    entries = [
        {
            "word": one.word.text,
            "start_s": round(one.word.start_s, 4),
            "end_s": round(one.word.end_s, 4),
            "segment": one.word.segment,
            "track_id": None if one.track_id is None else f"{detection.name}:{one.track_id}",
            "name": one.called(names),
            "covered": round(one.covered, 4),
            **({} if one.person is None else {"person": one.person}),
        }
        for one in spoken
    ]
    record = {"video": readable(str(detection.path)), "name": detection.name, "words": entries}
    write_json(paths["words.json"], record, kind="transcript")
    paths["words.srt"].write_text(transcript_srt(spoken, names), encoding="utf-8")
    paths["words.vtt"].write_text(transcript_vtt(spoken, names), encoding="utf-8")


def write_csv(detection: Detection, path: Path) -> None:
    """One row per face and frame for the AVA score, with the probability and the decision."""
    tracks = detection.tracks
    write_predictions(
        path,
        **rows_of(detection),
        scores=detection.frame_scores.score,
        more={
            "probability": np.concatenate([*(t.probabilities for t in tracks), np.zeros(0)]),
            "speaking": speaking_of(detection).astype(np.int64),
        },
    )


def write_labels(detection: Detection, path: Path) -> None:
    """The same rows as annotations: the label is the decision."""
    write_truth(path, **rows_of(detection), speaking=speaking_of(detection))


def speaking_of(detection: Detection) -> NDArray[np.bool_]:
    """The decision for each row."""
    return np.concatenate([*(t.speaking for t in detection.tracks), np.zeros(0, bool)])


def rows_of(detection: Detection) -> dict[str, Any]:
    """Where and when each face is seen: boxes relative to the picture and inside it."""
    info = detection.info
    size = np.array([info.width, info.height] * 2, float)
    tracks = [scored.track for scored in detection.tracks]
    boxes = np.concatenate([*(track.boxes for track in tracks), np.zeros((0, 4))])
    return {
        "video_id": detection.name,
        "entity_ids": [
            detection.entity_id(scored)
            for scored in detection.tracks
            for _ in range(len(scored.track))
        ],
        "timestamps_s": np.concatenate([*(t.timestamps_s for t in tracks), np.zeros(0)]),
        "boxes": np.clip(boxes / size, 0, 1),
    }


def write_video(detection: Detection, path: Path, progress: Progress, *, hurry: bool) -> None:
    """The video with boxes and states drawn, and the sound that was heard; a part begins at 0."""
    info, part = detection.info, detection.part
    overlay = Overlay(detection.tracks, width=info.width, height=info.height)
    with VideoWriter(
        path,
        width=info.width,
        height=info.height,
        fps=info.fps,
        audio=detection.path,
        audio_track=detection.audio_track,
        audio_part=part,
        hurry=hurry,
        crf=DRAWN_CRF,
        matrix=info.matrix,
    ) as writer:
        for frame in read_frames(detection.path, part=part, on_damage=lambda line: None):
            stored = frame.yuv()
            if stored is None:
                picture = overlay.draw(frame.rgb(), frame.index)
            else:
                picture = overlay.draw_yuv(stored, frame.index, info.matrix)
            writer.write(picture, frame.time_s - part.start_s)
            if frame.index % 10 == 0:
                progress("video", frame.index, info.n_frames)


def summary_of(scored: ScoredTrack) -> dict[str, Any]:
    """A face in a few numbers."""
    return {
        "start_s": float(scored.track.timestamps_s[0]),
        "end_s": float(scored.track.timestamps_s[-1]),
        "frames": len(scored.track),
        "mean_score": float(scored.scores.mean()),
        "speaking_share": float(scored.speaking.mean()),
        "turns": [[turn.start_s, turn.end_s] for turn in scored.turns],
        "agreements": [rounded(scored.agreement(turn)) for turn in scored.turns],
        **({} if scored.person is None else {"person": scored.person}),
    }


def rounded(value: float | None) -> float | None:
    """To what a file shows."""
    return None if value is None else round(value, 3)


VIDEOS = ("none", "fast", "full")
"""How the drawn video is made."""
DRAWN_CRF = 23
"""Quality of the drawn video: x264's own default."""

PER_FRAME = (
    "frame_numbers", "timestamps_s", "boxes", "detected", "scores", "probabilities", "speaking",
)  # fmt: skip
"""What `frames_of` holds."""


def frames_of(scored: ScoredTrack) -> dict[str, Any]:
    """A list for every value that a face has in each frame."""
    return {
        "frame_numbers": scored.track.frames.tolist(),
        "timestamps_s": scored.track.timestamps_s.round(6).tolist(),
        # So fine that a detection from these boxes gives the same scores.
        "boxes": scored.track.boxes.round(6).tolist(),
        "detected": scored.track.detected.tolist(),
        "scores": scored.scores.round(6).tolist(),
        "probabilities": scored.probabilities.round(6).tolist(),
        "speaking": scored.speaking.tolist(),
    }

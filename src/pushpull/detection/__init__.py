"""Who is speaking in a video: the pipeline, its results, and the files they become."""

from pushpull.detection.crops import VideoClips, gathered, read_clips
from pushpull.detection.given_faces import GivenFace, read_faces, tracks_of
from pushpull.detection.live import FaceScore, Live
from pushpull.detection.many import DetectedVideo, Saving, detect_many
from pushpull.detection.pipeline import (
    EncodedTrack,
    Footage,
    Stopwatch,
    counted,
    crop_of,
    detect,
    encode_tracks,
    find_faces,
    origin_of,
    score_tracks,
)
from pushpull.detection.reframe import plan_windows
from pushpull.detection.render import Label, Overlay
from pushpull.detection.results import VIDEOS, Detection, output_files
from pushpull.detection.transcripts import (
    SpokenWord,
    Word,
    attribute,
    read_transcript,
    transcript_srt,
    transcript_vtt,
)
from pushpull.detection.turn_files import rttm_lines, srt_lines, vtt_lines
from pushpull.detection.turns import ScoredTrack, Turn, TurnRules, frame_lengths_s, turns_of
from pushpull.detection.voices import off_screen_turns, voiced

__all__ = [
    "VIDEOS",
    "DetectedVideo",
    "Detection",
    "EncodedTrack",
    "FaceScore",
    "Footage",
    "GivenFace",
    "Label",
    "Live",
    "Overlay",
    "Saving",
    "ScoredTrack",
    "SpokenWord",
    "Stopwatch",
    "Turn",
    "TurnRules",
    "VideoClips",
    "Word",
    "attribute",
    "counted",
    "crop_of",
    "detect",
    "detect_many",
    "encode_tracks",
    "find_faces",
    "frame_lengths_s",
    "gathered",
    "off_screen_turns",
    "origin_of",
    "output_files",
    "plan_windows",
    "read_clips",
    "read_faces",
    "read_transcript",
    "rttm_lines",
    "score_tracks",
    "srt_lines",
    "tracks_of",
    "transcript_srt",
    "transcript_vtt",
    "turns_of",
    "voiced",
    "vtt_lines",
]

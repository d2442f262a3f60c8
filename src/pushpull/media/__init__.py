"""Video and audio in and out, by FFmpeg through PyAV."""

from pushpull.media.audio import Sound, read_sound, read_waveform, slice_audio, write_wav
from pushpull.media.clock import WHOLE, Part
from pushpull.media.encode import VideoWriter, write_sound
from pushpull.media.probe import Orientation, VideoInfo, probe
from pushpull.media.streams import SoundTrack
from pushpull.media.video import Frame, planes_of, read_frames, rgb_of

__all__ = [
    "WHOLE",
    "Frame",
    "Orientation",
    "Part",
    "Sound",
    "SoundTrack",
    "VideoInfo",
    "VideoWriter",
    "planes_of",
    "probe",
    "read_frames",
    "read_sound",
    "read_waveform",
    "rgb_of",
    "slice_audio",
    "write_sound",
    "write_wav",
]

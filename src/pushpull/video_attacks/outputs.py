"""The files of an adversary: its sound, its tensors, and crops or videos as they were read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from pushpull.media import write_wav
from pushpull.runtime.files import temporary_folder, written_whole
from pushpull.runtime.progress import Progress, no_progress
from pushpull.video_attacks.codec import Codec
from pushpull.video_attacks.comparison import frames_of, time_in
from pushpull.video_attacks.spaces import FrameSegment
from pushpull.video_attacks.variants import Variant

__all__ = ["write_files", "write_sound", "write_tensors"]


def write_sound(variant: Variant, folder: Path) -> None:
    """The sound of the whole video, as floats and as int16.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.outputs import write_sound
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = pp.attack_video("talk.mp4", "synthetic-a", "fgsm", face_finder="dlib")
        >>> write_sound(found.asked, Path("."))
        >>> sorted(path.name for path in Path(".").glob("*.wav"))
        ['adversarial-int16.wav', 'adversarial.wav']
    """
    waveform = variant.sound()
    write_wav(folder / "adversarial.wav", waveform)
    write_wav(folder / "adversarial-int16.wav", waveform, sample_format="int16")


def write_tensors(variant: Variant, folder: Path, settings: str) -> None:
    """Sound and crops of each face exactly as the detector saw them, clean and adversarial.

    Args:
        variant: The adversary.
        folder: An existing folder.
        settings: What is said of it in the file, as JSON.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.outputs import write_tensors
        >>> from safetensors.torch import load_file
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = pp.attack_video("talk.mp4", "synthetic-a", "fgsm", face_finder="dlib")
        >>> write_tensors(found.asked, Path("."), settings="{}")
        >>> for name, tensor in sorted(load_file("adversarial.safetensors").items()):
        ...     print(name, tuple(tensor.shape))
        track-0.adversarial.faces (10, 112, 112)
        track-0.adversarial.waveform (6400,)
        track-0.clean.faces (10, 112, 112)
        track-0.clean.waveform (6400,)
        track-0.speaking (10,)
    """
    tensors: dict[str, torch.Tensor] = {}
    for segment, batch in zip(variant.segments, variant.batches, strict=True):
        samples, frames = segment.batch.n_samples.tolist(), segment.batch.n_frames.tolist()
        speaking = segment.batch.speaking
        for row, track in enumerate(segment.clips.tracks):
            name = f"track-{track.track_id}"
            for kind, of in (("clean", segment.batch), ("adversarial", batch)):
                # Copies, since an input that was not attacked is the clean one itself.
                tensors[f"{name}.{kind}.waveform"] = of.waveform[row, : samples[row]].cpu().clone()
                tensors[f"{name}.{kind}.faces"] = of.faces[row, : frames[row]].cpu().clone()
            if speaking is not None:
                tensors[f"{name}.speaking"] = speaking[row, : frames[row]].cpu().clone()
    with written_whole(folder / "adversarial.safetensors") as temporary:
        save_file(tensors, temporary, {"settings": settings})


def write_files(
    variant: Variant,
    folder: Path,
    codecs: Sequence[Codec],
    progress: Progress = no_progress,
) -> None:
    """The files that were read back: crops of each track, or in frame space the whole video.

    Args:
        variant: The adversary.
        folder: An existing folder.
        codecs: What is written with, each once.
        progress: Called with stage, frames done and frames expected.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.synthetic import one_face_video
        >>> from pushpull.video_attacks.codec import LOSSLESS, Codec
        >>> from pushpull.video_attacks.outputs import write_files
        >>> scene = one_face_video("talk.mp4", seed=1, duration_s=0.4, size=(160, 120))
        >>> found = pp.attack_video("talk.mp4", "synthetic-a", "fgsm", face_finder="dlib")
        >>> Path("out").mkdir()
        >>> write_files(found.asked, Path("out"), [LOSSLESS, Codec(crf=23)])
        >>> sorted(path.name for path in Path("out").iterdir())  # crops, since these were moved
        ['track-0.mkv', 'track-0.mp4']
    """
    clips = variant.clips
    for codec in codecs:
        if isinstance(variant.segments[0], FrameSegment):
            frames = frames_of(clips, "writing", progress)
            pictures = ((variant.picture(frame), time_in(clips, frame)) for frame in frames)
            path = folder / f"adversarial{codec.video_suffix}"
            codec.write_video(path, pictures, variant.sound(), clips.info)
            continue
        for segment, points in zip(variant.segments, variant.points, strict=True):
            with temporary_folder(folder) as inner:
                # The sound, which comes first, is that of a segment only.
                for path in segment.write(points, inner, codec)[1:]:
                    path.replace(folder / path.name)

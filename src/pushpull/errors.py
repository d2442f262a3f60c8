"""The errors a user can meet, as one small tree.

PushPullError
├── MediaError         a video or audio file that cannot be read or written
├── AnnotationError    a csv of labels or predictions that cannot be used
├── DatasetError       a data set that is missing, unfinished or damaged
├── ShapeError         a tensor of the wrong shape, type or range (also a ValueError)
├── ConfigError        a setting that cannot be (also a ValueError)
│   ├── UnknownName    a name that no table holds
│   └── MissingExtra   a package of an extra that is not installed
├── CheckpointError    weights that cannot be loaded
├── BudgetError        an adversary outside its budget, range or valid part
├── GradientError      a gradient that is not there or not finite
├── RecordError        a record of results that cannot be used
└── OutputError        a result that cannot be written
    └── OutputExists   a file that is there already and may not be replaced

BudgetWarning is for a budget too small to hold any adversary: no error, but no robustness either.

Every message says what was got, what was expected, where (path, line, field) and what to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "AnnotationError",
    "BudgetError",
    "BudgetWarning",
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "GradientError",
    "MediaError",
    "MissingExtra",
    "OutputError",
    "OutputExists",
    "PushPullError",
    "RecordError",
    "ShapeError",
    "UnknownName",
    "foreseen",
]


class PushPullError(Exception):
    """Base of every error that this package raises on purpose.

    Examples:
        >>> from pushpull.errors import PushPullError
        >>> from pushpull.media import probe
        >>> try:
        ...     probe("missing.mp4")
        ... except PushPullError as error:
        ...     print(type(error).__name__, "-", error)
        MediaError - missing.mp4: no such file
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by way of __init__, which may be made of more than the message: so that every error
        # comes back from another process.
        return _restored, (type(self), self.args, vars(self))


class MediaError(PushPullError):
    """A video or audio file cannot be read or written.

    Examples:
        >>> from pushpull.media import read_waveform
        >>> read_waveform("missing.wav")
        Traceback (most recent call last):
            ...
        pushpull.errors.MediaError: missing.wav: no such file
    """


class AnnotationError(PushPullError):
    r"""A csv of labels or predictions cannot be used.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import read_table
        >>> _ = Path("rows.csv").write_text("video,900.0,0.1,0.1\n")
        >>> read_table("rows.csv")
        Traceback (most recent call last):
            ...
        pushpull.errors.AnnotationError: rows.csv, line 1: has 4 fields and no header;
        expected 8: video_id, frame_timestamp, entity_box_x1, entity_box_y1, entity_box_x2,
        entity_box_y2, label, entity_id
    """


class DatasetError(PushPullError):
    """A data set is missing, unfinished or damaged.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.data import open_tracks
        >>> open_tracks(Path("nowhere"), "test")
        Traceback (most recent call last):
            ...
        pushpull.errors.DatasetError: nowhere: holds no data set; expected dataset.json, as
        `pushpull data` writes it, or csv/test_loader.csv in TalkNet's layout
    """


class ShapeError(PushPullError, ValueError):
    """A tensor has the wrong shape, type or range.

    Examples:
        >>> from pushpull.schema import Clip
        >>> Clip(waveform=torch.zeros(1, 640), faces=torch.zeros(1, 112, 112), fps=25.0)
        Traceback (most recent call last):
            ...
        pushpull.errors.ShapeError: waveform is (1, 640); expected (S,) with S > 0
    """


class ConfigError(PushPullError, ValueError):
    """A setting cannot be.

    Examples:
        >>> from pushpull.losses import Avil
        >>> Avil(l1=-1.0)
        Traceback (most recent call last):
            ...
        pushpull.errors.ConfigError: the weight of l1 is -1.0; expected a finite number of
        at least 0 (its direction is part of the loss)
    """


class UnknownName(ConfigError):
    """A name is in no table.

    Args:
        kind: What the name was to be, such as "model".
        name: What was asked for.
        known: The names that there are.

    Examples:
        >>> from pushpull.models import build
        >>> build("talk_net")
        Traceback (most recent call last):
            ...
        pushpull.errors.UnknownName: unknown model 'talk_net': choose one of light_asd,
        lr_asd, nc_talknet, spec_talknet, talknet
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} '{name}': choose one of {', '.join(sorted(known))}")


class MissingExtra(ConfigError):
    """A package that only some commands need is not installed.

    Examples:
        >>> from pushpull.errors import MissingExtra
        >>> raise MissingExtra.of("training", ImportError(name="lightning"), "train")
        Traceback (most recent call last):
            ...
        pushpull.errors.MissingExtra: training needs the package lightning; install it with:
        pip install 'pushpull-asd[train]'
    """

    @classmethod
    def of(cls, what: str, error: ImportError, extra: str) -> MissingExtra:
        """The error for what needs a package, and the extra of this distribution that brings it.

        Args:
            what: What cannot be done without.
            error: What importing the package raised.
            extra: Name of the extra, such as "train".

        Examples:
            >>> from pushpull.errors import MissingExtra
            >>> print(MissingExtra.of("training", ImportError(name="lightning"), "train"))
            training needs the package lightning; install it with: pip install 'pushpull-asd[train]'
        """
        return cls(
            f"{what} needs the package {error.name or error}; install it with: "
            f"pip install 'pushpull-asd[{extra}]'"
        )


class CheckpointError(PushPullError):
    """Weights cannot be loaded.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.models.checkpoints import load
        >>> _ = Path("weights.safetensors").write_bytes(b"not weights")
        >>> load(Path("weights.safetensors"))
        Traceback (most recent call last):
            ...
        pushpull.errors.CheckpointError: weights.safetensors: is no checkpoint (it starts
        with 'not weights'); expected a published checkpoint of TalkNet, Light-ASD or
        LR-ASD, or a safetensors file that pushpull saved
    """


class BudgetError(PushPullError):
    """An adversary lies outside its budget, its valid range or its clip.

    Examples:
        >>> from pushpull.attacks.threat import Ball, Region
        >>> region = Region("audio", torch.zeros(1, 3), torch.tensor([3]), Ball.of("audio", 0.5))
        >>> region.verify(torch.full((1, 3), 0.75))
        Traceback (most recent call last):
            ...
        pushpull.errors.BudgetError: the adversarial audio of row 0 has linf norm 0.75; the
        budget is 0.5
    """


class BudgetWarning(UserWarning):
    """A budget is smaller than what the input can be changed by.

    Examples:
        >>> import warnings
        >>> from pushpull.attacks import attack
        >>> from pushpull.errors import BudgetWarning
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch, Clip
        >>> clip = Clip(waveform=torch.zeros(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", BudgetWarning)
        ...     attack(build("light_asd"), Batch.from_clips([clip]), "fgsm", eps=0.1, quantise=True)
        Traceback (most recent call last):
            ...
        pushpull.errors.BudgetWarning: eps of audio is 1e-05, below one step of what a file
        holds (3.05176e-05): no adversary exists within it, which says nothing about the
        detector's robustness
    """


class GradientError(PushPullError):
    """A gradient does not exist or is not finite.

    Examples:
        >>> from pushpull.attacks import attack
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch, Clip
        >>> detector = build("light_asd")
        >>> _ = torch.nn.init.constant_(detector.head_av.weight, torch.nan)
        >>> clip = Clip(waveform=torch.zeros(640), faces=torch.zeros(1, 112, 112), fps=25.0)
        >>> attack(detector, Batch.from_clips([clip]), "fgsm")
        Traceback (most recent call last):
            ...
        pushpull.errors.GradientError: the loss of clip 0 is not finite at step 0: the
        detector returned NaN or infinite logits
    """


class RecordError(PushPullError):
    """A record of results cannot be used.

    Examples:
        >>> from pushpull.leaderboard import read_board
        >>> read_board("nowhere.json")
        Traceback (most recent call last):
            ...
        pushpull.errors.RecordError: nowhere.json: cannot be read (No such file or directory); give
        the file of a leaderboard
    """


class OutputError(PushPullError):
    """A result cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.files import output_dir
        >>> _ = Path("taken").write_text("a file")
        >>> output_dir(Path("taken"))
        Traceback (most recent call last):
            ...
        pushpull.errors.OutputError: taken: cannot write here (File exists); choose another
        --out
    """


class OutputExists(OutputError):
    """A file is there already that may not be replaced.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.runtime.outputs import Origin, Outputs
        >>> _ = Path("talk.csv").write_text("mine")
        >>> Outputs(folder=Path(), origin=Origin(command="detect")).check(["talk.csv"])
        Traceback (most recent call last):
            ...
        pushpull.errors.OutputExists: talk.csv: is there already and was not made by this tool;
        choose another --out, or --overwrite
    """


def _restored(
    kind: type[PushPullError], arguments: tuple[Any, ...], state: Mapping[str, Any]
) -> PushPullError:
    error = kind.__new__(kind, *arguments)
    vars(error).update(state)
    return error


def foreseen(error: Exception, path: str | os.PathLike[str]) -> PushPullError:
    """What went wrong with a file as an error of ours; what nobody foresaw is said to be that.

    Examples:
        >>> from pushpull.errors import MediaError, foreseen
        >>> foreseen(MediaError("talk.mp4: no such file"), "talk.mp4")
        MediaError('talk.mp4: no such file')
        >>> print(foreseen(KeyError("fps"), "talk.mp4"))
        talk.mp4: KeyError ('fps'), which nobody foresaw; please report it
    """
    if isinstance(error, PushPullError):
        return error
    if isinstance(error, MemoryError):
        what = f"needs more memory than there is ({error}); do a part: --start, --end"
    else:
        what = f"{type(error).__name__} ({error}), which nobody foresaw; please report it"
    return PushPullError(f"{os.fspath(path)}: {what}")

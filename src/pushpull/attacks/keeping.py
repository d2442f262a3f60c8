"""What a suite has found so far, on disk, so that one that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pushpull.attacks.search import Search
from pushpull.attacks.settings import AttackSettings
from pushpull.models.detector import Detector
from pushpull.runtime.files import output_dir, plain_path, written_whole
from pushpull.runtime.kept import key_of
from pushpull.schema import Batch

__all__ = ["KeptSuite"]


class KeptSuite:
    """What a suite has found so far, in a file that is named by all that decides it.

    Args:
        folder: Made if it is not there.
        detector: What is attacked.
        clean: The batch.
        asked: The attack.

    Raises:
        OutputError: If the folder cannot be made.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.attacks import AttackSettings
        >>> from pushpull.attacks.keeping import KeptSuite
        >>> from pushpull.models import build
        >>> from pushpull.schema import Batch
        >>> from pushpull.synthetic import Case, draw_clip
        >>> clip = draw_clip(np.random.default_rng(0), Case.SPEAKING, n_frames=2)
        >>> batch, asked = Batch.from_clips([clip]), AttackSettings(attack="suite")
        >>> KeptSuite(Path("kept"), build("light_asd"), batch, asked).path.suffix
        '.safetensors'
    """

    def __init__(
        self, folder: Path, detector: Detector, clean: Batch, asked: AttackSettings
    ) -> None:
        digest = hashlib.sha256()
        for value in (clean.waveform, clean.faces, clean.n_frames, clean.speaking):
            if value is not None:
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        said = {
            "detector": detector.card.sha256,
            "class": type(detector).__qualname__,
            "settings": repr(getattr(detector, "settings", None)),
            "batch": digest.hexdigest(),
            "attack": asked.as_dict(),
        }
        self.path = output_dir(folder) / f"suite-{key_of(said)}.safetensors"

    def read_into(self, search: Search) -> None:
        """Go on from what is kept, if there is anything whole."""
        try:
            device = str(search.detector.device)
            with plain_path(self.path) as plain, safe_open(plain, "pt", device=device) as file:
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                members = json.loads(file.metadata()["members"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return
        search.restore(state, members)

    def write(self, search: Search) -> None:
        """Keep it, whole or not at all."""
        tensors = {name: x.detach().cpu().contiguous() for name, x in search.state().items()}
        with written_whole(self.path) as temporary:
            save_file(tensors, temporary, metadata={"members": json.dumps(search.members)})

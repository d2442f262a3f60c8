"""Models of one's own by the place of their code: `FILE.py:FACTORY`, `package.module:FACTORY`.

Naming a factory runs its code, as importing it would: name only code that you trust. A checkpoint
never names one.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from pushpull.errors import CheckpointError, ConfigError
from pushpull.models.checkpoints import load_state
from pushpull.models.detector import Detector, raised_where
from pushpull.runtime.files import readable, without_links

__all__ = ["from_factory", "is_factory"]

FACTORY = re.compile(
    r"(?P<place>.+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)(?:@(?P<weights>.+))?"
)


def is_factory(source: str) -> bool:
    """Whether a text names a factory: `FILE.py:FACTORY` or `package.module:FACTORY`.

    Examples:
        >>> from pushpull.models.factories import is_factory
        >>> is_factory("my_model.py:build"), is_factory("light-asd-ava"), is_factory("a/b.model")
        (True, False, False)
    """
    return FACTORY.fullmatch(source) is not None


def from_factory(source: str) -> Detector:
    r"""The detector that a factory makes, in eval mode on the CPU.

    Args:
        source: `FILE.py:FACTORY` or `package.module:FACTORY`, a callable without arguments that
            returns a `Detector` or a module for `Detector.wrap`; `@CHECKPOINT` behind it loads
            weights that `train` wrote.

    Raises:
        ConfigError: If there is no such code or factory, it fails, or returns something else.
        CheckpointError: If the weights do not fit.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.models.factories import from_factory
        >>> _ = Path("my_model.py").write_text("from pushpull.models import LightASD\n")
        >>> detector = from_factory("my_model.py:LightASD")
        >>> detector.card.name, detector.training
        ('my_model.py:LightASD', False)
    """
    found = FACTORY.fullmatch(source)
    if found is None:
        raise ConfigError(f"{source}: names no factory; expected FILE.py:FACTORY")
    place, name, weights = found["place"], found["name"], found["weights"]
    module = _module_of(place)
    factory = getattr(module, name, None)
    if not callable(factory):
        here = sorted(
            n
            for n, v in vars(module).items()
            if callable(v)
            and not n.startswith("_")
            and getattr(v, "__module__", "") == module.__name__
        )
        raise ConfigError(f"{place}: holds no callable {name}; it has {', '.join(here) or 'none'}")
    made = _made(factory, f"{place}:{name}")
    if isinstance(made, Detector):
        detector = made
    elif isinstance(made, nn.Module):
        detector = Detector.wrap(made, name=name)
    else:
        raise ConfigError(
            f"{place}:{name} returned a {type(made).__name__}; expected a pushpull.Detector or a "
            "torch.nn.Module"
        )
    if weights is not None:
        load_state(detector, Path(weights))
    card = detector.card
    file = getattr(module, "__file__", None)
    path = None if file is None else Path(file)
    # The same weights in other code are another detector.
    code = b"" if path is None or not path.is_file() else path.read_bytes()
    sha256 = hashlib.sha256(card.sha256.encode() + code).hexdigest()
    shown = f"{Path(place).name}:{name}" + ("" if weights is None else f"@{Path(weights).name}")
    return detector.with_card(replace(card, name=readable(shown), path=path, sha256=sha256)).eval()


def _module_of(place: str) -> ModuleType:
    if not place.endswith(".py"):
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as e:
            raise ConfigError(
                f"{place}: no such module ({e}); give FILE.py:FACTORY, or run where it can be "
                "imported"
            ) from e
        except Exception as e:
            raise ConfigError(f"{place}: cannot be imported ({raised_where(e)})") from e
    path = without_links(place)
    if not path.is_file():
        raise ConfigError(f"{place}: no such file; expected FILE.py:FACTORY")
    # By its place, so that two files of one name do not meet.
    name = f"pushpull_model_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{place}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        del sys.modules[name]
        raise ConfigError(f"{place}: cannot be run ({raised_where(e)})") from e
    return module


def _made(factory: Callable[[], Any], shown: str) -> object:
    try:
        return factory()
    except (CheckpointError, ConfigError):
        raise
    except Exception as e:
        raise ConfigError(
            f"{shown} failed ({raised_where(e)}); expected a callable without arguments that "
            "returns a module"
        ) from e

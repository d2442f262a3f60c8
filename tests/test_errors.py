"""Every error comes back from another process as it was."""

import importlib
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import pushpull
from pushpull.app.server import Refused
from pushpull.errors import MissingExtra, PushPullError, UnknownName


def tree(error: type[PushPullError] = PushPullError) -> Iterator[type[PushPullError]]:
    """All errors of the package, wherever they are defined."""
    yield error
    for below in error.__subclasses__():
        yield from tree(below)


for module in pkgutil.walk_packages(pushpull.__path__, "pushpull."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

MADE = {
    UnknownName: lambda: UnknownName("attack", "pgdd", ["pgd", "bim"]),
    MissingExtra: lambda: MissingExtra.of("training", ImportError(name="lightning"), "train"),
    Refused: lambda: Refused(413, "too large"),
}
"""Errors that are not made of a message alone."""


@pytest.mark.parametrize("error", dict.fromkeys(tree()), ids=lambda e: e.__name__)
def test_errors_survive_the_way_from_another_process(error: type[PushPullError]) -> None:
    made = MADE.get(error, lambda: error("a.mp4: is odd; do that"))()
    back = pickle.loads(pickle.dumps(made))
    assert type(back) is type(made) is error
    assert (str(back), back.args) == (str(made), made.args)
    assert vars(back) == vars(made)


def test_the_names_that_are_known_are_said_in_order() -> None:
    error = UnknownName("attack", "pgdd", iter(["pgd", "bim"]))
    assert str(error) == "unknown attack 'pgdd': choose one of bim, pgd"

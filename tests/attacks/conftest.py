from collections.abc import Iterator

import pytest

from pushpull.attacks.suite import SUITES, _members


@pytest.fixture(scope="module")
def short_suites() -> Iterator[None]:
    """Suites of the same members with a few steps each, for laws over all attacks."""
    with pytest.MonkeyPatch.context() as patch:
        for version in SUITES:
            patch.setitem(SUITES, version, _members(2, 6))
        yield

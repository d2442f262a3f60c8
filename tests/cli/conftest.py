"""What programs see of a command."""

import json

import pytest


@pytest.fixture
def document(pushpull):
    """Run `pushpull ... --json`: exit code, the one document on stdout, and stderr."""

    def document(*arguments):
        code, out, err = pushpull(*arguments, "--json")
        assert out, err
        record = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        assert isinstance(record["kind"], str)
        assert record["schema_version"] >= 1
        assert "pushpull" in record["versions"]
        return code, record, err

    return document

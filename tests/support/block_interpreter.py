"""Runs Python blocks one after the other in one namespace: JSON lines in, JSON lines out."""

import contextlib
import io
import json
import os
import sys
import traceback


def main() -> None:
    # What a block or a library writes to descriptor 1 must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path[0] = ""
    names = {"__name__": "__main__"}
    for line in sys.stdin:
        block = json.loads(line)
        printed, error = io.StringIO(), None
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile(block["code"], block["name"], "exec"), names)
            except BaseException:
                error = traceback.format_exc()
        answers.write(json.dumps({"printed": printed.getvalue(), "error": error}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

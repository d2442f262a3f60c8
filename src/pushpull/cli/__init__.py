"""The `pushpull` command: reads arguments, calls one public function, writes its result.

Results go to stdout, progress and notes to stderr. Exit code 0: done; 1: something that the
message explains; 2: wrong usage, or files that are there and are not replaced; 130 and 143: stopped
by Ctrl-C or SIGTERM. Heavy modules are imported inside the commands, so that `score` does not wait
for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from pushpull.cli import data, detectors, leaderboard, videos
from pushpull.cli.console import complain, drop_stdout, open_standard_streams, print_line
from pushpull.cli.doctor import doctor
from pushpull.cli.live import live
from pushpull.errors import OutputExists, PushPullError
from pushpull.runtime.files import readable
from pushpull.runtime.interrupts import ended_by_signals
from pushpull.runtime.malloc import collect_seldom, keep_freed_memory

__all__ = ["app", "main"]

app = typer.Typer(
    name="pushpull",
    help="Detect who is speaking in a video, and find out how robust the detector is.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(
    help="Look at and prepare data.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data_app, name="data")
leaderboard_app = typer.Typer(
    help="Keep results under one protocol.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(leaderboard_app, name="leaderboard")


STOPPED = "stopped; what is finished is kept"


def main() -> None:
    """Run the command line; errors of ours become one line and exit code 1, a refusal 2."""
    open_standard_streams()
    keep_freed_memory()
    collect_seldom()
    with ended_by_signals(STOPPED):
        try:
            app()
        except PushPullError as e:
            complain(e)
            sys.exit(2 if isinstance(e, OutputExists) else 1)
        except BrokenPipeError:
            # The reader of our stdout went away (`| head`): nothing is left to say.
            sys.stderr.close()
            sys.exit(1)
        except OSError as e:
            # As for a help text on a full disk; whatever else the system refuses says where.
            drop_stdout()
            where = "stdout" if e.filename is None else readable(str(e.filename))
            complain(f"{where}: {e.strerror or e}")
            sys.exit(1)


def print_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from pushpull.runtime.version import __version__

        print_line(__version__)
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Detect who is speaking in a video, and find out how robust the detector is."""


COMMANDS: tuple[Callable[..., None], ...] = (
    videos.detect, live, videos.attack, detectors.train, detectors.configs, detectors.evaluate,
    detectors.universal, detectors.audit, detectors.certify, detectors.reproduce, detectors.score,
    detectors.weights, detectors.export, videos.demo, doctor,
)  # fmt: skip
for _command in COMMANDS:
    app.command()(_command)
app.command("hide-faces")(videos.hide_faces)
app.command("app")(videos.web_app)
DATA_COMMANDS: tuple[Callable[..., None], ...] = (
    data.synth, data.video, data.talkset, data.ava, data.stats, data.verify,
)  # fmt: skip
for _command in DATA_COMMANDS:
    data_app.command()(_command)
data_app.command("ava-download")(data.ava_download)
data_app.command("ava-synthetic")(data.ava_synthetic)
leaderboard_app.command()(leaderboard.add)

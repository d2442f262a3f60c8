"""Release what stands in the working tree: check it, build it, try it, tag it.

    python scripts/release.py --dry-run
    python scripts/release.py

The tree must be clean and on `main`; the version of `src/pushpull/runtime/version.py` must be the
newest of `CHANGELOG.md`, dated, and not tagged yet. The wheel is built and tried in an environment
of its own, outside the checkout. With `--dry-run` everything is done but the tag, and an unclean
tree or another branch is only said.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION = re.compile(r'^__version__ = "(\d+\.\d+\.\d+)"$', re.MULTILINE)
NEWEST = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$", re.MULTILINE)
TRIED = (
    ["--version"],
    ["data", "video", "talk.mp4", "--seconds", "1"],
    ["detect", "talk.mp4", "--detector", "synthetic-a", "--face-finder", "dlib"],
    ["configs"],
)
"""Commands that must work from the wheel alone, in an empty folder."""


class Refused(Exception):
    """The tree cannot be released as it is."""


def main() -> None:
    """Check, build, try, tag."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="do not tag")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="folder for the files")
    asked = parser.parse_args()
    try:
        version = released_version(ROOT)
        for problem in problems(ROOT, version):
            if not asked.dry_run:
                raise Refused(problem)
            print(f"would be refused: {problem}")
        wheel = build(ROOT, asked.dist)
        try_out(wheel, version)
    except Refused as e:
        sys.exit(f"error: {e}")
    except subprocess.CalledProcessError as e:
        sys.exit(f"error: {' '.join(map(str, e.cmd))} ended with {e.returncode}")
    tag = f"v{version}"
    if asked.dry_run:
        print(f"would tag {tag}; built and tried {wheel}")
        return
    run(["git", "tag", "--annotate", tag, "--message", f"pushpull {version}"], ROOT)
    print(f"tagged {tag}; next: git push origin {tag}, and upload {wheel.parent}/*{version}*")


def released_version(root: Path) -> str:
    """The version in the source, which must be the newest one of the changelog, dated.

    Raises:
        Refused: If it is not.
    """
    path = root / "src" / "pushpull" / "runtime" / "version.py"
    source = VERSION.search(path.read_text(encoding="utf-8"))
    if source is None:
        raise Refused(f"{path}: has no __version__ of three numbers")
    entry = NEWEST.search((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    if entry is None or entry["version"] != source[1]:
        newest = "nothing" if entry is None else entry["version"]
        raise Refused(f"the source says {source[1]}, the newest of CHANGELOG.md is {newest}")
    if entry["date"] is None:
        raise Refused(f"CHANGELOG.md: {source[1]} has no date")
    cited = (root / "CITATION.cff").read_text(encoding="utf-8")
    for line in (f"version: {source[1]}", f"date-released: {entry['date']}"):
        if f"\n{line}\n" not in cited:
            raise Refused(f"CITATION.cff: expected '{line}'")
    return source[1]


def problems(root: Path, version: str) -> list[str]:
    """What git says against a release."""
    found = []
    if output(["git", "status", "--porcelain"], root):
        found.append("the working tree is not clean; commit or remove what git status shows")
    branch = output(["git", "branch", "--show-current"], root)
    if branch != "main":
        found.append(f"on branch {branch or 'none'}; expected main")
    if output(["git", "tag", "--list", f"v{version}"], root):
        found.append(f"v{version} is tagged already; raise the version")
    return found


def build(root: Path, dist: Path) -> Path:
    """The wheel and the source distribution; the wheel's path."""
    run([sys.executable, "-m", "hatchling", "build", "-d", str(dist)], root)
    return max(dist.glob("*.whl"), key=lambda path: path.stat().st_mtime)


def try_out(wheel: Path, version: str) -> None:
    """Install the wheel with what it asks for in a fresh environment, and run it.

    Raises:
        Refused: If it gives another version.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([sys.executable, "-m", "venv", str(folder / "env")], folder)
        bin_dir = folder / "env" / "bin"
        pip = [str(bin_dir / "python"), "-m", "pip", "install", "--quiet"]
        run([*pip, "--constraint", str(ROOT / "constraints.txt"), str(wheel.resolve())], folder)
        for arguments in TRIED:
            said = output([str(bin_dir / "pushpull"), *arguments], folder)
            print(f"pushpull {' '.join(arguments)}: {said.splitlines()[0]}")
        said = output([str(bin_dir / "pushpull"), "--version"], folder)
    if said != version:
        raise Refused(f"the wheel says version {said}, the source {version}")


def run(command: Sequence[str], folder: Path) -> None:
    """Run a command to its end."""
    subprocess.run(command, cwd=folder, check=True)


def output(command: Sequence[str], folder: Path) -> str:
    """What a command prints."""
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()

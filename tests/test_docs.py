"""The documentation runs: every block of README, guide and tutorials, from a wheel."""

import dataclasses
import importlib
import os
import re
import signal
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import typer
from support.doc_blocks import (
    NEEDED_BY_ALL,
    NEEDS,
    Reader,
    blocks_of,
    forked_commands,
    fresh_environment,
    only_one,
    unsaid,
)

import pushpull
from pushpull.cli import app
from pushpull.training import TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    *(
        str(path.relative_to(ROOT))
        for folder in ("guide", "tutorials")
        for path in sorted((ROOT / "docs" / folder).glob("*.md"))
    ),
]
BLOCKS = {page: blocks_of((ROOT / page).read_text(), page) for page in PAGES}
REPOSITORY = "https://github.com/pushpull-asd/pushpull/"
RAW = "https://raw.githubusercontent.com/pushpull-asd/pushpull/main/"

MARKED = {
    "README.md": [
        ("make demo", "checkout"),
        ("pip install torch --index-url https://download.pytorch.org/whl/cpu", "index"),
        ("pushpull data video talk.mp4 --seconds 2", "weights"),
        ("pushpull attack talk.mp4 --attack pgd --eps 5 --video fast", "weights"),
    ],
    "docs/guide/app.md": [("pip install 'pushpull-asd[app]'", "index"), ("pushpull app", "server")],
    "docs/guide/ava.md": [
        (
            "pushpull data ava-download ava_file_names_trainval_v2.1.txt "
            "--out AVA/orig_videos/trainval",
            "network",
        ),
        ("pip install 'pushpull-asd[cluster]'", "cluster"),
    ],
    "docs/guide/command-line.md": [("pushpull --install-completion", "terminal")],
    "docs/guide/detect.md": [("pip install 'pushpull-asd[identities]'", "network")],
    "docs/guide/export.md": [("pip install 'pushpull-asd[export]'", "index")],
    "docs/guide/hide-faces.md": [
        ("pushpull data video talk.mp4 --seconds 1", "weights"),
        ("from pushpull.video_attacks import hide_faces", "weights"),
    ],
    "docs/guide/install.md": [
        ("pip install torch --index-url https://download.pytorch.org/whl/cpu", "index"),
        ("pip install 'pushpull-asd[train,app]'", "index"),
        ("make setup", "checkout"),
    ],
    "docs/guide/training.md": [("pip install 'pushpull-asd[train]'", "index")],
    "docs/tutorials/detect.md": [
        ("pushpull detect talk.mp4 --out results", "weights"),
        ("import pushpull as pp", "weights"),
        ("from pushpull.schema import FrameScores", "weights"),
        ("pushpull data video other.mp4 --seconds 1 --seed 1", "weights"),
    ],
    "docs/tutorials/harden.md": [("pip install 'pushpull-asd[train]'", "index")],
}
"""Every block that needs something, by page: its first line and what it needs."""

NOT_RUN = ("network", "cluster", "terminal")
"""What no test machine is asked to have."""


def weights_folder() -> str | None:
    """Where published weights lie on this machine."""
    named = os.environ.get("PUSHPULL_WEIGHTS_PATH", "")
    places = [*named.split(os.pathsep), str(ROOT.parent / "shared" / "weights")]
    return next((place for place in places if place and Path(place, "light-asd").is_dir()), None)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """A virtual environment with the wheel, made once for all processes of a run."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "documentation"
    folder.mkdir(exist_ok=True)
    with only_one(folder / "lock"):
        return fresh_environment(ROOT, folder)


@pytest.fixture(scope="session")
def forked(environment):
    """Commands that need not import everything anew."""
    with forked_commands(environment, environment.scripts, NEEDED_BY_ALL) as folder:
        yield folder


def test_what_blocks_need_is_listed() -> None:
    marked = {
        page: [(block.title, *block.needs) for block in blocks if block.needs]
        for page, blocks in BLOCKS.items()
    }
    assert {page: rows for page, rows in marked.items() if rows} == MARKED


def test_the_package_of_the_blocks_is_that_of_the_wheel(environment, tmp_path) -> None:
    code = "import pushpull, torch; print(pushpull.__file__); print(torch.__file__)"
    with Reader(environment, tmp_path, ROOT, None) as reader:
        done = subprocess.run(
            [str(environment.python), "-c", code],
            cwd=tmp_path, env=reader.env, check=True, capture_output=True, text=True,
        )  # fmt: skip
    ours, theirs = map(Path, done.stdout.split())
    assert ours.is_relative_to(environment.python.parents[1])
    assert not theirs.is_relative_to(environment.python.parents[1])


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCKS[page]])
def test_every_block_does_what_the_page_says(page, environment, forked, tmp_path) -> None:
    weights = weights_folder()
    if weights is None and any("weights" in block.needs for block in BLOCKS[page]):
        pytest.skip(f"{NEEDS['weights']}: none here")
    folder = tmp_path / "empty"
    folder.mkdir()
    # One page is read with the command as it was installed, from its first instruction on.
    begin = None if page == "README.md" else forked
    with Reader(environment, folder, ROOT, weights, begin) as reader:
        for block in BLOCKS[page]:
            if not set(block.needs) & set(NOT_RUN):
                reader.read(block)


def test_the_site_builds_without_a_warning(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "s")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "default"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


# What the pages say


def test_links_of_the_readme_work_on_the_package_index_and_lead_to_files() -> None:
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert all(link.startswith("https://") for link in links)
    inside = [link.split("/main/", 1)[1] for link in links if link.startswith((REPOSITORY, RAW))]
    assert len(inside) > 15
    assert [name for name in inside if not (ROOT / name.split("#")[0]).exists()] == []


def test_every_picture_is_shown_and_every_picture_shown_is_there() -> None:
    folder = ROOT / "docs"
    shown = {
        (page.parent / link).resolve()
        for page in folder.rglob("*.md")
        for link in re.findall(r"\]\(([^()\s]+\.(?:png|mp4))\)", page.read_text())
        if "://" not in link
    }
    made = {path.resolve() for path in (folder / "images").iterdir()}
    assert {path for path in shown if not path.is_file()} == set()
    assert made - shown == set()


def test_urls_are_those_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Source"] == REPOSITORY.rstrip("/")
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "mkdocs.yml"]
    named = {
        found
        for page in pages
        for found in re.findall(r"github\.com/(pushpull[\w-]*/[\w-]+)", page.read_text())
    }
    assert named == {"pushpull-asd/pushpull"}


@pytest.mark.parametrize("name", ["README.md", "docs/guide/audit.md"])
def test_the_word_that_people_look_for_is_there(name) -> None:
    assert "gradient masking" in (ROOT / name).read_text()


def test_nothing_is_called_imperceptible_without_a_measure() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = [
        f"{page.relative_to(ROOT)}: {line}"
        for page in pages
        if "imperceptibility" not in page.name
        for line in page.read_text().splitlines()
        if "imperceptibl" in line and "metrics.imperceptib" not in line
    ]
    assert found == []


OTHERS_OPTIONS = {"--address", "--head", "--index-url"}
"""Options in the pages that are not of `pushpull`: of pip and Ray."""


def options_of(command) -> set[str]:
    """All options of a command and of those below it."""
    found = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    for below in getattr(command, "commands", {}).values():
        found |= options_of(below)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_options_that_are_named_are_there(page) -> None:
    known = options_of(typer.main.get_command(app)) | OTHERS_OPTIONS
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", (ROOT / page).read_text()))
    assert named - known == set()


@pytest.mark.parametrize(
    "page", sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))
)
def test_names_of_the_package_that_are_named_are_there(page) -> None:
    text = (ROOT / page).read_text()
    for dotted in re.findall(r"(?<![\w./-])pushpull(?!\.json)(?:\.[A-Za-z_]\w*)+", text):
        assert resolved(dotted) is not None, dotted
    for name in re.findall(r"(?<![\w.])pp\.(\w+)", text):
        assert name in pushpull.__all__, name


def resolved(dotted: str) -> object:
    """A module, or what a module holds, by its full name; None if it is not there."""
    parts = dotted.split(".")
    for k in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for name in parts[k:]:
            found = getattr(found, name, None)
        return found
    return None


def test_the_guide_lists_the_keys_of_every_section_of_a_configuration() -> None:
    text = (ROOT / "docs" / "guide" / "training.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, flags=re.MULTILINE))
    for section, kind in typing.get_type_hints(TrainConfig).items():
        keys = [field.name for field in dataclasses.fields(kind)]
        # What is in brackets are values.
        listed = re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", rows.pop(section)))
        short = [key for key in keys if key in ("l2", "l3")]
        assert sorted([*listed, *short]) == sorted(keys), section


# How blocks are found and compared


def test_blocks_are_found_in_order_with_files_marks_and_output() -> None:
    page = "\n".join([
        "# A", "<!-- needs: weights, server -->", "```sh", "go", "```", "", "```text", "1 done",
        "```", '```python title="m.py"', "x = 1", "```", "```toml", "a = 1", "```", "```python",
        "print(2)", "```", "then", "```text", "not its output", "```",
    ])  # fmt: skip
    first, second, third = blocks_of(page, "p.md")
    assert (first.code, first.needs, first.prints) == ("go", ("weights", "server"), "1 done")
    assert (second.file, second.code, second.needs) == ("m.py", "x = 1", ())
    assert (third.where, third.file, third.prints) == ("p.md:16", None, None)


@pytest.mark.parametrize(
    "page",
    [
        "```\nx\n```",
        "```bash\nx\n```",
        "  ```sh\n  x\n  ```",
        "```sh\nx",
        "<!-- needs: luck -->\n```sh\nx\n```",
        "<!-- needs: server -->\nwords\n```sh\nx\n```",
    ],
)
def test_pages_that_would_not_be_run_as_they_look_are_refused(page) -> None:
    with pytest.raises(ValueError, match=r"^p\.md:\d"):
        blocks_of(page, "p.md")


@pytest.mark.parametrize(
    ("expected", "printed", "line"),
    [
        ("a 1.5 b", "x\na   2e-7 b\ny", None),
        ("a 1.5 b", "a x b", "a 1.5 b"),
        ("one\ntwo", "two\none", "two"),
        ("one\n...\ntwo", "one\n1\n2\ntwo", None),
        ("masked: ...", "masked: this and that (2)", None),
        ("masked: ...", "broken: this", "masked: ..."),
        ("track-1.mkv", "track-2.mkv", None),
        ("v1", "v2", "v1"),
    ],
)
def test_output_is_compared_without_its_numbers(expected, printed, line) -> None:
    assert unsaid(expected, printed) == line


@pytest.fixture(scope="module")
def this_environment(tmp_path_factory):
    """The running environment, where the package is not that of a wheel."""
    from support.doc_blocks import Environment

    return Environment(python=Path(sys.executable), dist=tmp_path_factory.mktemp("dist"))


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("```sh\nfalse\n```", "ends with 1"),
        ("```sh\nfalse | true\n```", "ends with 1"),
        ("```python\nassert 1 == 2\n```", "AssertionError"),
        ("```python\nprint(1)\n```\n```text\ntwo\n```", "two"),
        ("<!-- needs: server -->\n```sh\necho no address\n```", "no address"),
    ],
)
def test_a_block_that_does_something_else_fails(page, says, this_environment, tmp_path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with Reader(this_environment, folder, ROOT, None) as reader:
        (block,) = blocks_of(page, "p.md")
        with pytest.raises(AssertionError, match=says):
            reader.read(block)


def test_blocks_of_a_page_share_their_folder_and_their_names(this_environment, tmp_path) -> None:
    page = (
        '```python title="mine.py"\nx = 3\n```\n```sh\nls\n```\n```text\nmine.py\n```\n'
        "```python\nimport mine\ny = mine.x\n```\n```python\nprint(y)\n```\n```text\n3\n```"
    )
    folder = tmp_path / "empty"
    folder.mkdir()
    with Reader(this_environment, folder, ROOT, None) as reader:
        said = [reader.read(block) for block in blocks_of(page, "p.md")]
    assert said == ["", "mine.py\n", "", "3\n"]


# Commands that are begun in copies of one process


@pytest.fixture(scope="module")
def asked(this_environment, tmp_path_factory):
    """Begins a script in a copy of a process, as what stands for `pushpull` on the path does."""
    script = tmp_path_factory.mktemp("asked") / "it.py"
    with forked_commands(this_environment, {"it": script}, ["json"]) as folder:

        def ask(code, *arguments, **options):
            script.write_text(code)
            return subprocess.Popen(
                [str(folder / "it"), *arguments], text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
            )  # fmt: skip

        yield ask


def test_a_copy_has_what_who_asked_has_and_ends_it_with_its_own_code(asked, tmp_path) -> None:
    code = (
        "import os, sys\n"
        "print(*sys.argv[1:], os.getcwd(), os.environ['MINE'], 'HOME' in os.environ, __name__)\n"
        "print('pushpull' in sys.modules, [path for path in sys.path if 'support' in path])\n"
        "print(sys.stdin.read(), file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    env = {"MINE": "x", "LANG": "C.UTF-8"}
    with asked(code, "one", "two words", cwd=tmp_path, env=env) as process:
        said, complained = process.communicate("hello")
    assert said == f"one two words {tmp_path} x False __main__\nFalse []\n"
    assert (complained, process.returncode) == ("hello\n", 3)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_who_asked_dies_of_what_the_copy_dies_of(name, asked) -> None:
    with asked(f"import os, signal\nos.kill(os.getpid(), signal.{name})\n") as process:
        process.communicate()
    assert process.returncode == -signal.Signals[name]


def test_a_signal_goes_on_to_the_copy(asked) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *received: sys.exit(7))\n"
        "print('here', flush=True)\n"
        "time.sleep(600)\n"
    )
    with asked(code) as process:
        assert process.stdout.readline() == "here\n"
        process.terminate()
        process.communicate()
    assert process.returncode == 7


def test_an_error_of_a_copy_is_seen(asked) -> None:
    with asked("raise ValueError('so')\n") as process:
        _, complained = process.communicate()
    assert complained.endswith("ValueError: so\n")
    assert process.returncode == 1


# The version and the changelog


def test_the_version_is_the_newest_of_the_changelog() -> None:
    from pushpull.runtime.version import __version__
    from scripts.release import released_version

    assert released_version(ROOT) == __version__


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("## [0.2.0] - 2026-11-26", "## [0.2.0]", "has no date"),
        ("## [0.2.0]", "## [0.3.0]", "the newest of CHANGELOG.md is 0.3.0"),
        ("\nversion: 0.2.0\n", "\nversion: 0.1.0\n", "expected 'version: 0.2.0'"),
        ("date-released: 2026-11-26", "", "expected 'date-released: 2026-11-26'"),
    ],
)
def test_a_release_that_does_not_fit_is_refused(old, new, says, tmp_path) -> None:
    from scripts.release import Refused, released_version

    names = ("CHANGELOG.md", "CITATION.cff", "src/pushpull/runtime/version.py")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((ROOT / name).read_text().replace(old, new))
    with pytest.raises(Refused, match=says):
        released_version(tmp_path)


def test_a_tree_that_is_not_clean_or_tagged_is_refused(tmp_path) -> None:
    from scripts.release import problems

    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    git("init", "--initial-branch", "main")
    (tmp_path / "a").write_text("a")
    git("add", "a")
    git("commit", "-m", "a")
    assert problems(tmp_path, "1.2.3") == []
    git("tag", "v1.2.3")
    (tmp_path / "b").write_text("b")
    git("switch", "-c", "other")
    assert [problem.split(";")[0] for problem in problems(tmp_path, "1.2.3")] == [
        "the working tree is not clean",
        "on branch other",
        "v1.2.3 is tagged already",
    ]

"""The queue and its processes: what a job is blamed for, and what not."""

import sys

import pytest
from support.hungry import eat

from pushpull.app.jobs import Job, Pool, State

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read in /proc")


@pytest.fixture
def pool():
    made = Pool(eat, workers=1, waiting=9, memory_bytes=750 * 2**20, limit_s=60.0)
    yield made
    made.close()


def done(pool, folder, mib, *, keep=False):
    folder = folder / f"{len(list(folder.iterdir()))}"
    job = Job(asked={"mib": mib, "keep": keep, "folder": str(folder)}, folder=folder)
    pool.submit(job)
    assert job.finished.wait(60)
    return job


@linux
def test_a_job_is_not_blamed_for_what_earlier_ones_left(pool, tmp_path) -> None:
    first = done(pool, tmp_path, 400, keep=True)
    assert (first.state, first.found) == (State.done, {"jobs": 1})
    # Together too much, alone not: it is done in a new process.
    second = done(pool, tmp_path, 400)
    assert (second.state, second.found) == (State.done, {"jobs": 1})
    # That is used again, and its folder is that of one attempt.
    assert done(pool, tmp_path, 10).found == {"jobs": 2}


@linux
def test_a_job_that_is_too_large_by_itself_is_refused_after_others_too(pool, tmp_path) -> None:
    assert done(pool, tmp_path, 10).state is State.done
    job = done(pool, tmp_path, 900)
    assert (job.state, job.folder.exists()) == (State.failed, False)
    assert "this needs more than 0.7 GiB of memory; take a shorter clip" in job.message
    assert done(pool, tmp_path, 10).found == {"jobs": 1}

"""Where the videos of a preparation are worked on: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any
from urllib.parse import urlsplit

from pushpull.errors import ConfigError, DatasetError, MissingExtra, PushPullError

__all__ = ["outcomes"]

Work = Callable[..., Any]
WAIT_S = 1.0
ANSWER_S = 5.0


def outcomes(
    work: Work, jobs: Mapping[str, tuple[Any, ...]], *, workers: int, cluster: str | None
) -> Iterator[tuple[str, Any]]:
    """What `work` returns for each job, by name, in the order in which they end.

    Args:
        work: Importable by name; it and its arguments travel to other processes.
        jobs: Arguments by name.
        workers: Processes, of this machine or at a time on the cluster.
        cluster: None for this machine; "auto", or the address of a running Ray cluster, whose
            nodes see the same files under the same paths.

    Raises:
        MissingExtra: If the extra `cluster` is not installed.
        ConfigError: If there is no such cluster.
        DatasetError: If the cluster loses a job again and again.
    """
    if cluster is None:
        return _processes(work, jobs, max(1, workers))
    return _ray(work, jobs, max(1, workers), cluster)


def _processes(
    work: Work, jobs: Mapping[str, tuple[Any, ...]], workers: int
) -> Iterator[tuple[str, Any]]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(work, *job): name for name, job in jobs.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _ray(
    work: Work, jobs: Mapping[str, tuple[Any, ...]], workers: int, cluster: str
) -> Iterator[tuple[str, Any]]:
    try:
        import ray
    except ModuleNotFoundError as e:
        raise MissingExtra.of("a cluster", e, "cluster") from e
    if cluster != "auto":
        check_address(cluster)
    try:
        ray.init(address=cluster, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as e:
        raise ConfigError(nobody_at(cluster)) from e
    remote = ray.remote(num_cpus=1, max_retries=3)(work)
    waiting = list(jobs.items())[::-1]
    running: dict[Any, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                name, job = waiting.pop()
                running[remote.remote(*job)] = name
            ended, _ = ray.wait(list(running), timeout=WAIT_S)
            for reference in ended:
                name = running.pop(reference)
                try:
                    found = ray.get(reference)
                except PushPullError:
                    raise
                except ray.exceptions.RayError as e:
                    raise DatasetError(
                        f"{name}: lost by the cluster ({str(e).splitlines()[-1]}); run again, what "
                        "is done is kept"
                    ) from e
                yield name, found
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        ray.shutdown()


def check_address(cluster: str) -> None:
    """Refuse an address that nobody listens at: Ray itself would try for minutes.

    Raises:
        ConfigError: If it is no address, or a dead one.
    """
    try:
        where = urlsplit(cluster if "://" in cluster else f"//{cluster}")
        host, port = where.hostname, where.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ConfigError(f"--cluster is {cluster!r}; expected HOST:PORT or auto")
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError as e:
        raise ConfigError(nobody_at(cluster)) from e


def nobody_at(cluster: str) -> str:
    """What to say of a cluster that is not there."""
    return (
        f"--cluster is {cluster!r}: no Ray cluster answers there; start one with "
        "`ray start --head` and give its address"
    )

"""What the web app may use and what it allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["AppConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppConfig:
    """Settings of the web app.

    Attributes:
        host: Address that it listens on.
        port: Port; 0 takes a free one.
        detector: Known name or path of the detector that is chosen first.
        runs: Folder with runs of reproduce, audit and attack that may be looked at; None for none.
        results: Folder that ABX results are kept in, and below it what visitors have.
        face_finder: As for `detect`.
        workers: Jobs at a time.
        waiting: Jobs that may wait.
        memory_bytes: Memory of one job's process.
        job_limit_s: Longest time of a job.
        upload_bytes: Largest file.
        session_bytes: What one visitor's files may take together.
        disk_bytes: What the files of all visitors may take together.
        longest_s: Longest video.
        most_pixels: Largest picture.
        keep_s: Age after which what a visitor left is removed.
        uploads: Files of one visitor; the oldest makes room for a new one.
        jobs: Jobs of one visitor that wait or run.
        kept_jobs: Jobs of one visitor in all; the oldest that is over makes room for a new one.
        lines: Connections of one address at a time; the longest silent makes room for a new one.
        live_sessions: Visitors whose cameras are watched at a time.
        stall_s: Longest silence during an upload.

    Examples:
        >>> from pushpull.app import AppConfig
        >>> config = AppConfig(port=0, longest_s=30.0)
        >>> config.host, config.upload_bytes // 2**20
        ('127.0.0.1', 200)
    """

    host: str = "127.0.0.1"
    port: int = 7860
    detector: str = "light-asd-ava"
    runs: Path | None = None
    results: Path = Path("pushpull-app")
    face_finder: str = "auto"
    workers: int = 1
    waiting: int = 20
    memory_bytes: int = 4 * 2**30
    job_limit_s: float = 3600.0
    upload_bytes: int = 200 * 2**20
    session_bytes: int = 2 * 2**30
    disk_bytes: int = 20 * 2**30
    longest_s: float = 60.0
    most_pixels: int = 4096 * 2304
    keep_s: float = 24 * 3600.0
    uploads: int = 10
    jobs: int = 4
    kept_jobs: int = 50
    lines: int = 64
    live_sessions: int = 2
    stall_s: float = 30.0

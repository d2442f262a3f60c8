"""The web app: routes, what each answers, and the life of the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import random
import secrets
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from pushpull.app import abx, tasks
from pushpull.app.jobs import Busy, Job, Pool, State
from pushpull.app.live import MOST_BYTES, LiveSession, Packet, Watch
from pushpull.app.middleware import Guard
from pushpull.app.runs import Runs, tracks_of, when
from pushpull.app.sessions import Session, Sessions, Upload, WorkRoot, new_id
from pushpull.app.settings import AppConfig
from pushpull.app.uploads import EXPECTED, file_stem, shown_name
from pushpull.app.validation import (
    CHOICES,
    STEPS,
    USUAL,
    amplification,
    attack_request,
    number,
    turns_request,
    whole_number,
)
from pushpull.errors import ConfigError, MediaError, PushPullError
from pushpull.runtime.files import output_dir, written_whole
from pushpull.runtime.records import plain
from pushpull.runtime.version import __version__

__all__ = ["build_app"]

EXAMPLES = {"two-people": "Two synthetic people who talk by turns, 4 s"}
STATIC = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
TYPES = {
    ".mp4": "video/mp4",
    ".mkv": "video/x-matroska",
    ".wav": "audio/wav",
    ".png": "image/png",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".rttm": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".html": "text/html; charset=utf-8",
}
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
    "frame-ancestors 'self'"
)
"""A report may look as it likes, but runs no script and loads nothing."""

DRAIN_S = 1.0
DRAIN_BYTES = 64 * 2**20
LOOK_S = 90.0
LOOK_BYTES = 2 * 2**30
CAMERA = {"permissions-policy": "camera=(self), microphone=(self), geolocation=()"}
"""For the page itself: nothing else that is served may ask for the camera."""
BODY_BYTES = 16 * 1024
CORRECTION_BYTES = 512 * 1024
THRESHOLDS = (0.01, 0.99)
NUMBER_LENGTH = 25
"""Of a number of a request, as it is written: the longest that JavaScript writes."""
VISITORS = "visitors"
SWEEP_S = 30.0
MOST_TESTS = 5

log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


class JSONResponse(Response):
    """JSON in ASCII: a name or a number that no text can hold is no error."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of an answer."""
        return json.dumps(plain(content), separators=(",", ":")).encode("ascii")


class Refused(PushPullError):
    """A request that is answered with a reason and a status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def build_app(config: AppConfig) -> Starlette:
    """The app, to be served by any ASGI server; its processes live as long as it does."""
    output_dir(config.results)
    server = Server(config)
    return Starlette(
        routes=[
            Route("/", server.page),
            Route("/static/{name}", server.static),
            Route("/api/about", server.about),
            Route("/api/uploads", server.uploads),
            Route("/api/uploads", server.upload, methods=["POST"]),
            Route("/api/examples/{name}", server.example, methods=["POST"]),
            Route("/api/jobs", server.jobs),
            Route("/api/jobs", server.start_job, methods=["POST"]),
            Route("/api/jobs/{id}", server.job),
            Route("/api/jobs/{id}/again", server.again, methods=["POST"]),
            Route("/api/jobs/{id}/delete", server.delete, methods=["POST"]),
            Route("/api/jobs/{id}/turns", server.turns, methods=["POST"]),
            Route("/api/jobs/{id}/corrections", server.correct, methods=["POST"]),
            Route("/api/jobs/{id}/cancel", server.cancel, methods=["POST"]),
            Route("/api/files/{id}", server.file),
            Route("/api/forget", server.forget, methods=["POST"]),
            Route("/api/abx/sets", server.abx_sets),
            Route("/api/abx", server.abx_start, methods=["POST"]),
            Route("/api/abx/{id}/{trial}/{place}.{suffix}", server.abx_clip),
            Route("/api/abx/{id}/answers", server.abx_answer, methods=["POST"]),
            Route("/api/abx/{id}/csv", server.abx_csv),
            Route("/api/live", server.live_start, methods=["POST"]),
            Route("/api/live/{id}", server.live_packet, methods=["POST"]),
            Route("/api/live/{id}/end", server.live_end, methods=["POST"]),
            Route("/api/runs", server.list_runs),
            Route("/api/runs/files/{id}", server.run_file),
            Route("/api/runs/drawings/{id}", server.run_drawing),
        ],
        middleware=[Middleware(Guard, sessions=server.sessions)],
        exception_handlers={
            Refused: refused,
            PushPullError: refused,
            HTTPException: not_there,
            sqlite3.Error: not_written,
            Exception: unexpected,
        },
        lifespan=server.lifespan,
    )


async def refused(request: Request, e: Exception) -> Response:
    """An error of ours as JSON."""
    status = e.status if isinstance(e, Refused) else 503 if isinstance(e, Busy) else 400
    headers = {"connection": "close"} if status in {408, 413} else None
    return JSONResponse({"error": str(e)}, status, headers)


async def not_there(request: Request, e: Exception) -> Response:
    """Wrong addresses and methods."""
    status = e.status_code if isinstance(e, HTTPException) else 404
    return JSONResponse({"error": "there is nothing here; go back to the start page"}, status)


async def not_written(request: Request, e: Exception) -> Response:
    """What cannot be kept is not begun."""
    log.error("the app's base cannot be written: %s", e)
    return JSONResponse({"error": "the server cannot write to its disk; try again later"}, 507)


async def unexpected(request: Request, e: Exception) -> Response:
    """What should not happen; the log has the rest."""
    return JSONResponse({"error": "the server met an error of its own; its log says more"}, 500)


def session_of(request: Request) -> Session:
    """Who asks."""
    session: Session = request.scope["state"]["session"]
    return session


async def bytes_of(request: Request, most: int) -> bytes:
    """A small body.

    Raises:
        Refused: If it is too large.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Refused(413, f"this request has more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


async def body_of(request: Request, most: int = BODY_BYTES) -> dict[str, Any]:
    """A small JSON object.

    Raises:
        Refused: If it is none, or too large.
    """
    content = await bytes_of(request, most)
    try:
        found = json.loads(content, parse_int=bounded, parse_float=bounded, parse_constant=bounded)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(400, "expected a JSON object")
    return found


def bounded(text: str) -> int | float:
    """A number of a request: finite, and no longer than anything that is asked for.

    Raises:
        Refused: If it is neither.
    """
    if len(text) <= NUMBER_LENGTH:
        value = float(text)
        if math.isfinite(value):
            return int(text) if text.lstrip("-").isdigit() else value
    raise Refused(
        400,
        f"{text[:20]} is no number that is expected here; expected at most {NUMBER_LENGTH} "
        "digits, and a finite value",
    )


async def drained(stream: AsyncIterator[bytes]) -> None:
    """Let a refused body run dry for a moment: hanging up on it would take the answer along."""

    async def run_dry() -> None:
        n_bytes = 0
        async for part in stream:
            n_bytes += len(part)
            if n_bytes > DRAIN_BYTES:
                return

    with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect):
        await asyncio.wait_for(run_dry(), DRAIN_S)


def mib(n_bytes: int) -> str:
    """A size for people."""
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes >= 2**20 else f"{n_bytes / 2**10:.0f} KiB"


class Server:
    """Everything that requests share."""

    def __init__(self, config: AppConfig) -> None:
        self.config = config
        self.root = WorkRoot(config.results / VISITORS)
        self.sessions = Sessions(self.root.path, config.keep_s)
        self.runs = Runs(config.runs)
        self.heavy = Pool(
            tasks.run,
            workers=config.workers,
            waiting=config.waiting,
            memory_bytes=config.memory_bytes,
            limit_s=config.job_limit_s,
            changed=self.changed,
        )
        self.light = Pool(
            tasks.look, workers=1, waiting=50, memory_bytes=LOOK_BYTES, limit_s=LOOK_S
        )
        package = files("pushpull.app")
        self.assets = {
            entry.name: (entry.read_bytes(), STATIC[Path(entry.name).suffix])
            for entry in (package / "static").iterdir()
            if Path(entry.name).suffix in STATIC
        }
        self.examples = {
            name: (package / "examples" / f"{name}.mp4").read_bytes() for name in EXAMPLES
        }
        self.detectors: list[dict[str, Any]] | None = None
        self.known_detectors = Job(asked={"kind": "detectors", "detector": config.detector})
        self.live: dict[str, LiveSession] = {}
        self.rng = random.SystemRandom()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Start looking for detectors, sweep, and end all processes at the end."""
        self.light.submit(self.known_detectors)
        sweeper = asyncio.create_task(self.sweep())
        try:
            yield
        finally:
            sweeper.cancel()
            for live in self.live.values():
                live.close()
            for live in self.live.values():
                await asyncio.to_thread(live.ended.wait, 5)
            await asyncio.to_thread(self.heavy.close)
            await asyncio.to_thread(self.light.close)
            await asyncio.to_thread(self.sessions.close)
            self.root.close()

    async def sweep(self) -> None:
        """Forget visitors that went away."""
        while True:
            try:
                for session in self.sessions.expired():
                    await asyncio.to_thread(self.sessions.forget, session)
                await asyncio.to_thread(self.sessions.note_seen)
            except sqlite3.Error:
                log.exception("the app's base cannot be written")
            await asyncio.sleep(min(SWEEP_S, self.config.keep_s))

    def changed(self, job: Job) -> None:
        """Write down what became of a job."""
        session = self.sessions.owner_of(job)
        if session is None:
            return
        try:
            session.write_job(job)
        except sqlite3.Error:
            # It goes on; after the next start it is said to be interrupted.
            log.exception("what became of a job cannot be written")

    # Pages

    async def page(self, request: Request) -> Response:
        """The one page; the rest is scripts."""
        content, media_type = self.assets["index.html"]
        return Response(content, media_type=media_type, headers=CAMERA)

    async def static(self, request: Request) -> Response:
        """A part of the page, read when the server started."""
        found = self.assets.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return Response(found[0], media_type=found[1], headers={"cache-control": "no-cache"})

    async def about(self, request: Request) -> Response:
        """What forms offer and what is allowed."""
        config = self.config
        return JSONResponse(
            {
                "version": __version__,
                "detectors": await self.all_detectors(),
                "choices": CHOICES,
                "steps": STEPS,
                "usual": USUAL,
                "examples": EXAMPLES,
                "limits": {
                    "upload_bytes": config.upload_bytes,
                    "longest_s": config.longest_s,
                    "keep_s": config.keep_s,
                    "jobs": config.jobs,
                },
                "runs": config.runs is not None,
            }
        )

    async def all_detectors(self) -> list[dict[str, Any]]:
        """The detectors that may be chosen, the server's own first."""
        if self.detectors is None:
            await self.ended(self.known_detectors)
            if self.known_detectors.state is State.done:
                self.detectors = self.known_detectors.found["detectors"]
            else:
                self.detectors = [{"name": self.config.detector, "about": ""}]
        return self.detectors

    # Videos

    async def upload(self, request: Request) -> Response:
        """Take a video: bytes counted as they come, kind told by content."""
        session = session_of(request)
        shown = shown_name(request.query_params.get("name", ""))
        path = session.new_path()
        stream = aiter(request.stream())
        stated = request.headers.get("content-length", "")
        # No number is taken before its length is looked at.
        size = int(stated) if stated.isdigit() and len(stated) <= NUMBER_LENGTH else None
        most = self.config.upload_bytes
        reserved = most if size is None else min(size, most)
        session.reserved_bytes += reserved
        try:
            try:
                if size is not None and size > most:
                    raise Refused(413, self.too_large(size))
                await self.check_room(session)
                n_bytes = await self.receive(stream, path)
            except Refused:
                # Who asks first whether to send hears the answer before anything is sent.
                if "expect" not in request.headers:
                    await drained(stream)
                raise
            upload = await self.accept(session, path, shown, n_bytes)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            session.reserved_bytes -= reserved
        return JSONResponse(upload)

    async def example(self, request: Request) -> Response:
        """Take a bundled video as if it had been uploaded."""
        content = self.examples.get(request.path_params["name"])
        if content is None:
            raise Refused(404, "there is no such example; reload the page")
        session = session_of(request)
        await self.check_room(session, len(content))
        path = session.new_path()
        path.write_bytes(content)
        shown = f"{request.path_params['name']}.mp4"
        return JSONResponse(await self.accept(session, path, shown, len(content)))

    async def check_room(self, session: Session, more_bytes: int = 0) -> None:
        """Refuse what there is no room for.

        Raises:
            Refused: If the visitor, all visitors or the disk have too little left.
        """
        config = self.config
        own = await asyncio.to_thread(lambda: session.n_bytes) + session.reserved_bytes
        if own + more_bytes > config.session_bytes:
            raise Refused(
                413,
                f"your files take more than {mib(config.session_bytes)} together; delete some of "
                "your jobs, or all with the button at the foot of the page",
            )
        if await asyncio.to_thread(lambda: self.sessions.n_bytes) + more_bytes > config.disk_bytes:
            raise Refused(507, "visitors' files fill the room that they have; try again later")
        if shutil.disk_usage(self.root.path).free < 4 * config.upload_bytes:
            raise Refused(507, "the server's disk is nearly full; try again later")

    def too_large(self, n_bytes: int | None = None) -> str:
        """Why a file is refused."""
        has = "has more" if n_bytes is None else f"has {mib(n_bytes)}"
        return (
            f"this file {has}; expected at most {mib(self.config.upload_bytes)}; cut out a part of "
            "it, or make it smaller"
        )

    async def receive(self, stream: AsyncIterator[bytes], path: Path) -> int:
        """Write a body to a new file, as far as it is allowed to go."""
        n_bytes = 0
        try:
            with path.open("xb") as file:
                while True:
                    try:
                        part = await asyncio.wait_for(anext(stream), self.config.stall_s)
                    except StopAsyncIteration:
                        break
                    n_bytes += len(part)
                    if n_bytes > self.config.upload_bytes:
                        raise Refused(413, self.too_large())
                    file.write(part)
        except asyncio.TimeoutError as e:
            raise Refused(408, "the upload stood still for too long; send it again") from e
        except ClientDisconnect as e:
            raise Refused(400, "the upload broke off; send it again") from e
        if n_bytes == 0:
            raise Refused(400, f"this file is empty (0 bytes); {EXPECTED}")
        return n_bytes

    async def accept(
        self, session: Session, path: Path, shown: str, n_bytes: int
    ) -> dict[str, Any]:
        """Probe a file in a process of its own and keep it."""
        config = self.config
        job = Job(
            asked={
                "kind": "probe",
                "path": str(path),
                "shown": shown,
                "longest_s": config.longest_s,
                "most_pixels": config.most_pixels,
            }
        )
        about = await self.looked(job)
        while len(session.uploads) >= config.uploads:
            busy = {job.asked["path"] for job in session.unfinished}
            free = [u.id for u in session.uploads.values() if str(u.path) not in busy]
            if not free:
                raise Refused(429, "all your videos are being worked on; wait for one to be done")
            session.drop_upload(free[0])
        upload = Upload(id=new_id(), path=path, shown=shown, about=about, n_bytes=n_bytes)
        session.keep_upload(upload)
        return view_of(upload)

    async def uploads(self, request: Request) -> Response:
        """The videos of this visitor, the newest first."""
        own = session_of(request).uploads.values()
        return JSONResponse({"uploads": [view_of(upload) for upload in own][::-1]})

    async def looked(self, job: Job) -> dict[str, Any]:
        """Have a small task done and wait for it."""
        self.light.submit(job)
        await self.ended(job)
        if job.state is not State.done:
            raise MediaError(job.message or "this was stopped; try again")
        return job.found

    async def ended(self, job: Job | LiveSession) -> None:
        """Wait without holding a thread: many may wait at once."""
        over = job.finished if isinstance(job, Job) else job.ended
        while not over.is_set():
            await asyncio.sleep(0.03)

    # Jobs

    async def start_job(self, request: Request) -> Response:
        """Put a detection or an attack into the queue."""
        session = session_of(request)
        asked = await body_of(request)
        upload = session.uploads.get(str(asked.get("upload")))
        if upload is None:
            raise Refused(404, "this video is not there any more; choose it again")
        self.check_jobs(session)
        spec: dict[str, Any] = {
            "kind": asked.get("kind"),
            "upload": upload.id,
            "path": str(upload.path),
            "shown": upload.shown,
            "stem": file_stem(upload.shown),
            "face_finder": self.config.face_finder,
            "detector": asked.get("detector", self.config.detector),
        }
        if spec["detector"] not in [row["name"] for row in await self.all_detectors()]:
            raise Refused(400, "there are no such detector here; reload the page")
        if spec["kind"] == "attack":
            spec |= {"settings": attack_request(asked), "amplify": amplification(asked)}
        elif spec["kind"] != "detect":
            raise Refused(400, "expected a job of kind detect or attack")
        await self.check_room(session)
        while len(session.jobs) >= max(self.config.kept_jobs, self.config.jobs + 1):
            oldest = next(job.id for job in session.jobs.values() if job.over)
            await asyncio.to_thread(session.drop_job, oldest)
        job = self.queued(session, Job(asked=spec))
        return JSONResponse(self.status(job))

    def queued(self, session: Session, job: Job) -> Job:
        """Put a job of a visitor into the queue, and write that down first."""
        job.folder, job.owner = session.new_path(), session.key
        job.asked = {**job.asked, "folder": str(job.folder)}
        earlier = session.jobs.get(job.id)
        session.keep_job(job)
        try:
            self.heavy.submit(job)
        except Busy:
            if earlier is None:
                session.drop_job(job.id)
            else:
                session.keep_job(earlier)
            raise
        return job

    async def jobs(self, request: Request) -> Response:
        """The jobs of this visitor, the newest first, without their results."""
        own = session_of(request).jobs.values()
        return JSONResponse({"jobs": [self.status(job, whole=False) for job in own][::-1]})

    async def job(self, request: Request) -> Response:
        """How far a job is, and when it is done what it found."""
        return JSONResponse(self.status(self.own_job(request)))

    async def again(self, request: Request) -> Response:
        """Run a job that came to nothing once more, under its own address."""
        session, job = session_of(request), self.own_job(request)
        if not can_run_again(session, job):
            raise Refused(
                409,
                "this job cannot be run again: it is not over, it is done, or its video is gone",
            )
        self.check_jobs(session)
        await self.check_room(session)
        fresh = Job(asked=job.asked, id=job.id, begun_s=time.time())
        return JSONResponse(self.status(self.queued(session, fresh)))

    async def delete(self, request: Request) -> Response:
        """Remove a job that is over, and all that it made."""
        session, job = session_of(request), self.own_job(request)
        if not job.over:
            raise Refused(409, "this job is not over; cancel it first")
        await asyncio.to_thread(session.drop_job, job.id)
        return JSONResponse({"deleted": True})

    async def turns(self, request: Request) -> Response:
        """The turns of a detection at another threshold."""
        job = self.own_detection(request)
        threshold = number(await body_of(request), "threshold", *THRESHOLDS)
        faces = [{key: face[key] for key in ("times_s", "scores")} for face in job.found["faces"]]
        asked = {"kind": "turns", "threshold": threshold, "faces": faces}
        return JSONResponse(await self.looked(Job(asked=asked)))

    async def correct(self, request: Request) -> Response:
        """Keep turns that somebody corrected, and write them as labels."""
        session, job = session_of(request), self.own_detection(request)
        asked = await body_of(request, CORRECTION_BYTES)
        threshold = number(asked, "threshold", *THRESHOLDS)
        faces = job.found["faces"]
        turns = turns_request(asked, faces=len(faces), duration_s=job.found["duration_s"])
        stem, folder = job.asked["stem"], Path(job.asked["folder"])
        name = f"{stem}.corrected.csv"
        await self.looked(
            Job(
                asked={
                    "kind": "labels",
                    "labels": str(folder / f"{stem}.labels.csv"),
                    "out": str(folder / name),
                    "turns": {
                        f"{stem}:{face['id']}": own for face, own in zip(faces, turns, strict=True)
                    },
                }
            )
        )
        known = [n for n in job.found["downloads"] if n != name]
        job.found = {
            **job.found,
            "corrected": {"threshold": threshold, "faces": turns},
            "downloads": [*known, name],
            "files": [*(n for n in job.found["files"] if n != name), name],
        }
        session.write_job(job)
        return JSONResponse(self.status(job))

    def own_detection(self, request: Request) -> Job:
        """A detection of this visitor that is done."""
        job = self.own_job(request)
        if job.state is not State.done or job.asked["kind"] != "detect":
            raise Refused(409, "this is no detection that is done")
        return job

    def check_jobs(self, session: Session) -> None:
        """Refuse a job of who has as many as may be."""
        if len(session.unfinished) >= self.config.jobs:
            raise Refused(
                429, f"{self.config.jobs} of your jobs wait or run already; wait, or cancel one"
            )

    async def cancel(self, request: Request) -> Response:
        """Stop a job."""
        job = self.own_job(request)
        self.heavy.cancel(job)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.ended(job), 5)
        return JSONResponse(self.status(job))

    def own_job(self, request: Request) -> Job:
        """A job of this visitor."""
        job = session_of(request).jobs.get(request.path_params["id"])
        if job is None:
            raise Refused(404, "this job is not there any more; start it again")
        return job

    def status(self, job: Job, *, whole: bool = True) -> dict[str, Any]:
        """A job as its owner may see it, with its result if it is whole."""
        session = self.sessions.owner_of(job)
        found: dict[str, Any] = {
            "id": job.id,
            "kind": job.asked["kind"],
            "name": job.asked["shown"],
            "begun_s": job.begun_s,
            "state": job.state.value,
            "stage": job.stage,
            "done": job.n_done,
            "total": job.n_total,
            "left_s": job.left_s,
            "ahead": self.heavy.ahead_of(job) if job.state is State.queued else 0,
            "error": job.message,
            "again": session is not None and can_run_again(session, job),
        }
        if job.state is State.done and whole:
            found["result"] = result_of(job)
        return found

    async def file(self, request: Request) -> Response:
        """A file of this visitor, whole or in part."""
        stored = session_of(request).file(request.path_params["id"])
        if stored is None or stored.path.is_symlink() or not stored.path.is_file():
            raise Refused(404, "this file is not there any more; make it again")
        return FileResponse(
            stored.path,
            media_type=TYPES.get(Path(stored.name).suffix, "application/octet-stream"),
            filename=stored.name,
            content_disposition_type=(
                "attachment" if "download" in request.query_params else "inline"
            ),
        )

    async def forget(self, request: Request) -> Response:
        """Remove all that this visitor left, and stop what it started."""
        session = session_of(request)
        live = self.live.get(session.key)
        if live is not None:
            live.close()
        for job in session.unfinished:
            self.heavy.cancel(job)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.ended(job), 5)
        await asyncio.to_thread(self.sessions.forget, session)
        return JSONResponse({"forgotten": True})

    # ABX

    async def abx_sets(self, request: Request) -> Response:
        """What can be listened to: attacks of this visitor, and those below the folder of runs."""
        own = [
            {"id": job.id, "name": job.asked["shown"], "where": "made here"}
            for job in session_of(request).jobs.values()
            if job.state is State.done and job.asked["kind"] == "attack"
        ]
        runs = await asyncio.to_thread(self.runs.scan)
        found = [
            {"id": run.id, "name": run.name, "where": f"run of {when(run.changed)}"}
            for run in runs
            if run.kind == "attack"
        ]
        every = [{"id": "all", "name": "all runs below the folder", "where": ""}]
        return JSONResponse({"sets": own[::-1] + (every if len(found) > 1 else []) + found})

    async def abx_start(self, request: Request) -> Response:
        """Cut the clips and draw the questions."""
        session = session_of(request)
        asked = await body_of(request)
        modality = asked.get("modality", "both")
        if modality not in abx.MODALITIES:
            raise ConfigError(f"modality is none of {', '.join(abx.MODALITIES)}")
        trials = whole_number(asked, "trials", 1, abx.MOST_TRIALS)
        folder = session.new_path()
        job = Job(
            asked={
                "kind": "clips",
                "folder": str(folder),
                "sources": self.abx_sources(session, str(asked.get("set"))),
            },
            folder=folder,
        )
        clips = (await self.looked(job))["clips"]
        drawn = abx.draw_trials(clips, modality, trials, self.rng)
        test = abx.Test(
            id=secrets.token_urlsafe(12), folder=folder, modality=modality, trials=drawn
        )
        while len(session.tests) >= MOST_TESTS:
            oldest = session.tests.pop(next(iter(session.tests)))
            await asyncio.to_thread(shutil.rmtree, oldest.folder, True)
        session.tests[test.id] = test
        return JSONResponse({"id": test.id, **test.question()})

    def abx_sources(self, session: Session, wanted: str) -> list[dict[str, Any]]:
        """Tensors of a set by its id."""
        job = session.jobs.get(wanted)
        if job is not None and job.state is State.done and job.folder is not None:
            folders = [(job.folder / job.asked["stem"], job.asked["stem"])]
        else:
            runs = [r for r in self.runs.scan() if r.kind == "attack"]
            folders = [(r.folder, r.name) for r in runs if wanted in ("all", r.id)]
        sources = [
            {
                "tensors": str(folder / "adversarial.safetensors"),
                "name": name,
                "fps": tracks_of(folder),
            }
            for folder, name in folders
        ]
        if not sources:
            raise Refused(404, "this set is not there any more; choose another")
        return sources

    async def abx_clip(self, request: Request) -> Response:
        """Pictures or sound at a place of a question."""
        test = self.own_test(request)
        params = request.path_params
        trial = params["trial"]
        if not (trial.isascii() and trial.isdigit() and len(trial) <= 4):
            raise ConfigError("there is no such clip in this test")
        path = test.stimulus(int(trial), params["place"], params["suffix"])
        # Neither a time stamp nor a tag may tell that two clips are the same file.
        content = await asyncio.to_thread(path.read_bytes)
        return Response(content, media_type=TYPES[path.suffix])

    async def abx_answer(self, request: Request) -> Response:
        """Take an answer; the next question, or the result after the last."""
        test = self.own_test(request)
        asked = await body_of(request)
        if asked.get("answer") not in ("a", "b") or not isinstance(asked.get("trial"), int):
            raise ConfigError("expected the number of the question and a or b as its answer")
        test.answer(asked["trial"], asked["answer"] == "a")
        if not test.done:
            return JSONResponse(test.question())
        stored = await asyncio.to_thread(self.keep_result, test)
        return JSONResponse({"result": test.result(), "stored": stored})

    def keep_result(self, test: abx.Test) -> str:
        """Write a result where it outlives the server; the file's name."""
        name = f"abx-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}.csv"
        with written_whole(self.config.results / name) as temporary:
            temporary.write_text(test.as_csv(), encoding="utf-8")
        return name

    async def abx_csv(self, request: Request) -> Response:
        """The answers as a table, once all are given."""
        test = self.own_test(request)
        if not test.done:
            raise ConfigError("the answers come when the last question is answered")
        return Response(
            test.as_csv(),
            media_type=TYPES[".csv"],
            headers={"content-disposition": 'attachment; filename="abx.csv"'},
        )

    def own_test(self, request: Request) -> abx.Test:
        """A test of this visitor."""
        test: abx.Test | None = session_of(request).tests.get(request.path_params["id"])
        if test is None:
            raise Refused(404, "this test is not there any more; start another")
        return test

    # Live

    async def live_start(self, request: Request) -> Response:
        """Begin to watch; one at a time for each visitor."""
        session = session_of(request)
        asked = await body_of(request)
        detector = asked.get("detector", self.config.detector)
        if detector not in [row["name"] for row in await self.all_detectors()]:
            raise Refused(400, "there is no such detector here; reload the page")
        self.live = {key: live for key, live in self.live.items() if not live.ended.is_set()}
        earlier = self.live.get(session.key)
        if earlier is not None:
            earlier.close()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.ended(earlier), 5)
        if len([key for key in self.live if key != session.key]) >= self.config.live_sessions:
            raise Refused(
                503,
                f"{len(self.live)} cameras are watched already, as many as may; try again later",
            )
        watch = Watch(detector=detector, face_finder=self.config.face_finder)
        live = LiveSession(watch, self.config.memory_bytes)
        self.live[session.key] = live
        live.start()
        return JSONResponse({"id": live.id})

    async def live_packet(self, request: Request) -> Response:
        """Take a picture and sound, give what was found."""
        live = self.own_live(request)
        live.push(Packet.of(request.query_params, await bytes_of(request, MOST_BYTES)))
        return JSONResponse(live.taken())

    async def live_end(self, request: Request) -> Response:
        """Watch no longer."""
        live = self.own_live(request)
        live.close()
        return JSONResponse({"left_out": live.left_out})

    def own_live(self, request: Request) -> LiveSession:
        """What this visitor has going on."""
        live = self.live.get(session_of(request).key)
        if live is None or live.id != request.path_params["id"]:
            raise Refused(404, "this has ended; start again")
        return live

    # Runs

    async def list_runs(self, request: Request) -> Response:
        """What is below the folder of runs."""
        runs = await asyncio.to_thread(self.runs.scan)
        return JSONResponse(
            {
                "root": None if self.runs.root is None else self.runs.root.name,
                "runs": [
                    {
                        "id": run.id,
                        "kind": run.kind,
                        "name": run.name,
                        "when": when(run.changed),
                        "files": run.files,
                        "verdict": run.verdict,
                        "picture": run.picture,
                        "has_drawing": run.has_drawing,
                    }
                    for run in runs
                ],
            }
        )

    async def run_drawing(self, request: Request) -> Response:
        """The first picture of a report."""
        content = await asyncio.to_thread(self.runs.drawing, request.path_params["id"])
        if content is None:
            raise Refused(404, "this picture is not there any more; reload the page")
        return Response(content, media_type=TYPES[".png"])

    async def run_file(self, request: Request) -> Response:
        """A file of a run, unable to do anything but be looked at."""
        path = self.runs.file(request.path_params["id"])
        if path is None:
            raise Refused(404, "this file is not there any more; reload the page")
        return FileResponse(
            path,
            media_type=TYPES[path.suffix],
            headers={"content-security-policy": REPORT_POLICY, "x-frame-options": "SAMEORIGIN"},
        )


def view_of(upload: Upload) -> dict[str, Any]:
    """A video as its owner may see it."""
    return {"id": upload.id, "name": upload.shown, "source": upload.id, **upload.about}


def can_run_again(session: Session, job: Job) -> bool:
    """Whether a job came to nothing and its video is still there."""
    return job.over and job.state is not State.done and job.asked["upload"] in session.uploads


def result_of(job: Job) -> dict[str, Any]:
    """What a job found, with ids of its files in place of their names."""
    found = dict(job.found)
    ids = {name: f"{job.id}.{n}" for n, name in enumerate(found.pop("files"))}
    found.pop("below", None)
    if "video" in found:
        found["video"] = ids[found["video"]]
    if "views" in found:
        found["views"] = {kind: ids[name] for kind, name in found["views"].items()}
    found["downloads"] = [{"name": name, "file": ids[name]} for name in found["downloads"]]
    return found

"""What strangers may send to a server, and what comes of it: a clear message and nothing else."""

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from support.app_server import Running
from support.media_files import make_video

from pushpull.media import VideoWriter, read_frames, read_waveform


@pytest.fixture(scope="module")
def faceless(tmp_path_factory):
    """A second of grey with a tone."""
    path = tmp_path_factory.mktemp("faceless") / "grey.mp4"
    sound = (0.1 * np.sin(np.arange(16000) / 9)).astype(np.float32)
    with VideoWriter(path, width=160, height=120, fps=25, audio=sound) as writer:
        for i in range(25):
            writer.write(np.full((120, 160, 3), 90, np.uint8), i / 25)
    return path.read_bytes()


def zipped():
    """A small archive that would become a large file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", b"\0" * 20_000_000)
    return out.getvalue()


def playlist():
    """Names a file of the machine; FFmpeg would open it."""
    return b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"not a video, just words\n" * 40, "is text"),
        (zipped(), "is a zip archive"),
        (playlist(), "is text"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "is text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(400), "is a PNG picture"),
        (bytes(range(256)) * 8, "no video that is known"),
        (b"\0\0\0\x20ftypisom" + bytes(4000), "index is missing or damaged"),
    ],
    ids=["empty", "text", "zip", "playlist", "concat", "picture", "noise", "mp4-without-index"],
)
def test_what_is_no_video_is_refused_by_its_content(client, content, reason):
    reply = client.upload(content, "talk.mp4")
    assert reply.status_code == 400
    assert reason in reply.json()["error"]
    assert "/tmp" not in reply.text


def test_a_damaged_video_is_refused_with_a_reason(client, talking):
    content = talking.read_bytes()
    reply = client.upload(content[: len(content) // 4], "cut.mp4")
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("cut.mp4: is cut off or damaged")


def test_a_video_without_faces_fails_with_a_reason_that_names_no_path(client, faceless):
    video = client.upload(faceless, "<b>grey</b>.mp4").json()
    status = client.until(client.start(video))
    assert status["state"] == "failed"
    assert "no face was found" in status["error"]
    assert "pushpull-app-" not in status["error"]


def test_a_video_without_sound_is_refused(client, tmp_path):
    path = make_video(tmp_path / "mute.mp4", size=(64, 48), has_sound=False)
    reply = client.upload(path.read_bytes())
    assert reply.status_code == 400
    assert "has no sound" in reply.json()["error"]


def test_a_video_that_is_too_long_is_refused_before_it_is_queued(client, tmp_path):
    path = tmp_path / "long.mp4"
    sound = np.zeros(70 * 16000, np.float32)
    with VideoWriter(path, width=32, height=32, fps=1, audio=sound) as writer:
        for i in range(70):
            writer.write(np.full((32, 32, 3), i, np.uint8), float(i))
    reply = client.upload(path.read_bytes())
    assert reply.status_code == 400
    assert "expected at most 60 s" in reply.json()["error"]


@pytest.mark.parametrize(
    ("name", "shown", "stem"),
    [
        ("../../../../etc/cron.d/evil.mp4", "evil.mp4", "evil"),
        ("..\\..\\windows\\evil.mp4", "evil.mp4", "evil"),
        ("/etc/passwd", "passwd", "passwd"),
        ("..", "video", "video"),
        ("a\0b\r\nSet-Cookie: x=1.mp4", "abSet-Cookie: x=1.mp4", "abSet-Cookie-x-1"),
        ("<img src=x onerror=alert(1)>.mp4", "<img src=x onerror=alert(1)>.mp4", None),
        ("n" * 5000 + ".mp4", "n" * 100, None),
    ],
)
def test_names_are_shown_and_never_used_as_paths(server, client, talking, name, shown, stem):
    before = files_below(server.folder)
    reply = client.upload(talking.read_bytes(), name)
    video = reply.json()
    assert video["name"] == shown
    new = files_below(server.folder) - before
    assert len(new) == 1
    assert re.fullmatch(r"visitor-[\w-]+/[\w-]+", next(iter(new)))
    disposition = client.get(f"/api/files/{video['source']}?download").headers[
        "content-disposition"
    ]
    assert re.fullmatch(r'attachment; filename="[A-Za-z0-9-]{1,60}\.mp4"', disposition)
    if stem:
        assert f'"{stem}.mp4"' in disposition


def files_below(folder):
    root = folder / "results" / "visitors"
    found = (p for p in root.glob("visitor-*/**/*") if p.is_file())
    return {str(p.relative_to(root)) for p in found}


def raw(server, lines, body=b"", wait_s=20):
    """Send bytes as they are and give back the status and the JSON of the answer."""
    host = urlsplit(server.base)
    with socket.create_connection((host.hostname, host.port), timeout=wait_s) as link:
        link.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = http.client.HTTPResponse(link)
        answer.begin()
        return answer.status, json.loads(answer.read())


def head(server, *more):
    host = urlsplit(server.base).netloc
    return ["POST /api/uploads?name=x.mp4 HTTP/1.1", f"Host: {host}", "X-Pushpull: 1", *more]


def test_a_claim_of_5_gb_is_refused_before_anything_is_sent(server):
    status, reply = raw(server, head(server, "Content-Length: 5368709120"))
    assert status == 413
    assert "has 5120 MiB; expected at most 200 MiB" in reply["error"]


def test_a_stated_length_is_not_trusted(server, client):
    before = files_below(server.folder)
    host = urlsplit(server.base)
    # More is stated than comes: the upload breaks off and leaves nothing.
    with socket.create_connection((host.hostname, host.port), timeout=20) as link:
        link.sendall("\r\n".join([*head(server, "Content-Length: 5000"), "", ""]).encode())
        link.sendall(b"x" * 100)
    # Less is stated than comes: what was stated is judged, the rest is no request.
    status, reply = raw(server, head(server, "Content-Length: 4"), b"word and much more")
    assert status == 400
    assert "is text" in reply["error"]
    deadline = time.monotonic() + 60
    while files_below(server.folder) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert files_below(server.folder) == before


def test_what_does_not_state_its_length_is_counted(tmp_path, checkpoint):
    server = Running(tmp_path, checkpoint, "--upload-mib", "1")
    try:
        client = server.client()
        sent = iter([b"\0\0\0\x20ftypisom"] + [bytes(65536)] * 17)
        reply = client.post("/api/uploads", params={"name": "x.mp4"}, data=sent)
        assert reply.status_code == 413
        assert "expected at most 1 MiB" in reply.json()["error"]
        # Much more than is allowed, said and sent: the answer comes through all the same.
        reply = client.upload(bytes(5 * 2**20))
        assert reply.status_code == 413
        assert "has 5 MiB; expected at most 1 MiB" in reply.json()["error"]
        assert files_below(server.folder) == set()
    finally:
        assert server.stop() == 128 + signal.SIGTERM


def test_nothing_of_one_visitor_is_there_for_another(server, client, talking):
    video = client.upload(talking.read_bytes()).json()
    job = client.start(video)
    result = client.until(job)["result"]
    file = result["downloads"][0]["file"]
    stranger = server.client()
    assert client.get(f"/api/files/{file}").status_code == 200
    for path in (f"/api/files/{file}", f"/api/files/{video['source']}", f"/api/jobs/{job}"):
        assert stranger.get(path).status_code == 404
    assert stranger.post(f"/api/jobs/{job}/cancel").status_code == 404
    reply = stranger.post("/api/jobs", {"kind": "detect", "upload": video["id"]})
    assert reply.status_code == 404
    forged = requests.get(
        f"{server.base}/api/jobs/{job}", cookies={"pushpull": "a" * 43}, timeout=20
    )
    assert forged.status_code == 404
    cookie = client.get("/").request.headers["cookie"]
    assert len(cookie) > 40


def test_files_can_be_forgotten(server, client, talking):
    before = files_below(server.folder)
    video = client.upload(talking.read_bytes()).json()
    client.until(client.start(video))
    assert len(files_below(server.folder)) > len(before)
    assert client.post("/api/forget").status_code == 200
    assert files_below(server.folder) == before
    assert client.get(f"/api/files/{video['source']}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e%2f%2e%2e%2fcli.py",
        "/api/files/..%2f..%2fetc%2fpasswd",
        "/api/runs/files/..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
    ],
)
def test_no_path_leads_out(server, path):
    host = urlsplit(server.base)
    link = http.client.HTTPConnection(host.hostname, host.port, timeout=20)
    link.request("GET", path)
    answer = link.getresponse()
    body = answer.read()
    link.close()
    assert answer.status == 404
    assert b"root:" not in body
    assert b"import" not in body


def test_other_sites_cannot_act_or_read(server, client, talking):
    video = client.upload(talking.read_bytes()).json()
    asked = {"kind": "detect", "upload": video["id"]}
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
    ):
        reply = client.post("/api/jobs", asked, headers=headers)
        assert reply.status_code == 403, headers
    bare = client.http.post(f"{server.base}/api/jobs", json=asked, timeout=20)
    assert bare.status_code == 403
    # A name that points to this machine is no way to read, either.
    assert client.get("/api/about", headers={"host": "evil.example:7860"}).status_code == 403


def test_answers_carry_the_headers_that_keep_browsers_safe(client):
    headers = client.get("/").headers
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in headers, "a known visitor got another cookie"
    cookie = requests.get(client.base, timeout=20).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"attack": "magic"}, "unknown attack 'magic'"),
        ({"eps": -1}, "eps is -1"),
        ({"eps": "5"}, "eps is 5; expected a number"),
        ({"steps": 10**9}, "steps is 1000000000"),
        ({"steps": 1.5}, "expected a whole number"),
        ({"quantise": "yes"}, "quantise is yes"),
        ({"detector": "/etc/passwd"}, "no such detector"),
    ],
)
def test_wrong_settings_are_said_before_any_work(client, talking, asked, reason):
    video = client.upload(talking.read_bytes()).json()
    whole = {"kind": "attack", "upload": video["id"], "eps": 5, "steps": 1, "amplify": 20} | asked
    reply = client.post("/api/jobs", whole)
    assert reply.status_code == 400
    assert reason in reply.json()["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 10_000, b"{}" + b" " * 20_000])
def test_bodies_that_are_no_request_are_refused(client, body):
    reply = client.http.post(
        f"{client.base}/api/jobs", data=body, headers={"x-pushpull": "1"}, timeout=20
    )
    assert reply.status_code in (400, 413)
    assert reply.json()["error"]


def slow_attack(client, talking):
    video = client.upload(talking.read_bytes()).json()
    asked = {"kind": "attack", "attack": "pgd", "eps": 5, "steps": 1000, "amplify": 20}
    job = client.start(video, **asked)
    end = time.monotonic() + 240
    while client.get(f"/api/jobs/{job}").json()["stage"] != "float":
        assert time.monotonic() < end
        time.sleep(0.05)
    return video, job


def test_cancel_ends_the_work_and_the_queue_goes_on(server, client, talking):
    video, job = slow_attack(client, talking)
    waiting = client.start(video)
    dropped = client.start(video)
    assert client.get(f"/api/jobs/{dropped}").json()["ahead"] == 1
    assert client.post(f"/api/jobs/{dropped}/cancel").json()["state"] == "cancelled"
    status = client.post(f"/api/jobs/{job}/cancel").json()
    assert status["state"] == "cancelled"
    assert client.until(waiting)["state"] == "done"


def test_a_killed_worker_is_an_error_and_the_next_request_works(server, client, talking):
    video, job = slow_attack(client, talking)
    os.kill(server.workers()[0], signal.SIGKILL)
    status = client.until(job)
    assert status["state"] == "failed"
    assert "ended before it was done" in status["error"]
    assert client.until(client.start(video))["state"] == "done"


def test_one_visitor_cannot_fill_the_queue(client, talking):
    video, job = slow_attack(client, talking)
    more = [client.start(video) for _ in range(3)]
    reply = client.post("/api/jobs", {"kind": "detect", "upload": video["id"]})
    assert reply.status_code == 429
    for one in [*more, job]:
        client.post(f"/api/jobs/{one}/cancel")


def test_ten_visitors_at_once_are_all_served(server, talking):
    visitors = [server.client() for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda v: v.upload(talking.read_bytes()), visitors))
        jobs = list(pool.map(lambda v, r: v.start(r.json()), visitors, replies))
        assert len(set(jobs)) == 10
        ended = list(pool.map(lambda v, j: v.until(j), visitors, jobs))
    assert [status["state"] for status in ended] == ["done"] * 10


def test_a_killed_server_knows_its_visitors_and_their_jobs_when_it_starts_again(
    tmp_path, checkpoint, talking
):
    server = Running(tmp_path, checkpoint)
    try:
        client, stranger = server.client(), server.client()
        video = client.upload(talking.read_bytes()).json()
        done = client.start(video)
        before = client.until(done)
        running = slow_attack(client, talking)[1]
        waiting = client.start(video)
        others = stranger.start(stranger.upload(talking.read_bytes()).json())
        server.kill()

        server = Running(tmp_path, checkpoint)
        client.moved(server.base)
        stranger.moved(server.base)
        listed = client.get("/api/jobs").json()["jobs"]
        assert [(job["id"], job["state"]) for job in listed] == [
            (waiting, "interrupted"), (running, "interrupted"), (done, "done"),
        ]  # fmt: skip
        assert [(job["name"], job["again"]) for job in listed] == [
            ("talk.mp4", True), ("talk.mp4", True), ("talk.mp4", False),
        ]  # fmt: skip
        after = client.get(f"/api/jobs/{done}").json()
        assert after["result"] == before["result"]
        for file in after["result"]["downloads"]:
            assert client.get(f"/api/files/{file['file']}").status_code == 200
        assert stranger.get(f"/api/jobs/{done}").status_code == 404
        assert [job["id"] for job in stranger.get("/api/jobs").json()["jobs"]] == [others]
        assert client.get(f"/api/jobs/{others}").status_code == 404
        assert stranger.post(f"/api/jobs/{waiting}/again").status_code == 404

        assert client.post(f"/api/jobs/{done}/again").status_code == 409
        assert client.post(f"/api/jobs/{waiting}/again").json()["id"] == waiting
        assert client.until(waiting)["state"] == "done"
        # Stopped in peace, it knows as much.
        assert server.stop() == 128 + signal.SIGTERM
        server = Running(tmp_path, checkpoint)
        client.moved(server.base)
        assert client.get(f"/api/jobs/{waiting}").json()["state"] == "done"
        # What the killed one had half done has gone.
        visitor = tmp_path / "results" / "visitors"
        own = {job.name for folder in visitor.glob("visitor-*") for job in folder.iterdir()}
        assert len(own) == 3 + 2, "two videos and two results of one, a video of the other"
    finally:
        server.stop()


def test_a_second_server_does_not_take_the_visitors_of_the_first(server, checkpoint):
    line = [
        sys.executable, "-m", "pushpull", "app", "--port", "0", "--detector", str(checkpoint),
        "--out", str(server.folder / "results"),
    ]  # fmt: skip
    second = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "another server keeps its visitors here; choose another --out" in second.stderr


def test_what_a_visitor_left_is_removed_after_the_time_that_was_set(tmp_path, checkpoint, talking):
    server = Running(tmp_path, checkpoint, "--keep-h", str(2 / 3600))
    try:
        client = server.client()
        assert client.upload(talking.read_bytes()).status_code == 200
        end = time.monotonic() + 120
        while files_below(tmp_path):
            assert time.monotonic() < end
            time.sleep(0.2)
        assert client.get("/api/uploads").json() == {"uploads": []}
    finally:
        server.stop()


def test_a_job_ends_after_the_time_that_was_set(tmp_path, checkpoint, talking):
    server = Running(tmp_path, checkpoint, "--job-minutes", "0.01")
    try:
        client = server.client()
        status = client.until(client.start(client.upload(talking.read_bytes()).json()))
        assert (status["state"], status["again"]) == ("failed", True)
        assert "not done within 0.01 minutes" in status["error"]
    finally:
        server.stop()


def test_limits_that_were_set_are_kept(tmp_path, checkpoint, talking):
    server = Running(
        tmp_path, checkpoint, "--jobs", "1", "--waiting", "1",
        "--visitor-gib", "0.1", "--disk-gib", "0.15", "--upload-mib", "90", "--lines", "3",
    )  # fmt: skip
    try:
        client, second, third = (server.client() for _ in range(3))
        video, job = slow_attack(client, talking)
        reply = client.post("/api/jobs", {"kind": "detect", "upload": video["id"]})
        assert "1 of your jobs wait or run already" in reply.json()["error"]
        waits = second.start(second.upload(talking.read_bytes()).json())
        other = third.upload(talking.read_bytes()).json()
        reply = third.post("/api/jobs", {"kind": "detect", "upload": other["id"]})
        assert reply.status_code == 503
        assert [row["id"] for row in third.get("/api/jobs").json()["jobs"]] == []
        client.post(f"/api/jobs/{job}/cancel")
        assert second.until(waits)["state"] == "done"

        # Room that is promised to an upload is taken.
        size = 80 * 2**20
        host = urlsplit(server.base)
        cookie = f"Cookie: pushpull={client.http.cookies['pushpull']}"
        with socket.create_connection((host.hostname, host.port), timeout=20) as link:
            link.sendall(
                "\r\n".join([*head(server, f"Content-Length: {size}", cookie), "", ""]).encode()
            )
            link.sendall(b"x")
            time.sleep(0.5)
            stated = f"Content-Length: {size}"
            status, reply = raw(server, head(server, stated, cookie, "Expect: 100-continue"))
            assert (status, "more than 102 MiB together" in reply["error"]) == (413, True)
            status, reply = raw(server, head(server, stated, "Expect: 100-continue"))
            assert (status, "fill the room" in reply["error"]) == (507, True)
    finally:
        server.stop()


@pytest.mark.parametrize(
    "number",
    ["9" * 5000, "-" + "9" * 400, "1e999", "-1e999", "NaN", "Infinity", "0." + "1" * 5000],
    ids=["digits", "negative", "exponent", "minus", "nan", "infinity", "fraction"],
)
@pytest.mark.parametrize("place", ["/api/jobs", "/api/abx", "/api/abx/1/answers", "/api/live"])
def test_numbers_of_a_request_are_bounded(client, place, number):
    body = (
        f'{{"kind": "attack", "trials": [{{"a": {number}}}], "eps": {number}, "trial": {number}}}'
    )
    reply = client.http.post(
        client.base + place, data=body, headers={"x-pushpull": "1"}, timeout=20
    )
    if place.endswith("answers"):
        assert reply.status_code == 404  # There is no such test.
    else:
        assert reply.status_code == 400
        assert "no number that is expected here" in reply.json()["error"]


def test_numbers_of_addresses_and_headers_are_bounded(client, talking):
    long = "9" * 5000
    video = client.upload(talking.read_bytes()).json()
    job = client.start(video)
    client.until(job)
    assert client.get(f"/api/abx/1/{long}/a.png").status_code == 404
    assert client.get(f"/api/files/{job}.{long}").status_code == 404
    assert client.get(f"/api/files/{job}.٣").status_code == 404
    for part in (f"bytes={long}-", f"bytes=0-{long}", f"bytes=-{long}"):
        reply = client.get(f"/api/files/{job}.0", headers={"range": part})
        assert reply.status_code in (200, 206, 400, 416), part
    assert client.get(f"/api/files/{job}.0", headers={"range": "bytes=0-3"}).status_code == 206


def test_turns_of_others_and_what_are_no_turns_are_refused(server, client, talking):
    video = client.upload(talking.read_bytes()).json()
    job = client.start(video, detector="synthetic-a")
    found = client.until(job)["result"]
    turns = client.post(f"/api/jobs/{job}/turns", {"threshold": 0.5}).json()["faces"]
    assert turns == [face["turns"] for face in found["faces"]]
    for threshold in (None, 0, 1, "0.5", True, 7):
        assert client.post(f"/api/jobs/{job}/turns", {"threshold": threshold}).status_code == 400
    whole = {"threshold": 0.5, "faces": [[[0.0, 0.5]]]}
    place = f"/api/jobs/{job}/corrections"
    for spoilt in ({"faces": [[[0, 1e9]]]}, {"faces": []}, {"threshold": -1}, {"faces": "all"}):
        assert client.post(place, whole | spoilt).status_code == 400
    for path in (place, f"/api/jobs/{job}/turns"):
        assert server.client().post(path, whole).status_code == 404
    for _ in range(2):
        reply = client.post(place, whole).json()["result"]
        assert reply["corrected"] == {"threshold": 0.5, "faces": [[[0.0, 0.5]]]}
        assert [d["name"] for d in reply["downloads"]].count("talk.corrected.csv") == 1
    assert reply["video"] == found["video"], "files keep their ids"
    content = client.get(f"/api/files/{reply['downloads'][-1]['file']}").text
    assert content.count("SPEAKING_AUDIBLE") == 13  # Of 25: those that begin before 0.5 s.


def test_slides_and_films_that_vary_are_done(client, talking, tmp_path):
    pictures = [frame.rgb() for frame in read_frames(talking)]
    for name, times_s in (("slides", np.arange(5) * 10.0), ("varying", [0.0, 0.001, 1.5, 8.5])):
        path = make_video(
            tmp_path / f"{name}.mkv", timestamps_s=list(times_s), size=(320, 240),
            picture=lambda i: pictures[i], sound=np.resize(read_waveform(talking), 16_000 * 9),
        )  # fmt: skip
        status = client.until(client.start(client.upload(path.read_bytes()).json()))
        assert status["state"] == "done", status
        assert all(len(face["scores"]) <= 5 for face in status["result"]["faces"])


def test_half_a_character_is_refused_as_any_wrong_word(client, talking):
    video = client.upload(talking.read_bytes(), "half \udce9.mp4".encode("utf-8", "replace")).json()
    for asked in (
        {"attack": "\ud800"}, {"detector": "\udce9"}, {"kind": "\ud800"}, {"eps": "\ud800"},
    ):  # fmt: skip
        whole = {"kind": "attack", "upload": video["id"], "eps": 5, "steps": 1, "amplify": 20}
        reply = client.post("/api/jobs", whole | asked)
        assert reply.status_code == 400, asked
        assert reply.json()["error"]
    raw_name = client.http.post(
        f"{client.base}/api/uploads?name=caf%E9.mp4", data=talking.read_bytes(),
        headers={"x-pushpull": "1"}, timeout=60,
    )  # fmt: skip
    assert raw_name.json()["name"] == "caf\ufffd.mp4"

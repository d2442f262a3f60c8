"""A stranger's camera: packets as they may come, and who may send them."""

import time

import cv2
import numpy as np
import pytest

from pushpull.app.live import BEHIND, WAITING, LiveSession, Packet, Watch
from pushpull.errors import ConfigError, MediaError


def packet(picture=b"x", sound=b""):
    return Packet(picture_s=0, picture=picture, sound_s=0, sound=sound, rate_hz=48000)


def jpeg(width, height):
    return cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    "query",
    [
        {"sound": "9"},
        {"sound": "-2"},
        {"sound": "3"},
        {"sound": "x"},
        {"rate": "1"},
        {"rate": "10000000"},
        {"picture_s": "nan"},
        {"sound_s": "inf"},
        {"picture_s": "-1"},
    ],
)
def test_what_no_page_sends_is_refused(query):
    with pytest.raises(ConfigError, match="expected the bytes of sound"):
        Packet.of(query, b"12345678")


def test_pictures_make_room_for_sound_and_the_queue_has_an_end():
    session = LiveSession(Watch(detector="synthetic-a", face_finder="dlib"), 2**32)
    session.push(packet())
    assert session.taken()["left_out"] == 1, "nobody looks before the detector is loaded"
    session.ready = True
    for _ in range(2 * WAITING):
        session.push(packet(sound=b"ab"))
    assert [bool(p.picture) for p in session.waiting] == [True] * BEHIND + [False] * (
        WAITING - BEHIND
    )
    assert session.left_out == 1 + 2 * WAITING - BEHIND


def test_a_picture_that_is_none_or_huge_or_of_another_size_is_refused():
    watch = Watch(detector="synthetic-a", face_finder="dlib")
    huge = bytearray(jpeg(64, 48))
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = b"\xff\xff\xff\xff"
    for content, reason in [
        (b"words", "expected a JPEG"),
        (b"\xff\xd8" + bytes(200), "expected a JPEG"),
        (jpeg(64, 48)[:40], "expected a JPEG"),
        (bytes(huge), "65535 x 65535"),
    ]:
        with pytest.raises(MediaError, match=reason):
            watch({"picture": content, "picture_s": 0.0}, print)
    watch({"picture": jpeg(64, 48), "picture_s": 0.0}, print)
    with pytest.raises(MediaError, match="another size"):
        watch({"picture": jpeg(48, 64), "picture_s": 0.1}, print)


def until_ready(client, key):
    end = time.monotonic() + 60
    while not (found := client.post(f"/api/live/{key}").json())["ready"]:
        assert not found["ended"], found
        assert time.monotonic() < end
        time.sleep(0.1)


def test_one_each_and_a_bounded_number_in_all(server):
    first, second, third = (server.client() for _ in range(3))
    camera = first.get("/").headers["permissions-policy"]
    assert camera.startswith("camera=(self), microphone=(self)")
    assert "camera=()" in first.get("/api/about").headers["permissions-policy"]
    old = first.post("/api/live", {}).json()["id"]
    new = first.post("/api/live", {}).json()["id"]
    assert first.post(f"/api/live/{old}").status_code == 404
    other = second.post("/api/live", {}).json()["id"]
    refused = third.post("/api/live", {})
    assert refused.status_code == 503
    assert "as many as may" in refused.json()["error"]
    assert third.post(f"/api/live/{new}").status_code == 404, "a stranger's"
    foreign = first.post(f"/api/live/{new}", headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403
    assert first.post(f"/api/live/{new}", data=bytes(2**20 + 1)).status_code == 413

    until_ready(first, new)
    first.post(f"/api/live/{new}", data=b"no picture")
    end = time.monotonic() + 10
    while not (found := first.post(f"/api/live/{new}").json())["ended"]:
        assert time.monotonic() < end
    assert "expected a JPEG" in found["error"]
    second.post(f"/api/live/{other}/end")
    while (begun := third.post("/api/live", {})).status_code == 503:
        assert time.monotonic() < end + 10
        time.sleep(0.1)
    third.post(f"/api/live/{begun.json()['id']}/end")

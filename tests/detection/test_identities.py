"""Which tracks are one person: what grouping may never do, and real faces over cuts."""

import importlib.util
import itertools
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pushpull as pp
from pushpull.detection import Detection
from pushpull.detection.identities import SAME_PERSON, SPREAD, distance, grouped, identify
from pushpull.errors import MissingExtra
from pushpull.schema import Track

HAS_NETWORK = importlib.util.find_spec("face_recognition_models") is not None


def seen(number: int, start: int, length: int = 10, box=(40.0, 20.0, 90.0, 85.0)) -> Track:
    frames = np.arange(start, start + length)
    return Track(
        track_id=number,
        frames=frames,
        timestamps_s=frames / 25,
        boxes=np.array([box] * length),
        detected=np.ones(length, bool),
    )


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=9),
    st.randoms(use_true_random=False),
)
def test_groups_are_of_one_face_and_never_on_screen_at_once(made, random) -> None:
    """Faces that are exactly alike are put together unless they meet; others never are."""
    tracks = [seen(k, start) for k, (start, _) in enumerate(made)]
    faces = [np.full((2, 128), float(who)) for _, who in made]
    found = grouped(tracks, faces)
    for i, j in itertools.combinations(range(len(made)), 2):
        meet = abs(made[i][0] - made[j][0]) < 10
        if found[i] == found[j]:
            assert made[i][1] == made[j][1]
            assert not meet
    # As they come, whatever their order in the list.
    first = {}
    for k in sorted(found, key=lambda k: (tracks[k].timestamps_s[0], k)):
        first.setdefault(found[k], len(first))
    assert all(person == place for person, place in first.items())
    order = list(range(len(made)))
    random.shuffle(order)
    apart_in_time = all(
        abs(made[i][0] - made[j][0]) >= 10 for i, j in itertools.combinations(order, 2)
    )
    if apart_in_time:
        assert grouped([tracks[k] for k in order], [faces[k] for k in order]) == found
        assert len(set(found.values())) == len({who for _, who in made})


def test_the_limit_is_of_the_mean_over_a_group() -> None:
    """A chain of small steps does not make two people one."""
    step = 0.8 * SAME_PERSON / np.sqrt(128)
    tracks = [seen(k, 20 * k) for k in range(3)]
    faces = [np.full((1000, 128), k * step) for k in range(3)]
    assert grouped(tracks, faces) == {0: 0, 1: 0, 2: 1}


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_distances_do_not_depend_on_how_many_faces_are_known(few, many, seed) -> None:
    """In the mean, faces that scatter about two people are as far apart as the people."""
    chance = np.random.default_rng(seed)
    apart, scatter = 0.6, np.sqrt(SPREAD / 128)

    def faces(n: int, where: float):
        return where / np.sqrt(128) + scatter * chance.standard_normal((n, 128))

    found = [distance(faces(few, 0.0), faces(many, apart)) ** 2 for _ in range(60)]
    assert np.mean(found) == pytest.approx(apart**2, rel=0.15)


def test_faces_that_are_not_described_are_persons_of_their_own() -> None:
    none, some = np.zeros((0, 128)), np.zeros((1, 128))
    tracks = [seen(k, 20 * k) for k in range(4)]
    assert grouped(tracks, [none, some, none, some]) == {0: 0, 1: 1, 2: 2, 3: 1}
    assert grouped([], []) == {}


@pytest.mark.skipif(HAS_NETWORK, reason="the network is installed")
def test_without_the_network_the_message_says_what_to_install(talking) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'pushpull-asd\[identities\]'"):
        identify(talking, [seen(0, 0)])


FILM = (
    ("msd_speaking_4.mp4", "ada"),
    ("grid_s31_bgiq6p.mpg", "bob"),
    ("msd_speaking_5.mp4", "ada"),
    ("obama_f2f.mp4", "cy"),
    ("grid_s31_lwiu7s.mpg", "bob"),
)


@pytest.mark.skipif(not HAS_NETWORK, reason="needs pip install 'pushpull-asd[identities]'")
def test_the_same_people_over_cuts(shared, tmp_path) -> None:
    """One after the other, a second and a half each: other recordings, the same people."""
    film = tmp_path / "film.mp4"
    clips = [shared / "clips" / name for name, _ in FILM]
    chains = "".join(
        f"[{k}:v]trim=0:1.5,setpts=PTS-STARTPTS,fps=25,scale=640:480:force_original_aspect_ratio="
        f"decrease,pad=640:480:-1:-1,setsar=1[v{k}];[{k}:a]atrim=0:1.5,asetpts=PTS-STARTPTS,"
        f"aresample=16000,aformat=channel_layouts=mono[a{k}];"
        for k in range(len(clips))
    )
    joined = "".join(f"[v{k}][a{k}]" for k in range(len(clips)))
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error",
         *(part for clip in clips for part in ("-i", clip)),
         "-filter_complex", f"{chains}{joined}concat=n={len(clips)}:v=1:a=1[v][a]",
         "-map", "[v]", "-map", "[a]", film],
        check=True,
    )  # fmt: skip
    found = pp.detect(film, "synthetic-a", identities=True, allow_silent=True)
    who = [found_in(found, 1.5 * k + 0.75) for k in range(len(FILM))]
    names = dict(zip(who, (name for _, name in FILM), strict=True))
    assert len(names) == 3
    assert [names[person] for person in who] == [name for _, name in FILM]
    rttm = found.save(tmp_path / "out", video="none")["rttm"].read_text()
    assert {line.split()[7] for line in rttm.splitlines()} <= {
        *(f"film:person-{person}" for person in who),
        "film:off-screen",
    }


def found_in(found: Detection, time_s: float) -> int | None:
    """The person of the largest face that is on screen then."""
    on = [
        one
        for one in found.tracks
        if one.track.timestamps_s[0] <= time_s <= one.track.timestamps_s[-1]
    ]
    assert on, time_s
    return max(on, key=lambda one: float(np.ptp(one.track.boxes[0, ::2]))).person

"""Where faces should be, and which is whose."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from pushpull.detection.motion import UNASSIGNED, Candidate, Trail, assigned, cost_of

BOX = np.array([100.0, 100.0, 150.0, 165.0])
RNG = np.random.default_rng(0)
LOOKS = [RNG.integers(0, 255, (28, 28, 3), np.uint8) for _ in range(3)]


def moved(x, y=0.0, box=BOX):
    return box + np.array([x, y, x, y])


def at(x, y=0.0, look=0, box=BOX):
    return Candidate(moved(x, y, box), 0.9, LOOKS[look])


def followed(*places, look=0, step_s=0.04):
    trail = Trail()
    for i, x in enumerate(places):
        trail.add(i, i * step_s, at(x, look=look))
    return trail


@given(
    speed=st.tuples(*[st.floats(-800, 800)] * 2),
    growth=st.floats(-0.5, 0.5),
    ahead_s=st.floats(0, 0.1),
)
def test_constant_speed_is_predicted_exactly_both_ways(speed, growth, ahead_s):
    def box(time_s):
        middle = np.array([300.0, 200.0]) + time_s * np.array(speed)
        half = np.array([25.0, 32.5]) * np.exp(growth * time_s)
        return np.concatenate([middle - half, middle + half])

    times_s = np.arange(5) / 25
    trail = Trail()
    for i, time_s in enumerate(times_s):
        trail.add(i, time_s, Candidate(box(time_s), 0.9, LOOKS[0]))
    later = times_s[-1] + ahead_s
    assert trail.predicted(later) == pytest.approx(box(later), abs=1e-6)
    assert trail.predicted_before(-ahead_s) == pytest.approx(box(-ahead_s), abs=1e-6)


def test_one_sighting_stays_where_it_was():
    assert followed(5).predicted(0.3).tolist() == moved(5).tolist()


def test_two_faces_that_meet_go_on_as_they_went():
    right = followed(0, 10, 20, 30)
    left = followed(70, 60, 50, 40, look=1)
    found = [at(20, look=1), at(50)]
    assert assigned([right, left], found, 0.2) == {0: 1, 1: 0}


def test_each_face_is_given_once():
    pairs = assigned([followed(0, 0), followed(6, 6)], [at(3)], 0.08)
    assert len(pairs) == 1


@given(
    there=st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True),
    seen=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=4, unique=True),
    gap_s=st.sampled_from([0.04, 0.2, 0.6]),
)
def test_they_are_given_as_cheaply_as_possible_in_all(there, seen, gap_s):
    trails = [followed(25 * x, 25 * x, 25 * x, look=k % 3) for k, x in enumerate(there)]
    found = [at(25 * x, look=look) for x, look in seen]
    costs = np.full((len(trails), len(found)), UNASSIGNED)
    for i, trail in enumerate(trails):
        for k, candidate in enumerate(found):
            cost = cost_of(trail, candidate, 0.08 + gap_s, by_look=False)
            costs[i, k] = UNASSIGNED if cost is None else cost
    pairs = assigned(trails, found, 0.08 + gap_s)
    left = min(costs.shape) - len(pairs)
    taken = sum(costs[pair] for pair in pairs.items()) + left * UNASSIGNED
    assert len(set(pairs.values())) == len(pairs)
    assert taken == pytest.approx(costs[linear_sum_assignment(costs)].sum())


ALONE = """
import sys
import numpy as np
from pushpull.detection.motion import Candidate, Trail, assigned

looks = np.random.default_rng(0).integers(0, 255, (3, 28, 28, 3), np.uint8)
boxes = [np.array([100.0, 100.0, 150.0, 165.0]) + [x, 0, x, 0] for x in (0, 400, 800)]
trails = [Trail() for _ in boxes]
for trail, box, look in zip(trails, boxes, looks):
    trail.add(0, 0.0, Candidate(box, 0.9, look))
found = [Candidate(box + 2, 0.9, look) for box, look in zip(boxes, looks)]
print(assigned(trails, found[::-1], 0.2), "scipy.optimize" in sys.modules)
"""


def test_nothing_is_loaded_where_nothing_is_to_be_weighed():
    run = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert run.stdout.strip() == "{0: 2, 1: 1, 2: 0} False", run.stderr


def test_what_is_far_away_is_another_face():
    assert assigned([followed(0, 0, 0)], [at(400, look=1)], 0.12) == {}


def test_sizes_do_not_jump():
    small = Candidate(np.array([110.0, 120, 124, 138]), 0.9, LOOKS[1])
    assert assigned([followed(0, 0, 0)], [small], 0.12) == {}


def test_a_face_lost_for_long_must_look_the_same():
    lost = followed(0, 0, 0)
    assert assigned([lost], [at(5)], 0.7) == {0: 0}
    assert assigned([lost], [at(5, look=1)], 0.7) == {}


def test_where_the_whole_picture_changed_looks_must_agree():
    trails = [followed(0, 0), followed(60, 60, look=1)]
    assert assigned(trails, [at(62, look=1), at(-3)], 0.08, by_look=True) == {0: 1, 1: 0}
    assert assigned(trails, [at(0, look=2)], 0.08) == {0: 0}
    assert assigned(trails, [at(0, look=2)], 0.08, by_look=True) == {}


def test_what_a_face_looks_like_is_learnt_only_where_wanted():
    trail = followed(0, 0)
    trail.add(2, 0.08, at(0, look=1), look=False)
    assert trail.look is LOOKS[0]
    trail.add(3, 0.12, at(0, look=1))
    assert trail.look is LOOKS[1]


def test_nothing_followed_or_nothing_found_is_nothing_assigned():
    assert assigned([], [at(0)], 0.1) == {}
    assert assigned([followed(0)], [], 0.1) == {}


def test_earlier_and_later_sightings_stay_in_order():
    trail = followed(0, 10)
    trail.add_earlier(-1, -0.04, at(-10))
    later = Trail()
    later.add(5, 0.2, at(50))
    trail.take(later)
    assert trail.frames == [-1, 0, 1, 5]
    assert trail.times_s == [-0.04, 0.0, 0.04, 0.2]
    assert [box[0] for box in trail.boxes] == [90, 100, 110, 150]
    assert trail.unseen_s(0.5) == pytest.approx(0.3)

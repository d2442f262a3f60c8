"""Labels of faces from a csv, and of faces found anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pushpull.errors import AnnotationError
from pushpull.models.weights import resolve_detector
from pushpull.video_attacks.labels import labelled, labels_from_csv, labels_from_tracks


def write_csv(path, tracks, info, labels, *, shift_s=0.0, move=0.0, skip=()):
    size = np.array([info.width, info.height] * 2)
    rows = ["video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,"
            "label,entity_id"]  # fmt: skip
    for track, values in zip(tracks, labels, strict=True):
        for t, (time_s, box, value) in enumerate(
            zip(track.timestamps_s, track.boxes, values, strict=True)
        ):
            if t in skip:
                continue
            corners = ",".join(f"{v:.4f}" for v in np.clip(box / size + move, 0, 1))
            label = "SPEAKING_AUDIBLE" if value else "NOT_SPEAKING"
            rows.append(f"v,{time_s + shift_s:.3f},{corners},{label},v:{track.track_id}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def labels(two_people):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 2, len(track)) for track in two_people.tracks]


def test_every_frame_takes_the_label_of_its_own_face(two_people, labels, tmp_path):
    tracks, info = two_people.tracks, two_people.info
    path = write_csv(tmp_path / "l.csv", tracks, info, labels, shift_s=0.01, move=0.01)
    found = labels_from_csv(path, tracks, info)
    for mine, wanted in zip(found, labels, strict=True):
        assert mine.tolist() == wanted.tolist()


@pytest.mark.parametrize("wrong", [{"shift_s": 5.0}, {"move": 0.2}])
def test_a_csv_that_does_not_fit_says_where(two_people, labels, tmp_path, wrong):
    tracks, info = two_people.tracks, two_people.info
    path = write_csv(tmp_path / "l.csv", tracks, info, labels, **wrong)
    with pytest.raises(AnnotationError, match=r"frames of face 0 have no label, the first at"):
        labels_from_csv(path, tracks, info)


def test_labels_of_other_videos_in_the_file_are_others(two_people, labels, tmp_path):
    tracks, info = two_people.tracks, two_people.info
    path = write_csv(tmp_path / "l.csv", tracks, info, labels)
    rows = path.read_text().splitlines()
    mine = [row.replace("v,", f"{info.path.stem},", 1) for row in rows[1:]]
    # The same faces in another video say the opposite.
    turned = {"SPEAKING_AUDIBLE": "NOT_SPEAKING", "NOT_SPEAKING": "SPEAKING_AUDIBLE"}
    other = []
    for row in rows[1:]:
        *firsts, label, entity = row.split(",")
        other.append(",".join([*firsts, turned[label], entity]))
    for order in (mine + other, other + mine):
        path.write_text("\n".join([rows[0], *order]) + "\n")
        found = labels_from_csv(path, tracks, info)
        assert [f.tolist() for f in found] == [wanted.tolist() for wanted in labels]
    path.write_text("\n".join([rows[0], *other, mine[0].replace(info.path.stem, "w")]) + "\n")
    with pytest.raises(AnnotationError, match=f"holds boxes of v, w, none of {info.path.stem};"):
        labels_from_csv(path, tracks, info)


def test_two_labels_of_one_box_are_refused(two_people, labels, tmp_path):
    tracks, info = two_people.tracks, two_people.info
    path = write_csv(tmp_path / "l.csv", tracks, info, labels)
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows, rows[1]]) + "\n")
    with pytest.raises(AnnotationError, match="the box of another row at the same time; keep one"):
        labels_from_csv(path, tracks, info)


def test_labels_in_pixels_are_named_as_such(two_people, labels, tmp_path):
    tracks, info = two_people.tracks, two_people.info
    path = write_csv(tmp_path / "l.csv", tracks, replace(info, width=1, height=1), labels)
    rows = path.read_text().splitlines()
    fields = [row.split(",") for row in rows[1:]]
    rows[1:] = [",".join([*f[:2], "20", "30", "90", "120", *f[6:]]) for f in fields]
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(AnnotationError, match="is no share of the picture"):
        labels_from_csv(path, tracks, info)


def test_single_missing_rows_take_their_neighbour(two_people, labels, tmp_path):
    tracks, info = two_people.tracks, two_people.info
    path = write_csv(tmp_path / "l.csv", tracks, info, labels, skip=(3,))
    found = labels_from_csv(path, tracks, info)
    assert found[0][3] in (labels[0][2], labels[0][4])
    assert np.delete(found[0], 3).tolist() == np.delete(labels[0], 3).tolist()


def test_faces_found_anew_take_labels_where_they_overlap(two_people, labels):
    known = two_people.tracks
    anew = replace(known[1], track_id=7, boxes=known[1].boxes + 2.0)
    assert labels_from_tracks(anew, known, labels).tolist() == labels[1].tolist()
    elsewhere = replace(known[1], boxes=known[1].boxes + 1000.0)
    assert set(labels_from_tracks(elsewhere, known, labels)) == {-1}
    later = replace(known[1], frames=known[1].frames + 5)
    found = labels_from_tracks(later, known, labels)
    assert found[:-5].tolist() == labels[1][5:].tolist()
    assert set(found[-5:]) == {-1}


def test_without_a_csv_the_detector_decides(crop_segment, checkpoint):
    detector = resolve_detector(checkpoint, device="cpu")
    assert crop_segment.batch.speaking is None
    (segment,) = labelled([crop_segment], detector)
    with torch.no_grad():
        score = detector(**segment.batch.inputs).score
    assert torch.equal(segment.batch.speaking == 1, (score > 0) & segment.batch.mask)


def test_labels_of_a_csv_stand_with_their_clips(crop_segment, checkpoint, labels, tmp_path):
    clips = crop_segment.clips
    path = write_csv(tmp_path / "l.csv", clips.tracks, clips.info, labels)
    (segment,) = labelled([crop_segment], resolve_detector(checkpoint, device="cpu"), path)
    assert segment.clips is clips
    for row, (grid, wanted) in enumerate(zip(clips.grids, labels, strict=True)):
        n = int(segment.batch.n_frames[row])
        assert segment.batch.speaking[row, :n].tolist() == wanted[grid.frame_of_grid].tolist()
        assert not segment.batch.speaking[row, n:].any()

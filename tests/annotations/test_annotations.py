"""AVA tables: reading official files, checking and counting them, writing predictions."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushpull.annotations import LABELS, read_table, read_tables, summarise, write_predictions
from pushpull.errors import AnnotationError, ShapeError
from pushpull.metrics.scoring import score_files


def official(path, rows):
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def track(
    video="vid", number=1, start_s=900.0, n=5, label="NOT_SPEAKING", box=(0.1, 0.2, 0.3, 0.4)
):
    return [
        (video, f"{start_s + 0.04 * i:.2f}", *box, label, f"{video}_0900_0960:{number}")
        for i in range(n)
    ]


def test_official_rows_are_read_as_they_are(tmp_path):
    rows = [
        (
            "8nO5FFbIAog",
            "1440",
            0.160061,
            0.0604167,
            0.6356,
            0.8145,
            LABELS[0],
            "8nO5FFbIAog_1",
        ),
        ("8nO5FFbIAog", "1440.04", 0.16, 0.05625, 0.637195, 0.8125, LABELS[2], "8nO5FFbIAog_1"),
        ("8nO5FFbIAog", "1440.07", 0.16, 0.05625, 0.638719, 0.8083, LABELS[1], "8nO5FFbIAog_2"),
    ]
    table = read_table(official(tmp_path / "a.csv", rows))
    assert table.timestamps_s.tolist() == [1440, 1440.04, 1440.07]
    assert table.boxes[0].tolist() == [0.160061, 0.0604167, 0.6356, 0.8145]
    assert table.speaking.tolist() == [False, True, False]
    assert [table.entities[i] for i in table.entity] == ["8nO5FFbIAog_1"] * 2 + ["8nO5FFbIAog_2"]
    assert table.score is None


def test_a_summary_counts_what_is_there(tmp_path):
    rows = track(n=5) + track(number=2, n=3, label="SPEAKING_AUDIBLE")
    official(tmp_path / "one.csv", rows)
    official(tmp_path / "two.csv", track("other", n=2, label="SPEAKING_NOT_AUDIBLE"))
    summary = summarise(tmp_path)
    assert (summary.files, summary.videos, summary.tracks, summary.rows) == (2, 2, 3, 10)
    assert summary.labels == dict(zip(LABELS, (5, 2, 3), strict=True))
    assert summary.track_frames == (2, 2, 3, 5, 5)
    assert summary.tracks_by_fps == {25: 3}
    assert summary.hours == pytest.approx(10 * 0.04 / 3600)
    assert (summary.speaking_tracks, summary.problems) == (1, ())


PROBLEMS = {
    "boxes outside 0..1": track(box=(0.1, 0.2, 1.3, 0.4), n=2),
    "boxes without area": track(box=(0.3, 0.2, 0.3, 0.4), n=2),
    "rows repeated": track(n=3) + track(n=2),
    "timestamps that go back": track(start_s=901, n=1) + track(n=2) + track(start_s=900.5, n=1),
    "gaps inside a track": track(n=3) + track(start_s=900.24, n=3),
    "entities not named after their video": [("vid", 1, 0.1, 0.2, 0.3, 0.4, LABELS[0], "x:1")],
}


@pytest.mark.parametrize("what", PROBLEMS)
def test_a_broken_promise_is_found_and_named(tmp_path, what):
    file = official(tmp_path / "a.csv", PROBLEMS[what] + track(number=7, start_s=950))
    found = {problem.what: problem for problem in summarise(file).problems}
    assert what in found
    assert "a.csv, line" in found[what].example


def test_rows_sorted_by_time_hold_the_same_tracks_as_rows_sorted_by_face(tmp_path):
    rows = track(n=6) + track(number=2, n=9, start_s=900.02, label=LABELS[2]) + track("other", n=4)
    by_face = summarise(official(tmp_path / "faces.csv", rows))
    by_time = sorted(rows, key=lambda row: float(row[1]))
    assert summarise(official(tmp_path / "times.csv", by_time)) == by_face
    assert by_face.problems == ()


def test_a_gap_changes_the_length_of_a_track_and_not_its_rate(tmp_path):
    rows = track(n=10) + track(start_s=910, n=11)
    summary = summarise(official(tmp_path / "a.csv", rows))
    assert summary.tracks_by_fps == {25: 1}
    assert summary.track_s[-1] == pytest.approx(10.44)


def test_one_entity_name_in_two_videos_is_two_tracks(tmp_path):
    rows = [
        ("a", 1, 0.1, 0.2, 0.3, 0.4, LABELS[0], "1"),
        ("b", 1, 0.1, 0.2, 0.3, 0.4, LABELS[2], "1"),
    ]
    summary = summarise(official(tmp_path / "a.csv", rows))
    assert (summary.tracks, summary.videos, summary.speaking_tracks) == (2, 2, 1)
    assert "rows repeated" not in [problem.what for problem in summary.problems]


def test_an_entity_in_two_files_is_found(tmp_path):
    for name in ("a.csv", "b.csv"):
        official(tmp_path / name, track())
    problems = summarise(tmp_path).problems
    assert [p.what for p in problems] == ["entities that other files hold too"]


def test_a_tar_archive_reads_like_the_folder_it_was_made_of(tmp_path):
    folder = tmp_path / "csv"
    folder.mkdir()
    official(folder / "a.csv", track())
    official(folder / "b.csv", track("other"))
    with tarfile.open(tmp_path / "all.tar.xz", "w:xz") as archive:
        archive.add(folder, "csv")
    assert summarise(tmp_path / "all.tar.xz") == summarise(folder)


def test_a_table_without_end_in_an_archive_is_not_read(tmp_path):
    member = tarfile.TarInfo("all.csv")
    member.size = (1 << 30) + 1
    with gzip.open(tmp_path / "all.tar.gz", "wb", compresslevel=1) as file:
        file.write(member.tobuf())
        for _ in range(8):
            file.write(b"0" * (1 << 20))
    with pytest.raises(AnnotationError, match=r"all\.csv: is larger than 1073741824 bytes"):
        list(read_tables(tmp_path / "all.tar.gz"))


def test_digits_of_another_script_are_named(tmp_path):
    path = official(tmp_path / "a.csv", [("vid", "٣", 0.1, 0.1, 0.2, 0.2, "NOT_SPEAKING", "vid:1")])
    path.write_text("vid,0,0.1,0.1,0.2,0.2,NOT_SPEAKING,vid:1\n" + path.read_text())
    with pytest.raises(AnnotationError, match="line 2: frame_timestamp is '٣'; expected a number"):
        read_table(path)


def test_a_folder_with_the_name_of_a_table_is_a_folder(tmp_path):
    (tmp_path / "more.csv").mkdir()
    official(tmp_path / "more.csv" / "a.csv", track())
    assert [Path(table.source).name for table in read_tables(tmp_path)] == ["a.csv"]


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_where_no_csv_is_it_says_so(tmp_path, kind):
    path = tmp_path
    if kind == "tar":
        path = tmp_path / "none.tar"
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("readme.txt"), io.BytesIO())
    with pytest.raises(AnnotationError, match=r"holds no \.csv file"):
        list(read_tables(path))


def test_a_broken_archive_is_named(tmp_path):
    path = tmp_path / "broken.tar.xz"
    path.write_bytes(b"not an archive")
    with pytest.raises(AnnotationError, match=r"broken\.tar\.xz: is not a whole tar archive"):
        list(read_tables(path))


def test_an_archive_cut_short_is_named(tmp_path, shared):
    whole = shared / "data" / "ava-annotations" / "ava_activespeaker_train_v1.0.tar.xz"
    path = tmp_path / "half.tar.xz"
    with whole.open("rb") as file:
        path.write_bytes(file.read(300_000))
    with pytest.raises(AnnotationError, match=r"half\.tar\.xz: is not a whole tar archive"):
        list(read_tables(path))


def test_hidden_files_are_left_out(tmp_path):
    official(tmp_path / "a.csv", track())
    (tmp_path / "._a.csv").write_bytes(b"\0\5\x16\7")
    assert summarise(tmp_path).files == 1


def test_written_predictions_score_against_the_table_they_belong_to(tmp_path):
    rows = track("my, video", n=4, label="SPEAKING_AUDIBLE") + track("my, video", 2, n=4)
    truth = tmp_path / "truth.csv"
    names = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2"
    quoted = [[f'"{r[0]}"', *r[1:7], f'"{r[7]}"'] for r in rows]
    truth.write_text(
        f"{names},label,entity_id\n" + "".join(",".join(map(str, r)) + "\n" for r in quoted)
    )
    write_predictions(
        tmp_path / "p.csv",
        video_id="my, video",
        entity_ids=[row[7] for row in rows],
        timestamps_s=np.array([float(row[1]) for row in rows]),
        boxes=np.array([row[2:6] for row in rows], float),
        scores=np.array([1.5, 1.25, 1e-30, 3, -1, -2, 0, -1e9]),
    )
    result = score_files(truth, tmp_path / "p.csv")
    assert (result.average_precision, result.rows) == (1, 8)
    head, first = (tmp_path / "p.csv").read_text().splitlines()[:2]
    assert head == f"{names},label,entity_id,score"
    assert first == '"my, video",900.0,0.1,0.2,0.3,0.4,SPEAKING_AUDIBLE,"my, video_0900_0960:1",1.5'


def write(path, **changed):
    values = {
        "timestamps_s": np.array([0.0, 0.04]),
        "boxes": np.full((2, 4), 0.5),
        "scores": np.array([1.0, 2.0]),
    }
    write_predictions(path, video_id="v", entity_ids=["v:0", "v:1"], **(values | changed))


@given(st.floats(allow_nan=False))
@settings(max_examples=50, deadline=None)
def test_a_score_reads_back_exactly(tmp_path_factory, score):
    path = tmp_path_factory.mktemp("scores") / "p.csv"
    write(path, scores=np.array([score, -score]))
    assert read_table(path, need_score=True).score.tolist() == [score, -score]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scores": np.array([1.0])}, r"1 scores or labels for 2 rows"),
        ({"boxes": np.zeros((2, 2))}, r"boxes \(2, 2\)"),
        ({"scores": np.array([1, np.nan])}, r"row 1 \(v:1\) holds NaN"),
    ],
)
def test_predictions_that_no_tool_could_read_are_not_written(tmp_path, changed, message):
    with pytest.raises(ShapeError, match=message):
        write(tmp_path / "p.csv", **changed)
    assert not (tmp_path / "p.csv").exists()


def test_the_official_train_files_are_read_checked_and_counted(shared):
    summary = summarise(shared / "data/ava-annotations/ava_activespeaker_train_v1.0.tar.xz")
    assert (summary.files, summary.videos, summary.tracks) == (120, 120, 29_723)
    assert summary.rows == 2_676_314
    assert summary.labels == dict(zip(LABELS, (1_969_134, 24_776, 682_404), strict=True))
    assert {problem.what for problem in summary.problems} == {"gaps inside a track"}

"""Small AVA csv files for tests."""

HEADER = (
    "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,"
    "label,entity_id"
)
BOX = "0.1,0.2,0.3,0.4"


def truth_csv(path, labels, *, header=True, timestamps=None):
    short = {"S": "SPEAKING_AUDIBLE", "N": "NOT_SPEAKING", "Q": "SPEAKING_NOT_AUDIBLE"}
    timestamps = timestamps or [f"{900 + 0.04 * i:.2f}" for i in range(len(labels))]
    rows = [f"vid,{t},{BOX},{short[x]},vid:1" for t, x in zip(timestamps, labels, strict=True)]
    path.write_text("\n".join(([HEADER] if header else []) + rows) + "\n")
    return path


def predictions_csv(path, scores, *, timestamps=None):
    timestamps = timestamps or [f"{900 + 0.04 * i:.2f}" for i in range(len(scores))]
    rows = [
        f"vid,{t},{BOX},SPEAKING_AUDIBLE,vid:1,{s}" for t, s in zip(timestamps, scores, strict=True)
    ]
    path.write_text("\n".join([f"{HEADER},score", *rows]) + "\n")
    return path

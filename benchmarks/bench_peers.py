"""`pushpull detect` beside DeepTalk-ASD and the demo of Light-ASD, on the same real clips.

    python benchmarks/bench_peers.py CLIPS --peers DIR [--json FILE]

CLIPS as for `scripts/real_clips.py`. DIR holds checkouts `Light-ASD` and `DeepTalk-ASD` of the
published code, and `packages`, what they need beside our own environment:

    pip install --no-deps --target DIR/packages deeptalk-asd silero-vad 'scenedetect<0.7'
    pip install --no-deps --target DIR/packages scikit-learn joblib threadpoolctl tqdm termcolor

Their face finders (S3FD, InspireFace) and DeepTalk's voiceprints come from servers of their own and
are not there: both are given the faces that `pushpull detect` found, which then does its work again
with these faces given. DeepTalk's ONNX files are made of the weights in its checkout by its own
script. How long S3FD takes is measured with random weights. Every run is a process on one core,
start included; nothing is drawn. Average precision is over the frames of the longest face of clips
whose labels were made by people: all of a clip speaks or none of it.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import types
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent.parent
CLIPS = (
    "msd_speaking_4.mp4",
    "msd_speaking_5.mp4",
    "msd_silence_3.mp4",
    "msd_silence_9.mp4",
    "iianet_video.mp4",
)
HUMAN = "human label"
"""What the basis of a clip's label begins with where people made it."""

DETECTORS = {"light": "light-asd-ava", "deeptalk": "lr-asd-talkset"}
"""Of ours, with the weights of each peer."""

UNHEARD = -10.0
"""Score of a frame that DeepTalk never judges: no voice was found there."""

CHUNK = 480
"""Samples that DeepTalk's demo hands over at a time."""

TRIM_S, LEAST_CORE_S = 0.05, 0.6
"""What its demo leaves out at both ends of a turn, if so much is left."""

S3FD_FRAMES = 5


def main() -> None:
    """Run all sides on all clips, print a record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--drive", choices=list(DRIVES), help="for this script itself")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--boxes", type=Path)
    args = parser.parse_args()
    if args.drive:
        sys.path.append(str(args.peers.resolve() / "packages"))
        DRIVES[args.drive](args.peers.resolve(), args.clips, args.boxes, args.out)
        return
    index = {clip["file"]: clip for clip in json.loads((args.clips / "index.json").read_text())}
    record: dict[str, Any] = {"clips": {}, "commits": commits(args.peers), "average_precision": {}}
    scores: dict[str, dict[str, dict[int, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        driven(args.peers, "export", args.clips / CLIPS[0], folder / "models")
        for file in CLIPS:
            clip = args.clips / file
            row, found = one_clip(clip, folder / clip.stem, args.peers, folder / "models")
            record["clips"][file] = {
                "seconds": index[file]["seconds"],
                "size": [index[file]["width"], index[file]["height"]],
                "speaking": index[file]["speaking"].split(":")[0],
                "human": index[file]["label_basis"].startswith(HUMAN),
                **row,
            }
            scores[file] = found
            print(file, json.dumps(record["clips"][file]), flush=True)
        big = args.clips / CLIPS[-1]
        driven(args.peers, "s3fd", big, folder / "s3fd.json")
        record["s3fd"] = {"file": big.name, **json.loads((folder / "s3fd.json").read_text())}
    record["average_precision"] = precision_of(record["clips"], scores)
    text = json.dumps(record, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


def one_clip(
    clip: Path, folder: Path, peers: Path, models: Path
) -> tuple[dict[str, Any], dict[str, dict[int, float]]]:
    """What each side takes, and its scores of the longest face by frame."""
    folder.mkdir()
    runs, scores = {}, {}
    boxes = folder / "boxes.json"
    row: dict[str, Any] = {"runs": runs}
    for peer, detector in DETECTORS.items():
        out = folder / f"ours-{peer}"
        command = [sys.executable, "-m", "pushpull", "detect", str(clip), "-o", str(out)]
        command += ["-d", detector, "--video", "none", "--allow-silent", "--quiet"]
        runs[f"ours-{peer}"] = timed(command)
        found = json.loads((out / f"{clip.stem}.json").read_text())
        scores[f"ours-{peer}"] = of_longest(
            [(t["frame_numbers"], t["scores"]) for t in found["tracks"]]
        )
        if not boxes.exists():
            boxes.write_text((out / f"{clip.stem}.json").read_text())
            row["tracks"] = len(found["tracks"])
            row["face_frames"] = sum(len(t["frame_numbers"]) for t in found["tracks"])
        given = [*command, "--boxes", str(boxes)]
        given[given.index("-o") + 1] = str(folder / f"given-{peer}")
        runs[f"given-{peer}"] = timed(given)
        theirs = folder / f"{peer}.json"
        runs[peer] = driven(peers, peer, clip, theirs if peer == "light" else models, boxes)
        if peer == "deeptalk":
            theirs = models / "scores.json"
        tracks = json.loads(theirs.read_text())
        scores[peer] = of_longest([(t["frames"], t["scores"]) for t in tracks])
    return row, scores


def of_longest(tracks: list[tuple[list[int], list[float]]]) -> dict[int, float]:
    """Scores of the longest face by frame."""
    if not tracks:
        return {}
    frames, scores = max(tracks, key=lambda track: len(track[0]))
    return dict(zip(frames, scores, strict=True))


def precision_of(
    clips: dict[str, Any], scores: dict[str, dict[str, dict[int, float]]]
) -> dict[str, Any]:
    """Average precision of each side over the frames that all sides have scored."""
    from pushpull.metrics import average_precision

    values: dict[str, list[float]] = {}
    speaking: list[bool] = []
    for file, clip in clips.items():
        if not clip["human"]:
            continue
        common = sorted(set.intersection(*(set(found) for found in scores[file].values())))
        speaking += [clip["speaking"] == "yes"] * len(common)
        for side, found in scores[file].items():
            values.setdefault(side, []).extend(found[frame] for frame in common)
    labels = np.array(speaking)
    of = {side: average_precision(np.array(found), labels) for side, found in values.items()}
    share = float(labels.mean())
    return {"frames": len(labels), "speaking": share, **{k: float(v) for k, v in of.items()}}


def driven(
    peers: Path, drive: str, clip: Path, out: Path, boxes: Path | None = None
) -> dict[str, float]:
    """A peer, run by this script in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), str(clip.resolve())]
    command += ["--peers", str(peers.resolve()), "--drive", drive, "--out", str(out.resolve())]
    return timed(command + ([] if boxes is None else ["--boxes", str(boxes.resolve())]))


def timed(command: list[str]) -> dict[str, float]:
    """Processor and wall seconds of a process on one core."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE / "src"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "OPENCV_FOR_THREADS_NUM": "1",
        "DEEPTALK_ASD_OFFLINE": "1",
    }
    core = min(os.sched_getaffinity(0))
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=partial(os.sched_setaffinity, 0, {core}),
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed: {said[-2000:]}")
    return {
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "wall_s": round(time.perf_counter() - start, 2),
    }


def commits(peers: Path) -> dict[str, str]:
    """Of the checkouts."""
    line = ["git", "rev-parse", "--short", "HEAD"]
    return {
        name: subprocess.run(
            line, cwd=peers / name, capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("Light-ASD", "DeepTalk-ASD")
    }


def faces_by_frame(boxes: Path) -> dict[int, list[tuple[int, list[float]]]]:
    """Number of the face and box, of each frame."""
    found: dict[int, list[tuple[int, list[float]]]] = {}
    for number, track in enumerate(json.loads(boxes.read_text())["tracks"]):
        for frame, box in zip(track["frame_numbers"], track["boxes"], strict=True):
            found.setdefault(frame, []).append((number, box))
    return found


def drive_light(peers: Path, clip: Path, boxes: Path, out: Path) -> None:
    """`Columbia_test.py` of Light-ASD on the CPU, with faces given and nothing drawn."""
    import imageio_ffmpeg

    demo = light_demo(peers, clip, out.parent / "light")
    tools = out.parent / "tools"
    tools.mkdir()
    (tools / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
    given = faces_by_frame(boxes)

    def faces(args: Any) -> list[list[dict[str, Any]]]:
        count = len(list(Path(args.pyframesPath).glob("*.jpg")))
        return [
            [{"frame": i, "bbox": box, "conf": 1.0} for _, box in given.get(i, [])]
            for i in range(count)
        ]

    demo.inference_video, demo.visualization = faces, lambda *args: None
    demo.main()
    work = Path(demo.args.pyworkPath)
    tracks = pickle.loads((work / "tracks.pckl").read_bytes())
    rows = []
    for track, scores in zip(
        tracks, pickle.loads((work / "scores.pckl").read_bytes()), strict=True
    ):
        frames = track["track"]["frame"].tolist()[: len(scores)]
        # As it draws them: the mean of five.
        near = [scores[max(i - 2, 0) : min(i + 3, len(scores) - 1)] for i in range(len(frames))]
        rows.append({"frames": frames, "scores": [float(np.mean(s)) for s in near]})
    out.write_text(json.dumps(rows))


def light_demo(peers: Path, clip: Path, folder: Path) -> Any:
    """The module of its demo, with what is CUDA alone taken out."""
    import torch

    checkout = peers / "Light-ASD"
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    stay = lambda self, *args, **kwargs: self  # noqa: E731
    torch.Tensor.cuda = torch.nn.Module.cuda = stay  # type: ignore[method-assign, assignment]
    torch.load = partial(torch.load, map_location="cpu")
    s3fd: Any = types.ModuleType("model.faceDetector.s3fd")
    s3fd.S3FD, s3fd.__path__ = None, [str(checkout / "model/faceDetector/s3fd")]
    sys.modules["model.faceDetector.s3fd"] = s3fd
    folder.mkdir(parents=True, exist_ok=True)
    (folder / clip.name).symlink_to(clip)
    sys.argv = ["Columbia_test.py", "--videoName", clip.stem, "--videoFolder", str(folder)]
    import Columbia_test  # type: ignore[import-not-found]

    return Columbia_test


def drive_s3fd(peers: Path, clip: Path, boxes: Path, out: Path) -> None:
    """Processor seconds of its face finder on a frame at the demo's scale, with random weights."""
    import cv2
    import torch

    with tempfile.TemporaryDirectory() as name:
        light_demo(peers, clip, Path(name))
    from model.faceDetector.s3fd.nets import S3FDNet  # type: ignore[import-not-found]

    net = S3FDNet(device="cpu").eval()
    video = cv2.VideoCapture(str(clip))
    _, image = video.read()
    small = cv2.resize(image, (0, 0), fx=0.25, fy=0.25)
    x = torch.from_numpy(small).permute(2, 0, 1)[None].float()
    start = 0.0
    with torch.no_grad():
        for i in range(S3FD_FRAMES + 1):
            net(x)
            start = start if i else time.process_time()
    each = (time.process_time() - start) / S3FD_FRAMES
    out.write_text(json.dumps({"cpu_s_a_frame": round(each, 3)}))


def drive_export(peers: Path, clip: Path, boxes: Path, out: Path) -> None:
    """DeepTalk's ONNX files of the weights in its checkout, and the VAD that silero-vad ships."""
    import shutil

    import silero_vad  # type: ignore[import-not-found]
    import torch

    code = peers / "DeepTalk-ASD/LR_ASD_ONNX"
    sys.path.insert(0, str(code))
    beartype: Any = types.ModuleType("beartype")
    beartype.beartype = None
    sys.modules.setdefault("beartype", beartype)
    torch.onnx.export = partial(torch.onnx.export, dynamo=False)
    import export_onnx  # type: ignore[import-not-found]

    out.mkdir()
    weights = str(code / "weights/finetuning_TalkSet.model")
    model, loss = export_onnx.load_model(weights, torch.device("cpu"))
    export_onnx.export_audio_frontend(model, str(out), "cpu", 25)
    export_onnx.export_visual_frontend(model, str(out), "cpu", 25)
    export_onnx.export_av_backend(model, loss, str(out), "cpu", 25)
    shutil.copy(Path(silero_vad.__file__).parent / "data/silero_vad.onnx", out)


def drive_deeptalk(peers: Path, clip: Path, boxes: Path, out: Path) -> None:
    """The loop of DeepTalk's `video_asd_demo.py`, with faces given and nothing drawn."""
    import cv2
    from deeptalk_asd import AudioFrame, TurnState  # type: ignore[import-not-found]
    from deeptalk_asd.speaker_detector.interface import FaceData  # type: ignore[import-not-found]
    from deeptalk_asd.speaker_detector.lrasd_onnx import (  # type: ignore[import-not-found]
        LRASDOnnxSpeakerDetector,
    )
    from deeptalk_asd.turn_detector.silero_vad_turn_detector import (  # type: ignore[import-not-found]
        SileroVadTurnDetector,
    )

    speakers = LRASDOnnxSpeakerDetector(model_dir=str(out))
    padding_ms = int(1000 * TRIM_S)
    turns = SileroVadTurnDetector(
        model_dir=str(out), prefix_padding_ms=padding_ms, silence_duration_ms=padding_ms
    )
    sound = sound_of(clip)
    given = faces_by_frame(boxes)
    video = cv2.VideoCapture(str(clip))
    fps = video.get(cv2.CAP_PROP_FPS)
    heard, index, start = 0, 0, time.perf_counter()
    judged: list[tuple[float, float, dict[int, float]]] = []
    while True:
        more, image = video.read()
        if not more:
            break
        while heard < int(index / fps * 16_000) and heard < len(sound):
            chunk = sound[heard : heard + CHUNK]
            now_s = start + heard / 16_000
            speakers.append_audio(chunk.tobytes(), now_s)
            turn = turns.detect(AudioFrame(chunk.tobytes(), 16_000, 1, len(chunk)))
            span = None
            length_s = turn.duration_seconds()
            core_s = length_s - 2 * TRIM_S
            if turn.turn_state == TurnState.TURN_CONFIRMED:
                span = (now_s - length_s, now_s)
            elif turn.turn_state == TurnState.TURN_END:
                span = (now_s - length_s, now_s)
                if core_s >= LEAST_CORE_S:
                    span = (now_s - TRIM_S - core_s, now_s - TRIM_S)
            if span is not None:
                judged.append((span[0] - start, span[1] - start, speakers.evaluate(*span)))
            heard += len(chunk)
        faces = []
        for number, (x1, y1, x2, y2) in given.get(index, []):
            left, top = max(0, int(x1)), max(0, int(y1))
            cut = image[top : int(y2), left : int(x2)]
            if cut.size:
                faces.append(FaceData(number, cut, x1, y1, x2 - x1, y2 - y1))
        if faces:
            speakers.append_video(faces, start + index / fps)
        index += 1
    rows: dict[int, dict[str, list[Any]]] = {}
    for frame, here in sorted(given.items()):
        for number, _ in here:
            score = UNHEARD
            for first_s, last_s, found in judged:
                if first_s <= frame / fps <= last_s and number in found:
                    score = found[number]
            row = rows.setdefault(number, {"frames": [], "scores": []})
            row["frames"].append(frame)
            row["scores"].append(score)
    (out / "scores.json").write_text(json.dumps(list(rows.values())))


def sound_of(clip: Path) -> Any:
    """Sound of a clip, int16 at 16 kHz, as DeepTalk's demo has it from FFmpeg."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(clip), "-vn", "-acodec", "pcm_s16le"]
    command += ["-ar", "16000", "-ac", "1", "-f", "s16le", "pipe:1"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.int16)


DRIVES = {
    "light": drive_light,
    "deeptalk": drive_deeptalk,
    "export": drive_export,
    "s3fd": drive_s3fd,
}


if __name__ == "__main__":
    main()

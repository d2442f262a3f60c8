"""All benchmarks, and docs/measurements/benchmarks.md from their results.

    python benchmarks/run.py --peers DIR [--only models score detect attacks] [--out DIR]
    python benchmarks/run.py --clips CLIPS --before CHECKOUT --only cost
    python benchmarks/run.py --clips CLIPS --peers DIR --only memory peers many

DIR holds checkouts of the published code: TalkNet-ASD, Light-ASD and LR-ASD (for `peers` what
`bench_peers.py` says); CLIPS real clips, CHECKOUT an earlier commit: see `bench_cost.py`. Results
are kept as JSON in OUT; the document is written from what is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "measurements" / "benchmarks.md"
PARTS = (
    "models", "score", "detect", "memory", "peers", "cost", "many", "live", "attacks", "synth",
    "training", "storage", "ava", "app",
)  # fmt: skip
OF_CLIPS = ("memory", "peers", "cost", "many", "live")


def main() -> None:
    """Run what is asked for, then write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--times", type=int, default=3, help="runs of each kind of cost")
    parser.add_argument("--only", nargs="*", choices=PARTS)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    asked = [p for p in PARTS if p not in OF_CLIPS or args.clips]
    parts = asked if args.only is None else args.only
    for part in parts:
        command = [sys.executable, str(HERE / f"bench_{part}.py"), *peer_options(part, args.peers)]
        if part in OF_CLIPS:
            if args.clips is None:
                parser.error(f"{part} needs --clips")
            command += [str(args.clips)]
        if part == "cost":
            command += ["--times", str(args.times)]
            command += [] if args.before is None else ["--before", str(args.before)]
        subprocess.run([*command, "--json", str(args.out / f"{part}.json")], check=True)
        stamp(args.out / f"{part}.json")
    results = {
        p: json.loads(f.read_text()) for p in PARTS if (f := args.out / f"{p}.json").exists()
    }
    args.document.write_text(document(results))


def peer_options(part: str, peers: Path | None) -> list[str]:
    """Where the published code lies."""
    if peers is None:
        return []
    if part == "models":
        return [
            *("--peer-talknet", str(peers / "TalkNet-ASD")),
            *("--peer-light-asd", str(peers / "Light-ASD")),
            *("--peer-lr-asd", str(peers / "LR-ASD")),
        ]
    if part == "score":
        script = "utils/get_ava_active_speaker_performance.py"
        return ["--official", str(peers / "TalkNet-ASD" / script)]
    if part == "peers":
        return ["--peers", str(peers)]
    if part in ("training", "ava"):
        return ["--peer", str(peers / "TalkNet-ASD")]
    return []


def stamp(path: Path) -> None:
    """Add when and on what a result was measured."""
    record = json.loads(path.read_text())
    cpu = Path("/proc/cpuinfo")
    names = [s for s in cpu.read_text().splitlines() if "model name" in s] if cpu.exists() else []
    record["measured"] = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "processor": names[0].split(":")[1].strip() if names else "unknown",
        "cores": len(names),
        "python": sys.version.split()[0],
        "torch": version("torch"),
        "numpy": version("numpy"),
    }
    path.write_text(json.dumps(record, indent=1) + "\n")


def version(package: str) -> str:
    """Installed version."""
    from importlib.metadata import version as installed

    return installed(package)


def document(results: dict[str, Any]) -> str:
    """docs/measurements/benchmarks.md."""
    lines = [
        "# Speed and memory",
        "",
        "Every figure is a ratio or a bound measured in one run, by `make bench` or "
        "`python benchmarks/run.py --peers DIR` with checkouts of the published code in DIR. "
        "This file is written by that command; the raw results are in `benchmarks/results`.",
    ]
    writers = {
        "models": model_lines,
        "score": score_lines,
        "detect": detect_lines,
        "memory": memory_lines,
        "peers": peers_lines,
        "cost": cost_lines,
        "many": many_lines,
        "live": live_lines,
        "attacks": attack_lines,
        "synth": synth_lines,
        "training": training_lines,
        "storage": storage_lines,
        "ava": ava_lines,
        "app": app_lines,
    }
    for part, result in results.items():
        lines += ["", *writers[part](result), "", measured_line(result)]
        if part == "cost":
            plan = plan_lines(result)
            lines += ["", *plan] if plan else []
    return "\n".join(lines) + "\n"


def measured_line(result: dict[str, Any]) -> str:
    """Machine, versions, date."""
    m = result["measured"]
    return (
        f"*{m['date']}, {m['processor']}, {m['cores']} cores, Python {m['python']}, "
        f"torch {m['torch']}, numpy {m['numpy']}.*"
    )


def model_lines(result: dict[str, Any]) -> list[str]:
    """Each detector against the published code."""
    lines = [
        "## Detectors against the published code",
        "",
        f"One clip of {result['frames']} frames, {result['threads']} threads, runs alternating, "
        f"median ratio of {result['runs']} pairs (below 1: ours is faster). Backward is to the "
        f"inputs. Processor capability: {result['cpu_capability']}.",
        "",
        "| model | precision | forward | forward + backward | largest relative difference |",
        "|---|---|---|---|---|",
    ]
    for name, model in result["models"].items():
        for precision in (p for p in model if p != "difference"):
            row = model[precision]
            lines.append(
                f"| {name} | {precision} | {row['forward']['ratio']:.2f} | "
                f"{row['forward_backward']['ratio']:.2f} | {model['difference']:.1e} |"
            )
    return lines


def score_lines(result: dict[str, Any]) -> list[str]:
    """The score against the official script."""
    lines = [
        "## `pushpull score` against the official script",
        "",
        f"Whole processes on the same {result['rows']} rows, alternating, medians.",
        "",
        "| | seconds | peak memory |",
        "|---|---|---|",
    ]
    for who, seconds in result["median_s"].items():
        lines.append(f"| {who} | {seconds:.2f} | {result['peak_mib'][who]:.0f} MiB |")
    if "times_faster" in result:
        lines += ["", f"{result['times_faster']:.1f} times faster."]
    return lines


def detect_lines(result: dict[str, Any]) -> list[str]:
    """Detection end to end."""
    lines = [
        "## `pushpull detect` end to end",
        "",
        f"One synthetic face, 640 x 480, 25 fps, {result['detector']}, faces by "
        f"{result['face_finder']}, all four outputs; the long video is the short one repeated.",
        "",
        "| video | wall | times real time | peak memory | by stage |",
        "|---|---|---|---|---|",
    ]
    for run in (result["short"], result["long"]):
        stages = ", ".join(f"{name} {s:.1f} s" for name, s in run["stages_s"].items())
        lines.append(
            f"| {run['video_s']:.0f} s | {run['wall_s']:.1f} s | {run['speed']:.2f} | "
            f"{run['peak_mib']:.0f} MiB | {stages} |"
        )
    return [*lines, "", f"Peak memory, long against short: {result['memory_ratio']:.2f}."]


def memory_lines(result: dict[str, Any]) -> list[str]:
    """Memory of long work."""
    lines = [
        "## Memory of long work",
        "",
        f"{result['detector']}, faces by {result['face_finder']}, one thread; the whole command "
        "and its children.",
        "",
        "| | faces | processor s | peak memory | bar |",
        "|---|---|---|---|---|",
    ]
    works = {"detect": "`pushpull detect`, two people, 1920 x 1080", "attack": "`pushpull attack`"}
    works["attack"] += f", three people side by side, {result['attack']['steps']} steps"
    for part, what in works.items():
        if part in result:
            row = result[part]
            lines.append(
                f"| {what}, {row['seconds']} s | {row['tracks']} in {row['face_frames']} frames | "
                f"{row['cpu_s']:.0f} | {row['peak_mib']} MiB | {row['bar_mib']} MiB |"
            )
    if "detect" in result:
        detected = result["detect"]
        thirds = ", ".join(str(mib) for mib in detected["thirds_mib"])
        lines += [
            "",
            f"Detection by thirds of its time: at most {thirds} MiB; later ones take up to "
            f"{detected['later_of_first']:.2f} times what the first does.",
        ]
    return [*lines, "", same_line(result["same"])]


def same_line(same: dict[str, Any]) -> str:
    """An adversary found window by window beside one found with everything kept."""
    sound, faces = (same["apart"][kind] for kind in ("waveform", "faces"))
    before, after = (f"{100 * right:.2f}" for right in same["right"])
    return (
        f"The same attack on {same['seconds']} s of the three ({same['face_frames']} frames), "
        f"window by window, takes {same['peak_mib']['windows']} MiB; with everything kept for the "
        f"gradient {same['peak_mib']['unbounded']} MiB. The adversaries are apart by up to "
        f"{sound['largest']:.2g} in the sound and {faces['largest']:.2g} grey levels in the faces, "
        f"their scores by up to {same['scores_apart']:.2g}; they leave {before} and {after} % of "
        "frames right."
    )


FILMS = {
    "three": "three real people side by side, 24 s",
    "synthetic": "three synthetic people side by side, 24 s",
    "one": "one real person, 60 s",
    "long": "two real people of 1920 x 1080, 600 s",
}


SIDES = {
    "ours-light": "`pushpull detect`, light-asd-ava",
    "given-light": "the same, faces given",
    "light": "Light-ASD's demo (same weights), faces given",
    "ours-deeptalk": "`pushpull detect`, lr-asd-talkset",
    "given-deeptalk": "the same, faces given",
    "deeptalk": "DeepTalk-ASD (same weights), faces given",
}


FPS = 25
"""Of what Light-ASD's demo makes of every video."""


def peers_lines(result: dict[str, Any]) -> list[str]:
    """Detection beside what others have published."""
    clips, precision = result["clips"], result["average_precision"]
    seconds = sum(clip["seconds"] for clip in clips.values())
    names = ", ".join(
        f"`{file}` ({clip['seconds']:.0f} s, {clip['size'][0]} x {clip['size'][1]}, "
        f"{clip['tracks']} faces in {clip['face_frames']} frames)"
        for file, clip in clips.items()
    )
    kept = ", ".join(f"{name} {commit}" for name, commit in result["commits"].items())
    lines = [
        "## `pushpull detect` beside Light-ASD's demo and DeepTalk-ASD",
        "",
        f"{kept}. Clips: {names}. Whole processes on one core, start included, nothing drawn. The "
        "face finders of both (S3FD, InspireFace) and DeepTalk's voiceprints cannot be had without "
        "their own servers: both were given the faces that `pushpull detect` found, so faces found "
        "are ours alone. S3FD itself, with random weights, takes "
        f"{result['s3fd']['cpu_s_a_frame']:.2f} processor seconds a frame of "
        f"`{result['s3fd']['file']}`. Average precision over {precision['frames']} frames of the "
        f"clips that people have labelled ({100 * precision['speaking']:.0f} % speaking): too few "
        "for more than a check that all work.",
        "",
        "| | processor s | of the video's seconds | average precision |",
        "|---|---|---|---|",
    ]
    cpu_s = {side: sum(clip["runs"][side]["cpu_s"] for clip in clips.values()) for side in SIDES}
    for side, text in SIDES.items():
        of = f"{100 * precision[side]:.1f}" if side in precision else "as above"
        lines.append(f"| {text} | {cpu_s[side]:.1f} | {cpu_s[side] / seconds:.2f} | {of} |")
    found, clip = result["s3fd"], clips[result["s3fd"]["file"]]
    finding_s = found["cpu_s_a_frame"] * FPS * clip["seconds"]
    with_faces = (clip["runs"]["light"]["cpu_s"] + finding_s) / clip["runs"]["ours-light"]["cpu_s"]
    ratio = {peer: cpu_s[peer] / cpu_s[f"given-{peer}"] for peer in ("light", "deeptalk")}
    return [
        *lines,
        "",
        f"With the same faces and weights Light-ASD's demo takes {ratio['light']:.1f} times our "
        f"processor seconds, and with its own face finder on `{found['file']}` (computed, not "
        f"run) {with_faces:.0f} times. DeepTalk-ASD takes {ratio['deeptalk']:.2f} times ours: it "
        "judges only turns in which it hears a voice, a mean for each, and leaves other frames "
        "without a score, which count as silent here. On the short clips most of ours is the "
        "start.",
    ]


def many_lines(result: dict[str, Any]) -> list[str]:
    """Many short videos."""
    names = {
        "one": "one worker",
        "two": "two workers",
        "killed": "two, begun again after SIGKILL",
        "ray": "two nodes of a Ray cluster",
        "ray-killed": "the same, begun again after SIGKILL",
    }
    lines = [
        "## `pushpull detect FOLDER` on many videos",
        "",
        f"{result['videos']} videos of 2 to 3 s ({result['seconds']} s in all; pieces of real "
        f"clips and synthetic people), {result['detector']}, faces by {result['face_finder']}, no "
        f"drawn video; one thread a process; load of the machine before {result['load_before']}.",
        "",
        "| | videos a minute | wall s | done when killed |",
        "|---|---|---|---|",
    ]
    for kind, run in result["runs"].items():
        killed = run.get("done_when_killed", "")
        rate = "" if killed else f"{run['videos_per_minute']:.0f}"
        lines.append(f"| {names[kind]} | {rate} | {run['wall_s']:.0f} | {killed} |")
    different = sum(len(files) for files in result["different"].values())
    return [
        *lines,
        "",
        f"Two workers do {result['ratio']:.2f} times what one does (bar {result['bar']}). Of "
        f"{result['files']} files {different} differ between these runs, times apart.",
    ]


def cost_lines(result: dict[str, Any]) -> list[str]:
    """What detection costs."""
    lines = [
        "## What `pushpull detect` costs",
        "",
        f"1280 x 720, 25 fps, {result['detector']}, faces by {result['face_finder']}; the whole "
        "command, start and all files included; the least of a few runs, both sides in turn. "
        "Before: the commit before detection became one pass.",
        "",
        "| film | threads | drawn video | processor s before | now | ratio | wall s before | now | "
        "wall of processor | times real time | peak memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    none = {"cpu_s": float("nan"), "wall_s": float("nan")}
    for film, text in FILMS.items():
        for run in result.get(film, {}).get("runs", []):
            before, after = run.get("before", none), run["after"]
            lines.append(
                f"| {text} | {run['threads']} | {'yes' if run['drawn'] else 'no'} | "
                f"{before['cpu_s']:.1f} | {after['cpu_s']:.1f} | "
                f"{after['cpu_s'] / before['cpu_s']:.2f} | {before['wall_s']:.1f} | "
                f"{after['wall_s']:.1f} | {run['wall_of_cpu']:.2f} | "
                f"{run['times_real_time']:.2f} | {after['peak_mib']} MiB |"
            )
    for film, text in FILMS.items():
        same = result.get(film, {}).get("agreement")
        if same:
            frames = same["face_frames"]
            lines += [
                "",
                f"{text[0].upper()}{text[1:]}: faces in {frames['before']} frames before, in "
                f"{frames['after']} now, in {frames['both']} of them the same; of these "
                f"{100 * same['same_decisions']:.1f} % are judged alike, median difference of "
                f"scores {same['median_score_difference']:.2f}.",
            ]
    return lines


def plan_lines(result: dict[str, Any]) -> list[str]:
    """What many hours would take, by what was measured of one film of each kind."""
    lines = [
        "## Ten thousand hours",
        "",
        "By the runs above on one thread without the drawn video, one process a core:",
        "",
        "| film | processor hours for 10 000 h | memory a process | csv | json | parquet |",
        "|---|---|---|---|---|---|",
    ]
    rows = []
    for film, text in FILMS.items():
        for run in result.get(film, {}).get("runs", []):
            if run["threads"] == "1" and not run["drawn"] and "bytes" in result[film]:
                seconds, after = result[film]["seconds"], run["after"]
                sizes = [
                    f"{result[film]['bytes'][suffix] / seconds * 3.6e7 / 1e9:.0f} GB"
                    for suffix in ("csv", "json", "parquet")
                ]
                rows.append(
                    f"| {text} | {1e4 * after['cpu_s'] / seconds:.0f} | {after['peak_mib']} MiB | "
                    + " | ".join(sizes)
                    + " |"
                )
    return [*lines, *rows] if rows else []


def live_lines(result: dict[str, Any]) -> list[str]:
    """Live detection for minutes."""
    thirds = ", ".join(f"{mib:.0f}" for mib in result["mean_mib_by_thirds"])
    return [
        "## `pushpull live`",
        "",
        f"Three real people side by side, 640 x 360 at 25 pictures a second, for "
        f"{result['minutes']:g} minutes as a camera would give them; {result['detector']}, faces "
        f"by {result['face_finder']}: {result['scores']} scores, "
        f"{100 * result['within_1_s']:.1f} % of them first given within a second of their picture, "
        f"95 % within {result['late_95_s']:.2f} s; {result['pictures_left_out']} of "
        f"{result['pictures'] + result['pictures_left_out']} pictures left out; "
        f"{result['cpu_s_per_s']:.2f} processor seconds a second, "
        f"{result['others_cpu_s_per_s']:.2f} of other programs meanwhile; "
        "memory in the mean of each third "
        f"of the time {thirds} MiB, at most {result['peak_mib']} MiB.",
    ]


def ava_lines(result: dict[str, Any]) -> list[str]:
    """AVA preparation."""
    width, height = result["size"]
    line = (
        f"{result['rows']} faces of one {result['video_s']:.0f} s video, {width} x {height}, "
        f"H.264, one process: {result['ours_rows_per_s']:.0f} faces/s, start and sound "
        "included"
    )
    if "times_faster" in result:
        line += (
            f"; TalkNet's published seek per row {result['theirs_rows_per_s']:.0f} faces/s: "
            f"{result['times_faster']:.1f} times faster"
        )
    return ["## `pushpull data ava` against the published preparation", "", line + "."]


def app_lines(result: dict[str, Any]) -> list[str]:
    """The web app under load."""
    return [
        "## `pushpull app` under load",
        "",
        f"{result['visitors']} visitors at once, each with a clip of {result['seconds']:.0f} s and "
        f"two faces, one job at a time ({result['detector']}): {result['done']} done, the first "
        f"after {result['first_done_s']:.0f} s, all after {result['wall_s']:.0f} s. Of "
        f"{result['pages_opened']} pages opened meanwhile the slowest came in "
        f"{result['longest_answer_s']:.2f} s (median {1000 * result['median_answer_s']:.0f} ms). "
        f"Server and processes together took {result['peak_mib']} MiB at most "
        f"({result['idle_mib']} MiB before).",
    ]


def attack_lines(result: dict[str, Any]) -> list[str]:
    """Attacks."""
    lines = [
        "## Attacks",
        "",
        f"{result['threads']} threads, one clip of {result['frames']} frames, sides alternating, "
        "median ratio of pairs (below 1: ours is faster). A step is from one gradient to the next. "
        "Libraries take a detector (Light-ASD) whose two inputs are packed in one; a whole call of "
        "ours also evaluates the last point and measures the budget again.",
        "",
        "| what | ours | against | ratio |",
        "|---|---|---|---|",
    ]
    rows = [
        (f"step of joint PGD on {name} against a bare forward and backward pass", row)
        for name, row in result["step"].items()
    ]
    packed = {name: row for name, row in result["packed"].items() if "left_out" not in row}
    for part, what in (("step", "step of BIM"), ("call", "whole call of BIM")):
        rows += [(f"{what} against {name}", row[part]) for name, row in packed.items()]
    audio = result["audio_only"]
    rows.append(("step on the sound alone against a joint step, talknet", audio))
    for what, row in rows:
        lines.append(
            f"| {what} | {row['ours_s']:.3f} s | {row['theirs_s']:.3f} s | {row['ratio']:.2f} |"
        )
    lines += [
        "",
        f"With faces encoded once a step on the sound is {audio['times_faster']:.1f} times faster; "
        f"its gradient differs from the joint one by {audio['gradient_difference']:.1e} relative.",
    ]
    if "arithmetic" in result:
        lines += ["", *arithmetic_lines(result["arithmetic"])]
    left_out = [row["left_out"] for row in result["packed"].values() if "left_out" in row]
    lines += ["", *(f"Left out: {why}." for why in left_out)] if left_out else []
    for key, what in (("by_steps", "steps"), ("by_clips", "clips")):
        part = result[key]
        values = ", ".join(f"{n}: {s:.2f} s" for n, s in part["seconds"].items())
        farthest = max(part["over_line"].values(), key=lambda ratio: abs(ratio - 1))
        lines += [
            "",
            f"Whole attack on Light-ASD, 25 frames, by number of {what}: {values}. That is "
            f"{part['once_s']:.2f} s + {part['each_s']:.3f} s for each; farthest from this line: "
            f"{farthest:.2f} times.",
        ]
    lines += ["", "| model | frames | step | peak memory | before the attack |"]
    lines += ["|---|---|---|---|---|"]
    lines += [
        f"| {row['model']} | {row['frames']} | {row['step_s']:.2f} s | {row['peak_mib']:.0f} MiB | "
        f"{row['before_mib']:.0f} MiB |"
        for row in result["by_length"]
    ]
    return lines


def arithmetic_lines(result: dict[str, Any]) -> list[str]:
    """How near the machine's limit a forward and backward pass comes."""
    peak = result["peak_gflop_per_s"]
    return [
        "How near a bare forward and backward pass comes to what the machine does at most, "
        f"{peak:.0f} GFLOP/s in a product of float32 matrices taken in turn with it:",
        "",
        "| model | GFLOP a pass | GFLOP/s | of the most |",
        "|---|---|---|---|",
        *(
            f"| {name} | {row['gflop']:.1f} | {row['gflop_per_s']:.0f} | {row['share']:.0%} |"
            for name, row in result["models"].items()
        ),
    ]


def synth_lines(result: dict[str, Any]) -> list[str]:
    """Rendering."""
    return [
        "## `pushpull data synth`",
        "",
        f"{result['tracks']} tracks ({result['frames']} frames) with {result['workers']} "
        f"processes: {result['seconds']:.0f} s, {result['fps']:.0f} frames/s, start and writing "
        f"included. On the fly in one process: {result['one_process_fps']:.0f} frames/s.",
    ]


def training_lines(result: dict[str, Any]) -> list[str]:
    """Loading, and adversarial steps."""
    load = result["loader"]
    lines = [
        "## Training",
        "",
        f"Loading {load['tracks']} tracks ({load['frames']} frames), augmented, one process: "
        f"{load['ours_fps']:.0f} frames/s from packed files.",
    ]
    if "112_mfcc" in load:
        lines[-1] += (
            " TalkNet's published loader takes so many times as long per frame (from jpg folders; "
            "sides of AVA's boxes in videos of 480 lines, 51 to 334; ours makes MFCC in the model):"
        )
        lines += [
            "",
            "| crops in their folders | with its MFCC | without |",
            "|---|---|---|",
            f"| 112 x 112 | {load['112_mfcc']:.1f} | {load['112_no_mfcc']:.1f} |",
            f"| as large as AVA's | {load['ava_mfcc']:.1f} | {load['ava_no_mfcc']:.1f} |",
        ]
    gpu = result["gpu"]
    loaded = gpu["cores"] * gpu["worker_fps"]
    limits = "; ".join(
        f"{name} takes {flops / 1e9:.1f} GFLOP a frame, so that at "
        f"{100 * loaded * flops / gpu['peak']:.0f} % of the peak it would learn from as many"
        for name, flops in gpu["flops_per_frame"].items()
    )
    lines += [
        "",
        f"Loading against a GPU (computed, not measured): one loader process hands over "
        f"{gpu['worker_fps']:.0f} frames/s, so {gpu['cores']} cores {loaded:.0f}. The arithmetic "
        f"peak of a GPU is {gpu['peak'] / 1e12:.0f} TFLOP/s ({gpu['name']}). A training step of "
        f"{limits}.",
        "",
        f"A step of adversarial training (PGD with k steps, {result['threads']} threads) against "
        "its parts in clean steps: k + 1, or k + 2 with mix 0.5, which learns from the clean batch "
        "as well, and a forward pass, in which the attack looks at its last iterate; median of "
        f"{result['runs']} pairs, below 1: cheaper.",
        "",
        "| model | k | mix | clips | frames | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["adversarial"]:
        options = ", ".join(f"{k} {v}" for k, v in row["options"].items())
        name = f"{row['model']} ({options})" if options else row["model"]
        lines.append(
            f"| {name} | {row['steps']} | {row['mix']:g} | {row['clips']} | {row['frames']} | "
            f"{row['ratio']:.2f} |"
        )
    return lines


def storage_lines(result: dict[str, Any]) -> list[str]:
    """Formats of packed tracks."""
    lines = [
        "## Packed storage",
        "",
        f"{result['tracks']} tracks ({result['frames']} frames of 12.5 kB, with sound and labels), "
        "one process, files in the page cache, as writable tensors; median of "
        f"{result['runs']} rounds.",
        "",
        "| format | MB | frames/s in file order | at random | first track, ms |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["formats"].items():
        label = f"{name} {result['versions'].get(name, '')}".strip()
        cells = [f"{row[key]:.0f}" if key in row else "-" for key in ("in order", "at random")]
        lines.append(f"| {label} | {row['mb']:.0f} | {' | '.join(cells)} | {row['first_ms']:.1f} |")
    if result["absent"]:
        lines += ["", f"Not installed: {', '.join(result['absent'])}."]
    return lines


if __name__ == "__main__":
    main()

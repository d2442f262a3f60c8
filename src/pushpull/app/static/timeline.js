// Scores of each face over time: a curve, speaking spans, a cursor; click or arrow keys seek.

import { el, svg } from "./dom.js";

const WIDTH = 1000;
const HEIGHT = 100;
const STEP_S = 0.2;

export function timeline(faces, duration, seek) {
  const cursors = [];
  const most = Math.max(1, ...faces.flatMap((f) => [...f.scores, ...(f.adversarial_scores || [])].map(Math.abs)));
  const x = (t) => (WIDTH * t) / duration;
  const y = (score) => HEIGHT / 2 - (score / most) * (HEIGHT / 2 - 6);
  let now = 0;

  const line = (face, scores, kind) => svg("polyline", {
    class: `line ${kind}`,
    points: scores.map((s, i) => `${x(face.times_s[i]).toFixed(2)},${y(s).toFixed(2)}`).join(" "),
  });

  const rows = faces.map((face) => {
    const cursor = svg("line", { class: "now", x1: 0, x2: 0, y1: 0, y2: HEIGHT });
    const chart = svg(
      "svg",
      {
        class: "curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "slider",
        tabindex: 0, "aria-label": `Time, over the score of face ${face.id}`,
        "aria-valuemin": 0, "aria-valuemax": duration.toFixed(2), "aria-valuenow": 0,
      },
      svg("line", { class: "zero", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
      face.turns.map(([start, end]) =>
        svg("rect", { class: "turn", x: x(start), y: 0, width: Math.max(1, x(end) - x(start)), height: HEIGHT })),
      line(face, face.scores, ""),
      face.adversarial_scores ? line(face, face.adversarial_scores, "attacked") : null,
      cursor,
    );
    cursors.push({ face, cursor, chart });
    chart.addEventListener("click", (e) => {
      const box = chart.getBoundingClientRect();
      seek(Math.max(0, Math.min(duration, (duration * (e.clientX - box.left)) / box.width)));
    });
    chart.addEventListener("keydown", (e) => {
      const by = { ArrowLeft: -STEP_S, ArrowRight: STEP_S, PageUp: 1, PageDown: -1 }[e.key];
      const to = { Home: 0, End: duration }[e.key];
      if (by === undefined && to === undefined) return;
      e.preventDefault();
      seek(to ?? Math.max(0, Math.min(duration, now + by)));
    });
    const share = face.share === undefined ? "" : `speaking in ${Math.round(100 * face.share)} % of its frames`;
    return el("div", { class: "face" },
      el("div", { class: "face-head" }, el("strong", {}, `Face ${face.id}`), el("span", { class: "note" }, share)),
      chart);
  });

  return {
    rows,
    at(time) {
      now = time;
      for (const { face, cursor, chart } of cursors) {
        cursor.setAttribute("x1", x(time));
        cursor.setAttribute("x2", x(time));
        chart.setAttribute("aria-valuenow", time.toFixed(2));
        const i = face.times_s.findIndex((t) => t >= time - 0.02);
        const score = i < 0 || time < face.times_s[0] - 0.05 ? null : face.scores[i];
        chart.setAttribute("aria-valuetext",
          `${time.toFixed(2)} s, ${score === null ? "not in the picture" : `score ${score.toFixed(1)}`}`);
      }
    },
  };
}

// Calls back with the time of a video as long as it is in the page.
export function follow(video, tell) {
  let last = -1;
  function look() {
    if (!video.isConnected) return;
    if (video.currentTime !== last) {
      last = video.currentTime;
      tell(last);
    }
    requestAnimationFrame(look);
  }
  requestAnimationFrame(look);
}

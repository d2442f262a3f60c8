// Scores of each face over time: curves, turns, thresholds, a playhead; click or arrow keys seek.

import { el, svg } from "./dom.js";

const WIDTH = 1000;
const HEIGHT = 100;
const STEP_S = 0.2;
const GRIP_PX = 7;

// `limit`, where there is one: { score, moved(score) }, a line that can be dragged.
export function timeline(faces, duration, seek, limit = null) {
  const charts = [];
  const most = Math.max(1, ...faces.flatMap((f) => [...f.scores, ...(f.adversarial_scores || [])].map(Math.abs)));
  const x = (t) => (WIDTH * t) / duration;
  const y = (score) => HEIGHT / 2 - (Math.max(-most, Math.min(most, score)) / most) * (HEIGHT / 2 - 6);
  const scoreAt = (part) => ((0.5 - part) * HEIGHT * most) / (HEIGHT / 2 - 6);
  let now = 0;
  let border = limit ? limit.score : 0;

  const line = (face, scores, kind) => svg("polyline", {
    class: `line ${kind}`,
    points: scores.map((s, i) => `${x(face.times_s[i]).toFixed(2)},${y(s).toFixed(2)}`).join(" "),
  });

  const rows = faces.map((face) => {
    const playhead = svg("line", { class: "now", x1: 0, x2: 0, y1: 0, y2: HEIGHT });
    const turns = svg("g", {});
    const threshold = svg("line", { class: limit ? "limit" : "zero", x1: 0, x2: WIDTH });
    const chart = svg(
      "svg",
      {
        class: "curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "slider",
        tabindex: 0, "aria-label": `Time, over the score of face ${face.id}`,
        "aria-valuemin": 0, "aria-valuemax": duration.toFixed(2), "aria-valuenow": 0,
      },
      turns, threshold,
      line(face, face.scores, ""),
      face.adversarial_scores ? line(face, face.adversarial_scores, "attacked") : null,
      playhead,
    );
    const share = el("span", { class: "note" });
    charts.push({ face, chart, playhead, turns, threshold, share });
    const place = (e) => {
      const box = chart.getBoundingClientRect();
      return { box, time: Math.max(0, Math.min(duration, (duration * (e.clientX - box.left)) / box.width)), part: (e.clientY - box.top) / box.height };
    };
    const grips = (e) => {
      const { box, part } = place(e);
      return limit && Math.abs(part * box.height - (y(border) / HEIGHT) * box.height) <= GRIP_PX;
    };
    let dragged = false;
    chart.addEventListener("pointerdown", (e) => {
      dragged = grips(e);
      chart.setPointerCapture(e.pointerId);
      if (!dragged) seek(place(e).time);
    });
    chart.addEventListener("pointermove", (e) => {
      chart.classList.toggle("grip", Boolean(dragged || grips(e)));
      if (!chart.hasPointerCapture(e.pointerId)) return;
      if (dragged) limit.moved(scoreAt(place(e).part));
      else seek(place(e).time);
    });
    chart.addEventListener("pointerup", () => { dragged = false; });
    chart.addEventListener("keydown", (e) => {
      const by = { ArrowLeft: -STEP_S, ArrowRight: STEP_S, PageUp: 1, PageDown: -1 }[e.key];
      const to = { Home: 0, End: duration }[e.key];
      if (by === undefined && to === undefined) return;
      e.preventDefault();
      seek(to ?? Math.max(0, Math.min(duration, now + by)));
    });
    return el("div", { class: "face" },
      el("div", { class: "face-head" }, el("strong", {}, `Face ${face.id}`), share), chart);
  });

  function setLimit(score) {
    border = score;
    for (const { threshold } of charts) {
      threshold.setAttribute("y1", y(score));
      threshold.setAttribute("y2", y(score));
    }
  }

  function setTurns(every) {
    charts.forEach(({ face, turns, share }, i) => {
      turns.replaceChildren(...every[i].map(([start, end]) =>
        svg("rect", { class: "turn", x: x(start), y: 0, width: Math.max(1, x(end) - x(start)), height: HEIGHT })));
      const spoken = every[i].reduce((sum, [start, end]) => sum + end - start, 0);
      share.textContent = `speaks ${spoken.toFixed(1)} s of ${(face.times_s.at(-1) - face.times_s[0]).toFixed(1)} s`;
    });
  }

  setLimit(border);
  return {
    rows, setLimit, setTurns,
    at(time) {
      now = time;
      for (const { face, playhead, chart } of charts) {
        playhead.setAttribute("x1", x(time));
        playhead.setAttribute("x2", x(time));
        chart.setAttribute("aria-valuenow", time.toFixed(2));
        const i = face.times_s.findIndex((t) => t >= time - 0.02);
        const score = i < 0 || time < face.times_s[0] - 0.05 ? null : face.scores[i];
        chart.setAttribute("aria-valuetext",
          `${time.toFixed(2)} s, ${score === null ? "not in the picture" : `score ${score.toFixed(1)}`}`);
      }
    },
  };
}

// Calls back with a time, whenever it has changed, as long as an element is in the page.
export function follow(node, now, tell) {
  let last = -1;
  function look() {
    if (!node.isConnected) return;
    const time = now();
    if (time !== last) {
      last = time;
      tell(time);
    }
    requestAnimationFrame(look);
  }
  requestAnimationFrame(look);
}

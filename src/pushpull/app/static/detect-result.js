// A detection: the video, who speaks now, scores and turns on one screen; turns can be corrected.

import { downloadUrl, fileUrl, post } from "./api.js";
import { el, problem } from "./dom.js";
import { downloadsCard, notes } from "./result.js";
import { follow, timeline } from "./timeline.js";
import { turnsCard } from "./turns.js";

const LIMITS = [0.01, 0.99];
const USUAL = 0.5;

export function detectResult(found, job) {
  const player = el("video", { controls: true, playsinline: true, src: fileUrl(found.video), "aria-label": "Annotated video" });
  const seek = (t) => { player.currentTime = t; };
  const who = el("p", { class: "who" });
  const said = el("div", { role: "status" });
  const slider = el("input", { type: "range", min: LIMITS[0], max: LIMITS[1], step: 0.01, name: "threshold", oninput: () => setThreshold(Number(slider.value)) });
  const value = el("output", {});
  const lines = timeline(found.faces, found.duration_s, seek, { score: 0, moved: (score) => setThreshold(1 / (1 + Math.exp(-score))) });
  const saved = found.corrected;
  let threshold = saved?.threshold ?? USUAL;
  let turns = saved?.faces ?? found.faces.map((face) => face.turns);
  const editor = turnsCard(found, { seek, now: () => player.currentTime, changed, save, discard });
  const downloads = el("div", {}, downloadsCard(found.downloads));

  function speakers(time) {
    return found.faces.filter((_, i) => turns[i].some(([start, end]) => time >= start - 1e-6 && time < end)).map(({ id }) => id);
  }
  function tell(time) {
    lines.at(time);
    editor.at(time);
    const ids = speakers(time);
    let text = "Nobody speaks.";
    if (ids.length === 1) text = `Face ${ids[0]} speaks.`;
    else if (ids.length) text = `Faces ${ids.slice(0, -1).join(", ")} and ${ids.at(-1)} speak.`;
    if (who.textContent !== text) who.textContent = text;
  }

  function showLimit() {
    const score = Math.log(threshold / (1 - threshold));
    slider.value = threshold;
    slider.setAttribute("aria-valuetext", `probability ${threshold.toFixed(2)}`);
    value.textContent = `${threshold.toFixed(2)} (score ${score < 0 ? "−" : ""}${Math.abs(score).toFixed(1)})`;
    lines.setLimit(score);
  }
  function showTurns() {
    lines.setTurns(turns);
    tell(player.currentTime);
  }

  // Only the last of what was asked for meanwhile is asked for.
  let asking = false;
  let asked = null;
  async function setThreshold(wanted) {
    if (slider.disabled) return;
    threshold = Math.round(100 * Math.max(LIMITS[0], Math.min(LIMITS[1], wanted))) / 100;
    showLimit();
    asked = threshold;
    if (asking) return;
    asking = true;
    editor.card.setAttribute("aria-busy", "true");
    try {
      while (asked !== null) {
        const at = asked;
        asked = null;
        const { faces } = await post(`/api/jobs/${job.id}/turns`, { threshold: at });
        if (slider.disabled) break;
        turns = faces;
        editor.show(turns);
        showTurns();
        said.replaceChildren();
      }
    } catch (error) {
      said.replaceChildren(problem(error.message));
    }
    asking = false;
    editor.card.removeAttribute("aria-busy");
  }

  // Corrected by hand: the threshold has to stay where it is.
  function changed(corrected) {
    turns = corrected;
    slider.disabled = true;
    showTurns();
  }
  async function discard() {
    slider.disabled = false;
    await setThreshold(threshold);
  }
  async function save(faces) {
    const { result } = await post(`/api/jobs/${job.id}/corrections`, { threshold, faces });
    downloads.replaceChildren(downloadsCard(result.downloads));
    const { name, file } = result.downloads.at(-1);
    return el("a", { href: downloadUrl(file), download: name }, name);
  }

  slider.disabled = Boolean(saved);
  editor.show(turns, Boolean(saved));
  showLimit();
  showTurns();
  follow(player, () => player.currentTime, tell);
  const took = Object.values(found.seconds).reduce((a, b) => a + b, 0);
  return [
    el("div", { class: "watch" },
      el("section", { class: "card", "aria-label": "Video" }, player,
        el("p", { class: "note" }, `${found.faces.length} ${found.faces.length === 1 ? "face" : "faces"} in `
          + `${found.duration_s.toFixed(1)} s, done in ${took.toFixed(1)} s by ${found.detector}.`),
        notes(found.notes)),
      el("section", { class: "card", "aria-label": "Timeline" }, who,
        el("label", { class: "field" }, "Threshold ", value, slider), said,
        el("div", { class: "legend" }, el("span", {}, el("span", { class: "key" }), "score (log-odds)"),
          el("span", {}, el("span", { class: "key turn" }), "turn"),
          el("span", {}, el("span", { class: "key limit" }), "threshold (drag it)")),
        el("div", { class: "faces" }, lines.rows),
        el("p", { class: "note" }, "Click a curve, or use the arrow keys on it, to go there."))),
    editor.card,
    downloads,
  ];
}

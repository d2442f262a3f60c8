import { about, downloadUrl, fileUrl } from "./api.js";
import { el, field, select } from "./dom.js";
import { jobsCard, starter } from "./jobs.js";
import { sourceCard } from "./source.js";
import { follow, timeline } from "./timeline.js";

export function detectorField(fields) {
  about().then(({ detectors }) => {
    fields.prepend(field("Detector", select("detector", detectors.map(({ name }) => [name, name]), detectors[0].name)));
  }).catch(() => {});
}

export function downloadsCard(downloads) {
  return el("div", { class: "card" }, el("h2", {}, "Download"), el("div", { class: "row" },
    downloads.map(({ name, file }) => el("a", { class: "button quiet", href: downloadUrl(file), download: name }, name))));
}

export function notes(lines) {
  return lines.map((line) => el("p", { class: "note" }, line));
}

export function detectPage(page) {
  let video = null;
  const start = el("button", { type: "submit", disabled: true }, "Who speaks?");
  const hint = el("p", { class: "note" }, "Choose a video first.");
  const fields = el("div", { class: "fields" });
  const said = el("div", {});
  const form = el("form", { class: "card" }, fields, el("div", { class: "row" }, start, hint), said);
  const jobs = jobsCard();
  const source = sourceCard((chosen) => {
    video = chosen;
    start.disabled = chosen === null;
    hint.hidden = chosen !== null;
  });
  detectorField(fields);
  starter(form, start, said, () => ({
    kind: "detect", upload: video.id, detector: form.elements.detector?.value,
  }));
  page.append(
    el("h1", {}, "Who is speaking?"),
    el("p", { class: "lead" }, "Every face gets a score for every frame: above the line it speaks and is heard."),
    source, form, jobs.card,
  );
  return { shown: jobs.shown };
}

export function detectResult(found) {
  const player = el("video", { controls: true, playsinline: true, src: fileUrl(found.video), "aria-label": "Annotated video" });
  const lines = timeline(found.faces, found.duration_s, (t) => { player.currentTime = t; });
  follow(player, lines.at);
  const took = Object.values(found.seconds).reduce((a, b) => a + b, 0);
  return [
    el("div", { class: "card" }, el("h2", {}, found.name), player,
      el("p", { class: "note" }, `${found.faces.length} ${found.faces.length === 1 ? "face" : "faces"} in `
        + `${found.duration_s.toFixed(1)} s, done in ${took.toFixed(1)} s by ${found.detector}.`),
      notes(found.notes)),
    el("div", { class: "card" }, el("h2", {}, "Timeline"),
      el("div", { class: "legend" }, el("span", {}, el("span", { class: "key" }), "score (log-odds)"),
        el("span", {}, el("span", { class: "key turn" }), "speaking")),
      lines.rows,
      el("p", { class: "note" }, "Click a curve, or use the arrow keys on it, to go there.")),
    downloadsCard(found.downloads),
  ];
}

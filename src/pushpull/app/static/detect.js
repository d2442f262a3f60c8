import { about } from "./api.js";
import { el, field, select } from "./dom.js";
import { jobsCard, starter } from "./jobs.js";
import { sourceCard } from "./source.js";

export function detectorField(fields) {
  about().then(({ detectors }) => {
    fields.prepend(field("Detector", select("detector", detectors.map(({ name }) => [name, name]), detectors[0].name)));
  }).catch(() => {});
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

import { about } from "./api.js";
import { detectorField } from "./detect.js";
import { check, el, field, select } from "./dom.js";
import { starter } from "./jobs.js";
import { sourceCard } from "./source.js";

const WORDS = {
  attack: { label: "Attack" },
  modality: { label: "Modality", both: "sound and faces", audio: "sound only", visual: "faces only" },
  objective: { label: "Objective", all: "all heads (CE_all)", av: "deciding head", margin: "margin", feature: "features", flips: "frames turned over" },
  target: { label: "Aim", none: "every frame wrong", silent: "everybody silent", speaking: "everybody speaking" },
  norm: { label: "Norm", linf: "L∞", l2: "L2" },
  space: { label: "What is moved", crop: "face crops", frame: "pixels of the video" },
};

export function attackPage(page) {
  let video = null;
  const start = el("button", { type: "submit", disabled: true }, "Attack");
  const hint = el("p", { class: "note" }, "Choose a video first.");
  const fields = el("div", { class: "fields" });
  const finer = el("div", { class: "fields" });
  const said = el("div", {});
  const form = el("form", { class: "card" }, el("h2", {}, "Attack"), fields,
    el("details", { class: "more" }, el("summary", {}, "More settings"), finer), el("div", { class: "row" }, start, hint), said);
  const source = sourceCard((chosen) => {
    video = chosen;
    start.disabled = chosen === null;
    hint.hidden = chosen !== null;
  });
  about().then(({ choices, steps, usual }) => {
    const chooser = (name) => field(WORDS[name].label, select(
      name, choices[name].map((value) => [value, WORDS[name][value] || value.toUpperCase()]), choices[name][0]));
    const number = (name, value, min, max, step) =>
      el("input", { type: "number", name, value, min, max, step, required: true, inputmode: "decimal" });
    fields.append(
      chooser("attack"), field("Budget eps_av", number("eps", usual.eps, 0.01, 100, "any")),
      chooser("modality"), chooser("objective"), field("Steps", number("steps", steps.pgd, 1, 10000, 1)));
    finer.append(
      chooser("target"), chooser("norm"), chooser("space"),
      field("Draw changes of pixels × N", number("amplify", usual.amplify, 1, 255, "any")),
      check("among 8-bit and int16 values", el("input", { type: "checkbox", name: "quantise" })),
      check("through H.264 and AAC", el("input", { type: "checkbox", name: "survive" })));
    form.elements.attack.addEventListener("change", () => {
      const given = steps[form.elements.attack.value];
      form.elements.steps.disabled = given === null;
      form.elements.steps.value = given ?? 1;
    });
    detectorField(fields);
  }).catch(() => {});
  starter(form, start, said, () => {
    const of = form.elements;
    return {
      kind: "attack", upload: video.id, detector: of.detector?.value,
      attack: of.attack.value, modality: of.modality.value, objective: of.objective.value, target: of.target.value,
      norm: of.norm.value, space: of.space.value, eps: Number(of.eps.value), steps: Number(of.steps.value),
      amplify: Number(of.amplify.value), quantise: of.quantise.checked, survive: of.survive.checked,
    };
  });
  page.append(
    el("h1", {}, "Make the detector wrong"),
    el("p", { class: "lead" }, "Sound and faces are changed together, by less than a person notices."),
    source, form,
  );
}

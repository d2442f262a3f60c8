import { about, fileUrl } from "./api.js";
import { check, el, field, percent, select } from "./dom.js";
import { downloadsCard, notes, detectorField } from "./detect.js";
import { starter } from "./jobs.js";
import { sourceCard } from "./source.js";
import { follow, timeline } from "./timeline.js";

const WORDS = {
  attack: { label: "Attack" },
  modality: { label: "Modality", both: "sound and faces", audio: "sound only", visual: "faces only" },
  objective: { label: "Objective", all: "all heads (CE_all)", av: "deciding head", margin: "margin", feature: "features", flips: "frames turned over" },
  target: { label: "Aim", none: "every frame wrong", silent: "everybody silent", speaking: "everybody speaking" },
  norm: { label: "Norm", linf: "L∞", l2: "L2" },
  space: { label: "What is moved", crop: "face crops", frame: "pixels of the video" },
};
const DRIFT_S = 0.06;

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
  about().then(({ choices, steps }) => {
    const chooser = (name) => field(WORDS[name].label, select(
      name, choices[name].map((value) => [value, WORDS[name][value] || value.toUpperCase()]), choices[name][0]));
    const number = (name, value, min, max, step) =>
      el("input", { type: "number", name, value, min, max, step, required: true, inputmode: "decimal" });
    fields.append(
      chooser("attack"), field("Budget eps_av", number("eps", 5, 0.01, 100, "any")),
      chooser("modality"), chooser("objective"), field("Steps", number("steps", steps.pgd, 1, 1000, 1)));
    finer.append(
      chooser("target"), chooser("norm"), chooser("space"),
      field("Draw changes of pixels × N", number("amplify", 40, 1, 255, "any")),
      check("among 8-bit and int16 values", el("input", { type: "checkbox", name: "quantise" })),
      check("through H.264 and AAC", el("input", { type: "checkbox", name: "survive" })));
    form.elements.attack.addEventListener("change", () => {
      const usual = steps[form.elements.attack.value];
      form.elements.steps.disabled = usual === null;
      form.elements.steps.value = usual ?? 1;
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

export function attackResult(found) {
  const { players, controls } = together(found);
  const lines = timeline(found.faces, found.duration_s, controls.seek);
  follow(players.clean, (t) => { lines.at(t); controls.at(t); });
  const decibels = (value) => (value === null ? "unchanged" : `${value.toFixed(1)} dB`);
  const { delta } = found;
  const numbers = [
    ["Frames right, clean", percent(found.clean.accuracy)],
    ["Frames right, attacked", percent(found.adversarial.accuracy)],
    ["SNR of the sound", decibels(delta.snr_db)],
    ["PSNR of the faces", decibels(delta.psnr_db)],
    ["SSIM of the faces", delta.ssim === null ? "unchanged" : delta.ssim.toFixed(4)],
    ["Largest change", `${delta.visual_linf.toFixed(2)} / 255`, `sound ${delta.audio_linf.toExponential(1)}`],
  ];
  const figure = (words, child) => el("figure", {}, el("figcaption", {}, words), child);
  const picture = (view, alt) => el("img", { class: "spectrogram", src: fileUrl(found.views[view]), alt });
  return [
    el("div", { class: "card" }, el("h2", {}, "Clean and attacked"),
      el("div", { class: "pair" }, figure("Clean", players.clean), figure("Attacked", players.adversarial)),
      controls.row,
      el("dl", { class: "numbers" }, numbers.map(([name, value, more]) => el("div", {},
        el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, ` ${more}`) : null)))),
      notes(found.vanished.map((name) => `The budget of the ${name} part is below one step of its grid: nothing changed there.`)),
      notes(found.notes)),
    el("div", { class: "card" }, el("h2", {}, "Scores"),
      el("div", { class: "legend" }, el("span", {}, el("span", { class: "key" }), "clean"),
        el("span", {}, el("span", { class: "key attacked" }), "attacked")),
      lines.rows),
    el("div", { class: "card" }, el("h2", {}, "What was changed"),
      el("div", { class: "pair" },
        figure(`Pixels: change × ${found.amplify} around grey, before rounding`, players.difference),
        el("div", {}, figure("Sound, clean", picture("clean_sound", "Spectrogram of the clean sound")),
          figure("Sound, attacked", picture("adversarial_sound", "Spectrogram of the attacked sound")),
          figure("Their difference, on the same scale (80 dB)", picture("sound_change", "Spectrogram of the change"))))),
    el("div", { class: "card" }, el("h2", {}, "Read back from files"),
      el("p", { class: "note" }, "Frames that the detector gets right, by what was searched and how it was kept."),
      survivalTable(found.survival)),
    downloadsCard(found.downloads),
    el("p", {}, el("a", { class: "button", href: "#abx" }, "Can you tell them apart? Take the ABX test")),
  ];
}

function survivalTable(rows) {
  const ways = Object.keys(rows[0]).filter((way) => way !== "input");
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Search", ...ways].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, el("th", { scope: "row" }, row.input),
      ways.map((way) => el("td", {}, percent(row[way].accuracy))))))));
}

// Three videos with one set of controls; the clean one leads.
function together(found) {
  const make = (view, label) => el("video", { src: fileUrl(found.views[view]), playsinline: true, preload: "auto", "aria-label": label });
  const players = {
    clean: make("clean", "Clean video"),
    adversarial: make("adversarial", "Attacked video"),
    difference: make("difference", "Amplified change of pixels"),
  };
  const others = [players.adversarial, players.difference];
  const play = el("button", { type: "button" }, "Play");
  const range = el("input", { type: "range", min: 0, max: found.duration_s, step: 0.01, value: 0, "aria-label": "Time" });
  const sounds = [["clean", "clean"], ["adversarial", "attacked"], ["difference", "only the change, amplified"]];
  function hear(name) {
    for (const [key, player] of Object.entries(players)) player.muted = key !== name;
  }
  const chooser = el("select", { "aria-label": "Sound", onchange: (e) => hear(e.target.value) },
    sounds.map(([value, words]) => el("option", { value, selected: value === "adversarial" }, `Sound: ${words}`)));
  hear("adversarial");

  function seek(time) {
    for (const player of Object.values(players)) player.currentTime = time;
  }
  play.addEventListener("click", () => {
    if (players.clean.paused) {
      if (players.clean.ended) seek(0);
      for (const player of Object.values(players)) player.play().catch(() => {});
    } else for (const player of Object.values(players)) player.pause();
  });
  players.clean.addEventListener("play", () => { play.textContent = "Pause"; });
  for (const event of ["pause", "ended"]) {
    players.clean.addEventListener(event, () => {
      play.textContent = "Play";
      for (const player of others) player.pause();
    });
  }
  range.addEventListener("input", () => seek(Number(range.value)));
  function at(time) {
    range.value = time;
    for (const player of others) {
      if (!player.seeking && Math.abs(player.currentTime - time) > DRIFT_S) player.currentTime = time;
    }
  }
  const row = el("div", { class: "row controls" }, play, el("div", { class: "grow" }, range), el("div", {}, chooser));
  return { players, controls: { row, seek, at } };
}

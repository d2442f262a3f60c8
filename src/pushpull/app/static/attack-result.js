// An attack: clean and attacked in one place, what was changed, and what the detector makes of it.

import { fileUrl } from "./api.js";
import { el, percent } from "./dom.js";
import { heatMap } from "./heat.js";
import { inStep } from "./players.js";
import { choice, downloadsCard, notes } from "./result.js";
import { follow, timeline } from "./timeline.js";

const UNSEEN_GREY = 1;
const NAMED = 3;
const MOVED = 0.1;

export function attackResult(found) {
  const { card, seek, told } = watchCard(found);
  const lines = timeline(found.faces, found.duration_s, seek);
  told.push(lines.at);
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
    el("p", { class: "verdict" }, sentence(found)),
    el("div", { class: "watch" }, card,
      el("section", { class: "card", "aria-label": "Scores" }, el("h2", {}, "Scores"),
        el("div", { class: "legend" }, el("span", {}, el("span", { class: "key" }), "clean"),
          el("span", {}, el("span", { class: "key attacked" }), "attacked")),
        el("div", { class: "faces" }, lines.rows),
        el("dl", { class: "numbers" }, numbers.map(([name, value, more]) => el("div", {},
          el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, ` ${more}`) : null)))),
        notes(found.vanished.map((name) => `The budget of the ${name} part is below one step of its grid: nothing changed there.`)),
        notes(found.notes))),
    el("section", { class: "card", "aria-label": "Sound" }, el("h2", {}, "Sound"), el("div", { class: "pair small" },
      figure("Clean", picture("clean_sound", "Spectrogram of the clean sound")),
      figure("Attacked", picture("adversarial_sound", "Spectrogram of the attacked sound")),
      figure("Their difference, on the same scale (80 dB)", picture("sound_change", "Spectrogram of the change")))),
    el("section", { class: "card", "aria-label": "Read back from files" }, el("h2", {}, "Read back from files"),
      el("p", { class: "note" }, "Frames that the detector gets right, by what was searched and how it was kept."),
      survivalTable(found.survival)),
    downloadsCard(found.downloads),
    el("p", {}, el("a", { class: "button", href: "#abx" }, "Can you tell them apart? Take the ABX test")),
  ];
}

function survivalTable(rows) {
  const ways = Object.keys(rows[0]).filter((way) => way !== "input");
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Frames right" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Search", ...ways].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, el("th", { scope: "row" }, row.input),
      ways.map((way) => el("td", {}, percent(row[way].accuracy))))))));
}

// What was done in one sentence: how little, and what it does.
export function sentence(found) {
  const { visual_linf: grey, audio_linf: sound } = found.delta;
  const short = (value) => String(Number(value.toPrecision(2)));
  const changes = [
    grey > 0 ? `${short(grey)} grey ${Number(short(grey)) === 1 ? "level" : "levels"}` : null,
    sound > 0 ? `${Number(sound.toPrecision(2)).toExponential()} of the sound's range` : null,
  ].filter((part) => part);
  if (!changes.length) return "Nothing was changed.";
  const size = `at most ${changes.join(" and ")}`;
  const begin = grey <= UNSEEN_GREY ? `Same to the eye: ${size}` : `Changed by ${size}`;
  const says = found.faces.map((face) => {
    const n = face.scores.length;
    const flipped = face.scores.filter((score, i) => score > 0 !== face.adversarial_scores[i] > 0).length;
    const speaks = (scores) => scores.filter((score) => score > 0).length / n;
    return { id: face.id, n, flipped, before: speaks(face.scores), after: speaks(face.adversarial_scores) };
  });
  const share = says.reduce((sum, { flipped }) => sum + flipped, 0) / says.reduce((sum, { n }) => sum + n, 0);
  if (share === 0) return `${begin}; the detector still says the same of every frame.`;
  const whole = (value) => `${Math.round(100 * value)} %`;
  const moved = says.filter(({ before, after }) => Math.abs(after - before) >= MOVED)
    .sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before));
  const named = moved.slice(0, NAMED).map(({ id, before, after }) => `face ${id} speaks in ${whole(after)} of its frames, before in ${whole(before)}`);
  const rest = moved.length > NAMED ? `; ${moved.length - NAMED} more` : "";
  return `${begin}; the detector now says otherwise of ${whole(share)} of the frames${named.length ? `: ${named.join("; ")}${rest}` : ""}.`;
}

// Pictures lie in one place, and which one is seen can be changed while all of them play.
function watchCard(found) {
  const make = (view) => el("video", { src: fileUrl(found.views[view]), playsinline: true, preload: "auto", "aria-label": PICTURES[view] });
  const PICTURES = {
    clean: "Clean", adversarial: "Attacked", difference: `Difference × ${found.amplify}`, heat: "Heat map",
  };
  const players = { clean: make("clean"), adversarial: make("adversarial"), difference: make("difference") };
  const canvas = el("canvas", { role: "img", "aria-label": "Heat map of the change", width: 16, height: 9 });
  const shots = { ...players, heat: canvas };
  const step = inStep(players, found.duration_s, "adversarial");
  const heat = heatMap(canvas, players.clean, players.difference, Math.min(127, Math.max(1, found.amplify * found.delta.visual_linf)));
  const about = el("p", { class: "note" });
  const loud = found.delta.audio_linf > 0 ? ` × ${Number((0.9 / found.delta.audio_linf).toPrecision(2))}` : "";
  const sound = el("select", { "aria-label": "Sound", onchange: () => step.hear(sound.value) },
    [["clean", "Sound: clean"], ["adversarial", "Sound: attacked"], ["difference", `Sound: only the change${loud}`]]
      .map(([value, words]) => el("option", { value, selected: value === "adversarial" }, words)));
  const ABOUT = {
    clean: "The video as it was, with what the detector says of it.",
    adversarial: "The video after the attack, with what the detector says of it.",
    difference: `The change of each pixel × ${found.amplify} around grey, before rounding.`,
    heat: `Where pixels were changed: dark least, yellow most (${Number(found.delta.visual_linf.toPrecision(2))} of 255 grey levels).`,
  };
  let seen = "adversarial";

  function show(name) {
    seen = name;
    for (const [key, shot] of Object.entries(shots)) {
      shot.classList.toggle("seen", key === name);
      shot.setAttribute("aria-hidden", String(key !== name));
    }
    about.textContent = ABOUT[name];
    // What is heard goes with what is seen, unless it is the change alone.
    if (sound.value !== "difference" && (name === "clean" || name === "adversarial")) {
      sound.value = name;
      step.hear(name);
    }
    if (name === "heat") heat();
  }

  const told = [() => step.at(), () => { if (seen === "heat") heat(); }];
  const stage = el("div", { class: "shots" }, Object.values(shots));
  const card = el("section", { class: "card", id: "compare", "aria-label": "Clean and attacked" },
    choice("picture", "Picture", Object.entries(PICTURES), seen, show), stage,
    el("div", { class: "row controls" }, step.play, el("div", { class: "grow" }, step.range), step.clock,
      el("div", {}, sound)), about);
  show(seen);
  for (const player of Object.values(players)) player.addEventListener("seeked", () => { if (seen === "heat") heat(); });
  follow(stage, step.now, (time) => { for (const tell of told) tell(time); });
  return { card, seek: step.seek, told };
}

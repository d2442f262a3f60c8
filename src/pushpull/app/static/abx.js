// ABX: the listener hears and sees A, B and X as often as wished and says which of the two X is.

import { get, post } from "./api.js";
import { el, field, problem, select } from "./dom.js";

const RATE_HZ = 16000;
const PLACES = ["x", "a", "b"];

export function abxPage(page) {
  const body = el("div", {});
  page.append(
    el("h1", {}, "ABX: can you tell?"),
    el("p", { class: "lead" }, "X is either A or B; one of the two is attacked. Nobody tells you which until the end."),
    body,
  );
  let running = null;

  async function setUp() {
    if (running) return;
    let sets;
    try {
      ({ sets } = await get("/api/abx/sets"));
    } catch (error) {
      body.replaceChildren(problem(error.message));
      return;
    }
    if (!sets.length) {
      body.replaceChildren(el("div", { class: "card" }, el("h2", {}, "Nothing to compare yet"),
        el("p", {}, "Attack a video on the ", el("a", { href: "#attack" }, "Attack page"),
          ", or start the app with --runs and a folder in which pushpull attack left its results.")));
      return;
    }
    const form = el("form", { class: "card" }, el("h2", {}, "Set up"),
      el("div", { class: "fields" },
        field("Clips", select("set", sets.map((s) => [s.id, s.where ? `${s.name}, ${s.where}` : s.name]), sets[0].id)),
        field("You get", select("modality", [["both", "pictures and sound"], ["audio", "sound only"], ["visual", "pictures only"]], "both")),
        field("Questions", el("input", { type: "number", name: "trials", value: 10, min: 1, max: 100, required: true }))),
      el("button", { type: "submit" }, "Start"),
      el("p", { class: "note" }, "Use headphones. 10 right of 10 happen once in 1000 by guessing; 5 questions can prove little."));
    const said = el("div", {});
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      said.replaceChildren();
      const of = form.elements;
      try {
        const first = await post("/api/abx", { set: of.set.value, modality: of.modality.value, trials: Number(of.trials.value) });
        running = first.id;
        ask(first);
      } catch (error) {
        said.replaceChildren(problem(error.message));
      }
    });
    body.replaceChildren(form, said);
  }

  function ask(question) {
    const player = clipPlayer(running, question);
    const said = el("div", { "aria-live": "polite" });
    const heard = new Set();
    const answers = ["a", "b"].map((choice, i) => el("button", { type: "button", disabled: true, onclick: () => say(choice) },
      `X is ${choice.toUpperCase()} `, el("kbd", {}, String(i + 1))));
    async function play(place) {
      try {
        await player.play(place);
        heard.add(place);
        for (const button of answers) button.disabled = heard.size < PLACES.length;
      } catch (error) {
        said.replaceChildren(problem(error.message));
      }
    }
    async function say(choice) {
      for (const button of answers) button.disabled = true;
      player.stop();
      try {
        const next = await post(`/api/abx/${running}/answers`, { trial: question.trial, answer: choice });
        document.removeEventListener("keydown", keys);
        if (next.result) showResult(next);
        else ask(next);
      } catch (error) {
        said.replaceChildren(problem(error.message));
        for (const button of answers) button.disabled = false;
      }
    }
    function keys(e) {
      if (page.hidden || e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT)$/.test(e.target.tagName)) return;
      const key = e.key.toLowerCase();
      if (PLACES.includes(key)) play(key);
      else if (key === "1" && !answers[0].disabled) say("a");
      else if (key === "2" && !answers[1].disabled) say("b");
    }
    document.addEventListener("keydown", keys);
    const give = el("button", { type: "button", class: "quiet", onclick: () => {
      document.removeEventListener("keydown", keys);
      player.stop();
      running = null;
      setUp();
    } }, "Give up");
    body.replaceChildren(el("div", { class: "card" },
      el("h2", {}, `Question ${question.trial + 1} of ${question.trials}`),
      el("progress", { max: question.trials, value: question.trial, "aria-label": "Questions answered" }),
      el("div", { class: "stage" }, question.modality === "audio" ? null : player.canvas,
        el("div", { class: "keys" }, PLACES.map((place) => el("button", { type: "button", class: "quiet", onclick: () => play(place) },
          `Play ${place.toUpperCase()} `, el("kbd", {}, place)))),
        el("div", { class: "keys two" }, answers),
        el("p", { class: "note" }, "Play all three at least once; then answer. As often as you like, in any order."), said),
      el("div", { class: "row" }, give)));
  }

  function showResult({ result, stored }) {
    const id = running;
    running = null;
    const [low, high] = result.interval.map((share) => `${(100 * share).toFixed(0)} %`);
    const p = result.p < 0.001 ? "below 0.001" : result.p.toFixed(3);
    const verdict = result.p < 0.05
      ? "That is hardly guessing: the difference can be perceived."
      : "That may well be guessing: no difference was shown. More questions can show smaller ones.";
    const headings = ["#", "Answer", "X is, you said", "X was", "A was", "Clip", "Seconds"];
    body.replaceChildren(
      el("div", { class: "card", id: "abx-result" }, el("h2", {}, "Result"),
        el("dl", { class: "numbers" },
          [["Right", `${result.right} of ${result.trials}`], ["95 % interval", `${low} to ${high}`],
            ["p-value (one-sided)", p]].map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
        el("p", {}, verdict),
        el("p", { class: "note" }, `Kept on the server as ${stored}.`),
        el("div", { class: "row" },
          el("a", { class: "button quiet", href: `/api/abx/${id}/csv`, download: "abx.csv" }, "Download csv"),
          el("button", { type: "button", onclick: setUp }, "Another test"))),
      el("div", { class: "card scroll", tabindex: 0, "aria-label": "All answers" }, el("table", {},
        el("thead", {}, el("tr", {}, headings.map((h) => el("th", { scope: "col" }, h)))),
        el("tbody", {}, result.rows.map((row) => el("tr", {}, [row.trial, row.right ? "right" : "wrong", row.answer,
          row.x_was, row.a_was, `${row.clip} · ${row.track}`, row.seconds].map((cell, i) => el("td", { class: i === 5 ? "wide" : null }, String(cell)))))))));
  }

  return { shown: setUp };
}

// Plays pictures of one png on a canvas, in time with a wav: what is seen is every pixel as it was.
function clipPlayer(test, question) {
  const { size, columns, frames, fps, trial, modality } = question;
  const canvas = el("canvas", { width: size, height: size, role: "img", "aria-label": "The clip" });
  const brush = canvas.getContext("2d");
  const loaded = {};
  let context = null;
  let source = null;
  let turn = 0;

  async function fetched(place, suffix) {
    const response = await fetch(`/api/abx/${test}/${trial}/${place}.${suffix}`);
    if (!response.ok) throw new Error("This clip cannot be had any more. Start another test.");
    return response;
  }
  async function load(place) {
    const sheet = modality === "audio" ? null : await createImageBitmap(await (await fetched(place, "png")).blob());
    const sound = modality === "visual" ? null
      : await context.decodeAudioData(await (await fetched(place, "wav")).arrayBuffer());
    return { sheet, sound };
  }
  function stop() {
    turn += 1;
    source?.stop();
    source = null;
  }
  async function play(place) {
    stop();
    const mine = turn;
    context ??= new AudioContext({ sampleRate: RATE_HZ });
    await context.resume();
    loaded[place] ??= await load(place);
    if (mine !== turn) return;
    const { sheet, sound } = loaded[place];
    if (sound) {
      source = context.createBufferSource();
      source.buffer = sound;
      source.connect(context.destination);
      source.start();
    }
    if (!sheet) return;
    const start = performance.now();
    function draw() {
      if (mine !== turn) return;
      const frame = Math.floor(((performance.now() - start) / 1000) * fps);
      if (frame >= frames) return;
      brush.drawImage(sheet, (frame % columns) * size, Math.floor(frame / columns) * size, size, size, 0, 0, size, size);
      requestAnimationFrame(draw);
    }
    draw();
  }
  return { canvas, play, stop };
}

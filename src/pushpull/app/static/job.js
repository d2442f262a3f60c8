// A job at its address, from the queue to its result: how far it is, how long still, cancel, again.

import { get, post } from "./api.js";
import { attackResult } from "./attack-result.js";
import { detectResult } from "./detect-result.js";
import { el, problem, seconds } from "./dom.js";
import { KINDS, OVER, when } from "./jobs.js";

const EVERY_MS = 400;
const STAGES = {
  start: "Starting",
  faces: "Finding faces",
  crops: "Cutting out faces",
  model: "Looking and listening",
  video: "Drawing the video",
  float: "Searching",
  quantised: "Searching among 8-bit and int16 values",
  "through codec": "Searching through H.264 and AAC",
  writing: "Writing files",
  "side by side": "Drawing both videos",
};
const RESULTS = { detect: detectResult, attack: attackResult };
const ENDED = {
  cancelled: "Cancelled. Nothing was kept.",
  interrupted: "The server ended before this was done. Nothing was kept.",
};

export function jobPage(page) {
  const title = el("h1", {}, "Job");
  const about = el("p", { class: "lead" });
  const text = el("p", {});
  const bar = el("progress", { max: 1, "aria-label": "Progress" });
  const cancel = el("button", { type: "button", class: "quiet", onclick: () => act("cancel") }, "Cancel");
  const again = el("button", { type: "button", onclick: () => act("again") }, "Run again");
  const other = el("a", { class: "button quiet", hidden: true }, "Choose another video");
  const said = el("div", {});
  const live = el("div", { "aria-live": "polite" }, text);
  const card = el("div", { class: "card", id: "job-progress" }, live, bar, said, el("div", { class: "row after" }, cancel, again, other));
  const result = el("div", { id: "job-result" });
  let wanted = null;
  let acting = false;

  function tell(words) {
    if (text.textContent !== words) text.textContent = words;
  }

  function show(job) {
    title.textContent = job.name;
    about.replaceChildren(`${KINDS[job.kind]}, asked for at ${when(job.begun_s)} · `, el("a", { href: "#detect" }, "all your jobs"));
    document.title = `${job.name} · pushpull`;
    const over = OVER.includes(job.state);
    bar.hidden = over;
    cancel.hidden = over;
    again.hidden = !job.again;
    other.hidden = job.state !== "failed";
    other.href = `#${job.kind}`;
    card.hidden = job.state === "done";
    if (acting) return;
    if (over) {
      tell(ENDED[job.state] ?? "");
      if (job.state === "failed") said.replaceChildren(problem(job.error));
      return;
    }
    if (job.state === "queued") {
      tell(job.ahead === 0 ? "Next in the queue…" : `Waiting: ${job.ahead} ${job.ahead === 1 ? "job comes" : "jobs come"} first.`);
      bar.removeAttribute("value");
      return;
    }
    const left = job.left_s === null ? "" : `, about ${seconds(job.left_s)} left in this step`;
    const share = job.total ? ` ${Math.min(100, Math.round((100 * job.done) / job.total))} %` : "";
    const [stage, part] = job.stage.split(/(, part .*)/);
    tell(`${STAGES[stage] || stage.slice(0, 1).toUpperCase() + stage.slice(1)}${part || ""}${share}${left}`);
    if (job.total) bar.value = Math.min(1, job.done / job.total);
    else bar.removeAttribute("value");
  }

  async function act(what) {
    const id = wanted;
    acting = true;
    cancel.disabled = true;
    again.disabled = true;
    said.replaceChildren();
    tell(what === "cancel" ? "Cancelling…" : "Starting…");
    try {
      await post(`/api/jobs/${id}/${what}`);
    } catch (error) {
      said.replaceChildren(problem(error.message));
    }
    acting = false;
    cancel.disabled = false;
    again.disabled = false;
    if (wanted === id) follow(id);
  }

  let turn = 0;
  async function follow(id) {
    turn += 1;
    const mine = turn;
    while (mine === turn) {
      let job;
      try {
        job = await get(`/api/jobs/${id}`);
      } catch (error) {
        if (mine !== turn) return;
        // A server that is started again has the job still.
        if (error.status === undefined) {
          tell(error.message);
          await new Promise((wake) => { setTimeout(wake, 4 * EVERY_MS); });
          continue;
        }
        for (const part of [bar, cancel, again, other]) part.hidden = true;
        tell("");
        said.replaceChildren(problem(error.message));
        return;
      }
      if (mine !== turn) return;
      show(job);
      if (OVER.includes(job.state)) {
        if (job.state === "done") result.replaceChildren(...RESULTS[job.kind](job.result, job));
        return;
      }
      await new Promise((wake) => { setTimeout(wake, EVERY_MS); });
    }
  }

  function shown(id) {
    if (wanted === id && !card.hidden) return;
    if (wanted === id && result.childElementCount) {
      document.title = `${title.textContent} · pushpull`;
      return;
    }
    wanted = id;
    card.hidden = false;
    title.textContent = "Job";
    about.replaceChildren();
    result.replaceChildren();
    said.replaceChildren();
    tell("");
    follow(id);
  }

  window.addEventListener("hashchange", () => {
    // Nobody looks: what goes on does so without being asked about.
    if (!location.hash.startsWith("#jobs/")) { turn += 1; if (!result.childElementCount) wanted = null; }
  });
  page.append(el("div", { class: "heading" }, title, about), card, result);
  return { shown };
}

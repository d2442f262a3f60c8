// A job from its start to its result: where it is in the queue, how far, how long still, cancel.

import { get, post } from "./api.js";
import { el, problem, seconds } from "./dom.js";

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
const OVER = ["done", "failed", "cancelled"];

export function jobCard(title) {
  const text = el("p", {});
  const bar = el("progress", { max: 1, "aria-label": title });
  const cancel = el("button", { type: "button", class: "quiet" }, "Cancel");
  const live = el("div", { "aria-live": "polite" }, text);
  const busy = el("div", {}, live, bar, el("p", {}, cancel));
  const said = el("div", {});
  const card = el("div", { class: "card", hidden: true }, el("h2", {}, title), busy, said);
  let wanted = null;

  function show(job) {
    if (job.state === "queued") {
      text.textContent = job.ahead === 0 ? "Next in the queue…"
        : `Waiting: ${job.ahead} ${job.ahead === 1 ? "job comes" : "jobs come"} first.`;
      bar.removeAttribute("value");
      return;
    }
    const left = job.left_s === null ? "" : `, about ${seconds(job.left_s)} left in this step`;
    const share = job.total ? ` ${Math.min(100, Math.round((100 * job.done) / job.total))} %` : "";
    const [stage, part] = job.stage.split(/(, part .*)/);
    text.textContent = `${STAGES[stage] || stage[0].toUpperCase() + stage.slice(1)}${part || ""}${share}${left}`;
    if (job.total) bar.value = Math.min(1, job.done / job.total);
    else bar.removeAttribute("value");
  }

  function stop(message) {
    busy.hidden = true;
    said.replaceChildren(problem(message));
  }

  async function run(asked) {
    card.hidden = false;
    busy.hidden = false;
    cancel.disabled = false;
    said.replaceChildren();
    text.textContent = "Starting…";
    bar.removeAttribute("value");
    try {
      let job = await post("/api/jobs", asked);
      wanted = job.id;
      cancel.onclick = async () => {
        cancel.disabled = true;
        text.textContent = "Cancelling…";
        try {
          await post(`/api/jobs/${job.id}/cancel`);
        } catch (error) {
          stop(error.message);
        }
      };
      while (!OVER.includes(job.state)) {
        if (!cancel.disabled) show(job);
        await new Promise((wake) => setTimeout(wake, EVERY_MS));
        job = await get(`/api/jobs/${job.id}`);
      }
      if (wanted !== job.id) return null;
      if (job.state === "done") {
        card.hidden = true;
        return job.result;
      }
      stop(job.state === "cancelled" ? "Cancelled. Nothing was kept; start again when you like." : job.error);
    } catch (error) {
      stop(error.message);
    }
    return null;
  }

  return { card, run };
}

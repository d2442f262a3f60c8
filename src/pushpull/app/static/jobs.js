// Starting a job, and the list of one's jobs: each has an address of its own, where it goes on.

import { get, post } from "./api.js";
import { el, problem } from "./dom.js";

const EVERY_MS = 1500;
export const KINDS = { detect: "Detect", attack: "Attack" };
export const STATES = {
  queued: "waiting", running: "running", done: "done", failed: "failed", cancelled: "cancelled", interrupted: "interrupted",
};
export const OVER = ["done", "failed", "cancelled", "interrupted"];

export function jobAddress(id) {
  return `#jobs/${id}`;
}

// A form that becomes a job: what it asks for is sent, and the page turns to the job.
export function starter(form, button, said, asked) {
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    button.disabled = true;
    said.replaceChildren();
    try {
      const { id } = await post("/api/jobs", asked());
      location.hash = jobAddress(id);
    } catch (error) {
      said.replaceChildren(problem(error.message));
    }
    button.disabled = false;
  });
}

export function when(begun_s) {
  const begun = new Date(1000 * begun_s);
  const today = new Date().toDateString() === begun.toDateString();
  return begun.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}

export function jobsCard() {
  const list = el("ul", { class: "list" });
  const said = el("div", {});
  const card = el("section", { class: "card", "aria-label": "Your jobs", hidden: true }, el("h2", {}, "Your jobs"), list, said);
  let next = null;

  function row(job) {
    const share = job.state === "running" && job.total ? ` ${Math.min(100, Math.round((100 * job.done) / job.total))} %` : "";
    const again = job.again ? el("button", {
      type: "button", class: "quiet slim", "aria-label": `Run ${job.name} again`, onclick: () => act(job, "again"),
    }, "Run again") : null;
    const gone = OVER.includes(job.state) ? el("button", {
      type: "button", class: "quiet slim", "aria-label": `Delete ${job.name}`, onclick: () => act(job, "delete"),
    }, "Delete") : null;
    return el("li", { class: "row" },
      el("span", { class: "tag" }, KINDS[job.kind]),
      el("a", { class: "grow", href: jobAddress(job.id) }, job.name),
      el("span", { class: `state ${job.state}` }, STATES[job.state] + share),
      el("time", { class: "note", datetime: new Date(1000 * job.begun_s).toISOString() }, when(job.begun_s)),
      again, gone);
  }

  async function act(job, what) {
    said.replaceChildren();
    try {
      await post(`/api/jobs/${job.id}/${what}`);
      if (what === "again") location.hash = jobAddress(job.id);
    } catch (error) {
      said.replaceChildren(problem(error.message));
    }
    await shown();
  }

  async function shown() {
    clearTimeout(next);
    let jobs;
    try {
      ({ jobs } = await get("/api/jobs"));
    } catch (error) {
      said.replaceChildren(problem(error.message));
      return;
    }
    card.hidden = !jobs.length;
    // What has the focus stays where it is: only what changed is drawn anew.
    const text = JSON.stringify(jobs.map(({ id, state, done, total, again }) => [id, state, done, total, again]));
    if (text !== list.dataset.shown) {
      const held = [...list.querySelectorAll("a, button")].indexOf(document.activeElement);
      list.replaceChildren(...jobs.map(row));
      if (held >= 0) list.querySelectorAll("a, button")[held]?.focus();
      list.dataset.shown = text;
    }
    const going = jobs.some(({ state }) => !OVER.includes(state));
    if (going) next = setTimeout(() => { if (card.offsetParent) shown(); }, EVERY_MS);
  }
  return { card, shown };
}

import { get } from "./api.js";
import { el, problem } from "./dom.js";

const KINDS = { reproduce: "Reproduction", audit: "Audit", attack: "Attack" };
const FIRST = ["results.json", "audit.md", "audit.html", "report.html"];
const fileUrl = (id) => `/api/runs/files/${id}`;

export function reportsPage(page) {
  const list = el("div", {});
  const view = el("div", { id: "report-view" });
  page.append(
    el("h1", {}, "Reports"),
    el("p", { class: "lead" }, "What pushpull reproduce, audit and attack left in the folder that the app was started on."),
    list, view,
  );

  async function open(run, name) {
    const url = fileUrl(run.files[name]);
    const close = el("button", { type: "button", class: "quiet", onclick: () => view.replaceChildren() }, "Close");
    const head = el("div", { class: "row" }, el("h2", { class: "grow" }, `${run.name} / ${name}`), close);
    const content = await inside(name, url);
    view.replaceChildren(el("div", { class: "card" }, head, content));
    view.scrollIntoView({ block: "start" });
  }

  async function inside(name, url) {
    if (name.endsWith(".html")) return el("iframe", { src: url, sandbox: "", title: name });
    if (name.endsWith(".mp4")) return el("video", { src: url, controls: true, playsinline: true, "aria-label": name });
    if (name.endsWith(".png")) return el("img", { src: url, alt: name, class: "picture" });
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error();
      return el("pre", { tabindex: 0 }, await response.text());
    } catch {
      return problem("This file cannot be had any more. Reload the page.");
    }
  }

  // What people read comes first.
  const ordered = (run) => Object.keys(run.files).sort((a, b) => FIRST.indexOf(b) - FIRST.indexOf(a));

  function thumb(run) {
    if (run.has_drawing) return el("img", { class: "thumb", src: `/api/runs/drawings/${run.files["report.html"] ?? run.files["audit.html"]}`, alt: "", loading: "lazy" });
    if (run.picture?.endsWith(".mp4")) {
      return el("video", { class: "thumb", src: `${fileUrl(run.files[run.picture])}#t=0.5`, preload: "metadata", muted: true, tabindex: -1, "aria-hidden": "true" });
    }
    if (run.picture) return el("img", { class: "thumb", src: fileUrl(run.files[run.picture]), alt: "", loading: "lazy" });
    return el("div", { class: "thumb none" });
  }

  async function shown() {
    let found;
    try {
      found = await get("/api/runs");
    } catch (error) {
      list.replaceChildren(problem(error.message));
      return;
    }
    if (!found.runs.length) {
      list.replaceChildren(el("div", { class: "card" }, el("h2", {}, "No runs yet"),
        el("p", {}, "Make one with ", el("code", {}, "pushpull reproduce"), " (the demo takes minutes), then start ",
          el("code", {}, "pushpull app --runs FOLDER"), " with the folder it was made in.")));
      return;
    }
    list.replaceChildren(el("div", { class: "card" }, el("ul", { class: "list" }, found.runs.map((run) => el("li", { class: "run" },
      thumb(run),
      el("div", {},
        el("div", { class: "run-head" }, el("span", { class: "tag" }, KINDS[run.kind]), el("strong", {}, run.name), el("span", { class: "note" }, run.when)),
        run.verdict ? el("p", { class: "run-verdict" }, run.verdict) : null,
        el("div", { class: "row" }, ordered(run).map((name, i) => el("button", {
          type: "button", class: i === 0 ? "slim" : "quiet slim", "aria-label": `Open ${name} of ${run.name}`, onclick: () => open(run, name),
        }, name)))))))));
  }
  return { shown };
}

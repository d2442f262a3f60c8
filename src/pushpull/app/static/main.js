import { about, post } from "./api.js";
import { seconds } from "./dom.js";
import { abxPage } from "./abx.js";
import { attackPage } from "./attack.js";
import { detectPage } from "./detect.js";
import { jobPage } from "./job.js";
import { livePage } from "./live.js";
import { reportsPage } from "./reports.js";

const PAGES = {
  detect: detectPage, live: livePage, attack: attackPage, abx: abxPage, reports: reportsPage, jobs: jobPage,
};
const opened = new Map();

function show() {
  // #jobs/ID opens a job; the list of all is on the first page.
  const [wanted, part] = location.hash.slice(1).split("/");
  const name = Object.hasOwn(PAGES, wanted) && (wanted !== "jobs" || part) ? wanted : "detect";
  for (const other of Object.keys(PAGES)) {
    document.getElementById(`page-${other}`).hidden = other !== name;
    const link = document.querySelector(`nav a[href="#${other}"]`);
    if (other === name) link?.setAttribute("aria-current", "page");
    else link?.removeAttribute("aria-current");
  }
  for (const media of document.querySelectorAll("section[hidden] video")) media.pause();
  if (!opened.has(name)) opened.set(name, PAGES[name](document.getElementById(`page-${name}`)) || {});
  document.getElementById("main").classList.toggle("wide", name === "jobs");
  document.title = `${name === "abx" ? "ABX" : name[0].toUpperCase() + name.slice(1)} · pushpull`;
  opened.get(name).shown?.(part);
}

window.addEventListener("hashchange", show);
// A file dropped beside the drop zone would replace the page.
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (e) => e.preventDefault());

document.getElementById("forget").addEventListener("click", async (e) => {
  e.target.disabled = true;
  try {
    await post("/api/forget");
    location.hash = "#detect";
    location.reload();
  } catch (error) {
    e.target.disabled = false;
    document.getElementById("privacy").textContent = error.message;
  }
});
about().then(({ limits }) => {
  document.getElementById("privacy").textContent = "Everything stays on the machine that runs this server; "
    + `what you upload is removed after ${seconds(limits.keep_s)} without a visit, or by this button.`;
}).catch(() => {});
show();

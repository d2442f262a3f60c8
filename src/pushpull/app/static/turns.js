// The turns of a detection as a list: go to one, correct it, drop it, add one, keep them as labels.

import { el, problem } from "./dom.js";

const NEW_S = 0.5;
const STEP_S = 0.04;

export function turnsCard({ faces, duration_s: duration }, { seek, now, changed, save, discard }) {
  const body = el("tbody", {});
  const none = el("p", { class: "note" }, "No turns.");
  const said = el("div", { role: "status" });
  const face = el("select", { "aria-label": "Face of the new turn" }, faces.map(({ id }, i) => el("option", { value: i }, `Face ${id}`)));
  const keep = el("button", { type: "button", onclick: store }, "Save corrections");
  const drop = el("button", { type: "button", class: "quiet", hidden: true, onclick: back }, "Discard corrections");
  const add = el("button", { type: "button", class: "quiet", onclick: addOne }, "Add a turn here");
  const card = el("section", { class: "card", id: "turns", "aria-label": "Turns" }, el("h2", {}, "Turns"),
    el("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "List of turns" }, el("table", {},
      el("thead", {}, el("tr", {}, ["Go to", "Start, s", "End, s", "Change"].map((name) => el("th", { scope: "col" }, name)))), body), none),
    el("div", { class: "row controls" }, el("div", {}, face), add, keep, drop), said,
    el("p", { class: "note" }, "Corrections are saved as labels in the form of AVA-ActiveSpeaker (csv), which pushpull score compares scores with."));
  let rows = [];

  const sorted = () => faces.map((_, i) => rows.filter((row) => row.face === i).map(({ start, end }) => [start, end]).sort((a, b) => a[0] - b[0]));

  function touched() {
    drop.hidden = false;
    said.replaceChildren();
    changed(sorted());
  }

  function number(row, name, label) {
    const input = el("input", {
      type: "number", min: 0, max: Math.ceil(duration), step: "any", value: row[name].toFixed(2), "aria-label": label, required: true,
      onchange: () => {
        const value = Math.max(0, Math.min(duration, Number(input.value)));
        const fits = Number.isFinite(value) && input.value !== "" && (name === "start" ? value < row.end : value > row.start);
        if (!fits) {
          input.value = row[name].toFixed(2);
          said.replaceChildren(problem("A turn ends after it starts, within the video: the number was put back."));
          return;
        }
        row[name] = value;
        row.link.setAttribute("aria-label", goes(row));
        touched();
      },
      onkeydown: (e) => {
        const by = { ArrowUp: STEP_S, ArrowDown: -STEP_S }[e.key];
        if (by === undefined) return;
        e.preventDefault();
        input.value = Math.max(0, Number(input.value) + by).toFixed(2);
        input.dispatchEvent(new Event("change"));
      },
    });
    return input;
  }

  const words = ({ face: i }) => `Face ${faces[i].id}`;
  const goes = ({ face: i, start, end }) => `Go to turn of face ${faces[i].id}, ${start.toFixed(2)} to ${end.toFixed(2)} s`;

  function draw() {
    rows.sort((a, b) => a.start - b.start || a.face - b.face);
    body.replaceChildren(...rows.map((row, n) => {
      row.link = el("button", { type: "button", class: "quiet slim", "aria-label": goes(row), onclick: () => seek(row.start) }, words(row));
      row.line = el("tr", {},
        el("td", {}, row.link), el("td", {}, number(row, "start", `Start of turn ${n + 1}`)), el("td", {}, number(row, "end", `End of turn ${n + 1}`)),
        el("td", {}, el("button", {
          type: "button", class: "quiet slim", "aria-label": `Delete turn ${n + 1}`,
          onclick: () => {
            rows = rows.filter((other) => other !== row);
            draw();
            touched();
            (body.querySelectorAll("tr")[Math.min(n, rows.length - 1)]?.querySelector("button") ?? add).focus();
          },
        }, "Delete")));
      return row.line;
    }));
    none.hidden = rows.length > 0;
  }

  function addOne() {
    const start = Math.max(0, Math.min(now(), duration - NEW_S));
    rows.push({ face: Number(face.value), start, end: Math.min(duration, start + NEW_S) });
    draw();
    touched();
  }

  async function store() {
    keep.disabled = true;
    try {
      const link = await save(sorted());
      drop.hidden = false;
      said.replaceChildren(el("p", { class: "chosen" }, "Saved: ", link));
    } catch (error) {
      said.replaceChildren(problem(error.message));
    }
    keep.disabled = false;
  }

  async function back() {
    drop.hidden = true;
    said.replaceChildren();
    await discard();
    keep.focus();
  }

  return {
    card,
    show(turns, corrected = false) {
      rows = turns.flatMap((own, i) => own.map(([start, end]) => ({ face: i, start, end })));
      drop.hidden = !corrected;
      draw();
    },
    at(time) {
      for (const { line, start, end } of rows) line.classList.toggle("now", time >= start - 1e-6 && time < end);
    },
  };
}

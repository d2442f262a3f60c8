// What all results have.

import { downloadUrl } from "./api.js";
import { el } from "./dom.js";

export function downloadsCard(downloads) {
  return el("section", { class: "card", "aria-label": "Download" }, el("h2", {}, "Download"), el("div", { class: "row" },
    downloads.map(({ name, file }) => el("a", { class: "button quiet slim", href: downloadUrl(file), download: name }, name))));
}

export function notes(lines) {
  return lines.map((line) => el("p", { class: "note" }, line));
}

// One of some, as buttons beside each other; the arrow keys change it.
export function choice(name, legend, options, chosen, changed) {
  const inputs = options.map(([value, words]) => [words, el("input", {
    type: "radio", name, value, checked: value === chosen, onchange: () => changed(value),
  })]);
  return el("fieldset", { class: "choice" }, el("legend", { class: "unseen" }, legend),
    inputs.map(([words, input]) => el("label", {}, input, el("span", {}, words))));
}

// Elements are built, never parsed: names of files cannot become markup.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function problem(message) {
  return el("p", { class: "problem", role: "alert" }, message);
}

export function seconds(value) {
  if (value === null || value === undefined) return "";
  if (value < 90) return `${Math.max(1, Math.round(value))} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${Math.round(value / 3600)} hours`;
}

export function percent(share) {
  return share === null ? "none" : `${(100 * share).toFixed(1)} %`;
}

export function field(label, control) {
  return el("label", {}, label, control);
}

export function check(label, input) {
  return el("label", { class: "check" }, input, label);
}

export function select(name, options, chosen) {
  return el(
    "select",
    { name },
    options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)),
  );
}

// Choosing a video: drop it, pick it, take the example, or record it. Both pages share the choice.

import { about, get, upload, post } from "./api.js";
import { el, problem, seconds } from "./dom.js";

const shared = new EventTarget();
let current = null;

function take(video) {
  current = video;
  shared.dispatchEvent(new Event("change"));
}

export function forgetSource() {
  take(null);
}

const LONGEST_RECORDING_S = 20;
const MOST_EARLIER = 5;

export function sourceCard(changed) {
  const input = el("input", { type: "file", accept: "video/*,.mkv,.avi,.mpg,.ts,.flv,.wmv", hidden: true });
  const pick = el("button", { type: "button", onclick: () => input.click() }, "Choose a video");
  const record = el("button", { type: "button", class: "quiet" }, "Record");
  const examples = el("span", { class: "row" });
  const said = el("div", { "aria-live": "polite" });
  const preview = el("video", { muted: true, playsinline: true, hidden: true, "aria-label": "Camera" });
  preview.muted = true;
  const limits = el("p", { class: "note" });
  const drop = el(
    "div", { class: "drop" },
    el("p", {}, "Drop a video here, or"),
    el("div", { class: "row center" }, pick, record, examples),
    limits,
  );
  drop.querySelector(".center").style.justifyContent = "center";
  const earlier = el("div", { class: "row" });
  const card = el("div", { class: "card" }, el("h2", {}, "Video"), drop, input, preview, said, earlier);

  function show() {
    if (current) {
      said.replaceChildren(el(
        "p", { class: "chosen" }, el("strong", {}, current.name),
        ` · ${current.duration_s.toFixed(1)} s · ${current.width} × ${current.height} · `
        + `${Math.round(current.fps * 100) / 100} fps`,
      ));
    } else said.replaceChildren();
    changed(current);
  }
  shared.addEventListener("change", show);

  // After a reload, or on another day: what is there need not be sent again.
  async function showEarlier() {
    const { uploads } = await get("/api/uploads");
    if (!uploads.length || current) return;
    earlier.replaceChildren(el("span", { class: "note" }, "Sent before:"), ...uploads.slice(0, MOST_EARLIER).map((video) =>
      el("button", { type: "button", class: "quiet slim", onclick: () => take(video) }, video.name)));
  }
  shared.addEventListener("change", () => { if (current) earlier.replaceChildren(); });
  showEarlier().catch(() => {});

  function fail(error) {
    take(null);
    said.replaceChildren(problem(error.message));
  }

  async function send(file, name) {
    take(null);
    const bar = el("progress", { max: 1, value: 0, "aria-label": "Upload" });
    const text = el("p", { class: "note" }, "Uploading…");
    said.replaceChildren(text, bar);
    try {
      const { limits: allowed } = await about();
      if (file.size > allowed.upload_bytes) {
        throw new Error(`This file has ${Math.ceil(file.size / 2 ** 20)} MiB; expected at most `
          + `${Math.floor(allowed.upload_bytes / 2 ** 20)} MiB. Cut out a part of it, or make it smaller.`);
      }
      const video = await upload(file, name, (done, total) => {
        bar.value = total ? done / total : 0;
        if (done === total) text.textContent = "Looking at it…";
      });
      take(video);
    } catch (error) {
      fail(error);
    }
  }

  input.addEventListener("change", () => {
    if (input.files.length) send(input.files[0], input.files[0].name);
    input.value = "";
  });
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (e) => {
      e.preventDefault();
      drop.classList.add("over");
    });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (e) => {
    e.preventDefault();
    drop.classList.remove("over");
    const file = e.dataTransfer.files[0];
    if (file) send(file, file.name);
    else fail(new Error("That was no file. Drop a video file."));
  });

  let recorder = null;
  record.addEventListener("click", async () => {
    if (recorder) {
      recorder.stop();
      return;
    }
    let stream;
    try {
      if (!navigator.mediaDevices) throw new Error("no devices");
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: true });
    } catch {
      fail(new Error("The camera or microphone cannot be used. Allow both for this address in the "
        + "browser, and open the app as localhost or 127.0.0.1."));
      return;
    }
    const parts = [];
    preview.srcObject = stream;
    preview.hidden = false;
    preview.play().catch(() => {});
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (e) => parts.push(e.data));
    recorder.addEventListener("stop", () => {
      const kind = recorder.mimeType;
      recorder = null;
      clearTimeout(timer);
      record.textContent = "Record";
      for (const track of stream.getTracks()) track.stop();
      preview.srcObject = null;
      preview.hidden = true;
      send(new Blob(parts, { type: kind }), "recording.webm");
    });
    recorder.start(500);
    record.textContent = `Stop (at most ${LONGEST_RECORDING_S} s)`;
    const timer = setTimeout(() => recorder?.stop(), LONGEST_RECORDING_S * 1000);
  });

  about().then(({ examples: bundled, limits: allowed }) => {
    limits.textContent = `Up to ${Math.floor(allowed.upload_bytes / 2 ** 20)} MiB and `
      + `${seconds(allowed.longest_s)}, with sound.`;
    for (const [name, words] of Object.entries(bundled)) {
      examples.append(el("button", {
        type: "button", class: "quiet", title: words,
        onclick: async () => {
          take(null);
          said.replaceChildren(el("p", { class: "note" }, "Looking at it…"));
          try {
            take(await post(`/api/examples/${name}`));
          } catch (error) {
            fail(error);
          }
        },
      }, `Example: ${name.replaceAll("-", " ")}`));
    }
  }).catch(fail);
  show();
  return card;
}

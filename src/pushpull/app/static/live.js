// Who is speaking before the camera, now. The picture that is shown is the one that was scored.

import { about, packet, post } from "./api.js";
import { el, field, problem, select } from "./dom.js";

const WIDEST = 640;
const EVERY_MS = 40;
const KEPT_MS = 2500;
const LATE_S = 1;
const STEADY_S = 0.4;
const SAY_EVERY_MS = 1500;
const HERE = ["localhost", "127.0.0.1", "[::1]"];

const REFUSED = {
  NotAllowedError: "The camera or the microphone was refused. Allow both for this address in the browser's settings, then start again.",
  NotFoundError: "No camera or no microphone was found. Plug in what is missing, then start again.",
  NotReadableError: "The camera or the microphone cannot be read; another program may have it. Close that, then start again.",
};
const UNSAFE = "Browsers give the camera to safe addresses only: open this app as localhost on the machine that runs it, "
  + "or put a proxy with https before it.";

export function livePage(page) {
  const start = el("button", { type: "button" }, "Start");
  const fields = el("div", { class: "fields" });
  const canvas = el("canvas", { class: "live", hidden: true, role: "img", "aria-label": "Camera with boxes around faces" });
  const who = el("p", { class: "who", "aria-live": "polite" });
  const numbers = el("p", { class: "note" });
  const said = el("div", {});
  const view = el("div", { class: "watch", hidden: true },
    el("section", { class: "card", "aria-label": "Camera" }, canvas),
    el("section", { class: "card", "aria-label": "Who speaks" }, who,
      el("div", { class: "legend" }, el("span", {}, el("span", { class: "key speaks" }), "speaks"),
        el("span", {}, el("span", { class: "key silent" }), "silent; numbers are log-odds")),
      numbers));
  let chosen = null;
  let running = null;

  about().then(({ detectors }) => {
    chosen = select("detector", detectors.map(({ name }) => [name, name]), detectors[0].name);
    fields.append(field("Detector", chosen));
  }).catch(() => {});

  async function stop(error = null) {
    const ended = running;
    running = null;
    ended?.end();
    start.textContent = "Start";
    start.disabled = false;
    who.textContent = "";
    view.hidden = canvas.hidden;
    said.replaceChildren(...(error ? [problem(error.message)] : []));
  }

  async function begin() {
    start.disabled = true;
    said.replaceChildren();
    try {
      const devices = await openDevices();
      try {
        view.hidden = false;
        who.textContent = "The detector is being loaded…";
        for (const track of devices.stream.getTracks()) {
          track.addEventListener("ended", () => stop(new Error("The camera or the microphone is gone. Plug it in, then start again.")));
        }
        const { id } = await post("/api/live", chosen ? { detector: chosen.value } : {});
        running = watching(id, devices, { canvas, who, numbers }, stop);
      } catch (error) {
        devices.close();
        throw error;
      }
      start.textContent = "Stop";
      start.disabled = false;
      if (location.hash !== "#live") stop();
    } catch (error) {
      stop(error);
    }
  }

  start.addEventListener("click", () => (running ? stop() : begin()));
  window.addEventListener("pagehide", () => stop());
  window.addEventListener("hashchange", () => {
    if (running && location.hash !== "#live") stop();
  });
  page.append(
    el("h1", {}, "Who is speaking now?"),
    el("p", { class: "lead" }, HERE.includes(location.hostname)
      ? "Pictures and sound of your camera and microphone do not leave this machine, and nothing is kept."
      : `Pictures and sound of your camera and microphone go to ${location.hostname}, which runs this app, and nowhere else; nothing is kept.`),
    el("div", { class: "card" }, el("div", { class: "row ends" }, fields, start), said),
    view,
  );
}

async function openDevices() {
  if (!window.isSecureContext || !navigator.mediaDevices) throw new Error(UNSAFE);
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: WIDEST }, height: { ideal: 360 }, frameRate: { ideal: 25 } },
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: true },
    });
  } catch (error) {
    throw new Error(REFUSED[error.name] ?? `The camera cannot be used (${error.name}). Try another browser.`);
  }
  const sound = new AudioContext();
  const video = document.createElement("video");
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
    if (sound.state !== "closed") sound.close();
  };
  try {
    video.muted = true;
    video.playsInline = true;
    video.srcObject = stream;
    await video.play();
    await sound.audioWorklet.addModule("/static/live-sound.js");
    await sound.resume();
  } catch (error) {
    close();
    throw error;
  }
  return { stream, sound, video, close };
}

// Sound since it was last taken, and when its first sample was heard.
function microphone({ sound, stream }, now) {
  const node = new AudioWorkletNode(sound, "microphone", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  const rate = sound.sampleRate;
  let parts = [];
  let heard = 0;
  let taken = 0;
  let begun = Infinity;
  node.port.onmessage = ({ data }) => {
    parts.push(data);
    heard += data.length;
    // Messages come late, never early: the earliest tells when the sound began. A little later each
    // time, since two clocks never go alike.
    begun = Math.min(begun + 1e-4 * data.length / rate, now() - heard / rate);
  };
  sound.createMediaStreamSource(stream).connect(node);
  return {
    rate,
    drop() {
      parts = [];
      taken = heard;
    },
    take() {
      const at = Math.max(0, begun + taken / rate);
      const found = parts;
      parts = [];
      taken = heard;
      return { at, parts: found };
    },
  };
}

function watching(id, devices, { canvas, who, numbers }, stop) {
  const { video } = devices;
  const began = performance.now();
  const now = () => (performance.now() - began) / 1000;
  const heard = microphone(devices, now);
  const small = document.createElement("canvas");
  small.width = Math.min(WIDEST, video.videoWidth);
  small.height = Math.round(small.width * video.videoHeight / video.videoWidth);
  canvas.width = small.width;
  canvas.height = small.height;
  canvas.hidden = false;
  const seen = faces();
  const speech = teller(who);
  let shots = [];
  let sent = [];
  let due = 0;
  let behind = null;
  let over = false;

  // Not in a page that is not looked at: there a picture comes now and then.
  const nextPicture = () => new Promise((done) => {
    const late = setTimeout(done, 500);
    if (!video.requestVideoFrameCallback) setTimeout(done, 30);
    else video.requestVideoFrameCallback(() => { clearTimeout(late); done(); });
  });

  async function run() {
    let ready = false;
    while (!over) {
      const asked = { rate: heard.rate };
      const body = [];
      if (!ready) {
        await new Promise((done) => { setTimeout(done, 150); });
        heard.drop();
      } else {
        await nextPicture();
        const at = now();
        if (1000 * at < due - 5) continue;
        due = Math.max(due + EVERY_MS, 1000 * at);
        if (Math.abs(video.videoHeight / video.videoWidth - small.height / small.width) > 0.02) {
          throw new Error("The picture has another shape than before. Start again.");
        }
        small.getContext("2d").drawImage(video, 0, 0, small.width, small.height);
        const [jpeg, shot] = await Promise.all([
          new Promise((done) => { small.toBlob(done, "image/jpeg", 0.85); }), createImageBitmap(small),
        ]);
        shots.push({ at, shot });
        const { at: from, parts } = heard.take();
        body.push(...parts, jpeg);
        asked.sound = 2 * parts.reduce((n, part) => n + part.length, 0);
        asked.sound_s = from.toFixed(4);
        asked.picture_s = at.toFixed(4);
        sent.push(at);
      }
      if (over) return;
      const found = await packet(id, asked, new Blob(body));
      if (over) return;
      if (found.error) throw new Error(found.error);
      if (found.ended) throw new Error("This has ended: it was started in another tab, or this page was out of sight for long. Start again.");
      if (found.ready && !ready) who.textContent = "Looking for faces…";
      ready = found.ready;
      behind = seen.take(found.scores, now()) ?? behind;
      if (ready) draw(found.left_out);
    }
  }

  function draw(leftOut) {
    const newest = Math.max(seen.newest(), now() - LATE_S);
    const at = shots.findLastIndex((one) => one.at <= newest + 0.02);
    if (at < 0) return;
    const { at: time, shot } = shots[at];
    const brush = canvas.getContext("2d");
    brush.drawImage(shot, 0, 0);
    const rows = seen.at(time);
    for (const row of rows) box(brush, row, canvas);
    for (const old of shots.splice(0, at)) old.shot.close();
    while (shots.length && time - shots[0].at > KEPT_MS / 1000) shots.shift().shot.close();
    speech(rows, time, behind);
    sent = sent.filter((t) => now() - t < 2);
    const pace = `${Math.round(sent.length / Math.min(2, Math.max(0.1, now() - sent[0])))} pictures a second`;
    numbers.textContent = `${pace}${behind === null ? "" : `, scores ${behind.toFixed(1)} s behind`}, ${leftOut} left out for lack of time.`;
  }

  run().catch((error) => { if (!over) stop(error); });
  return {
    end() {
      over = true;
      devices.close();
      for (const { shot } of shots) shot.close();
      shots = [];
      packet(`${id}/end`, {}, null).catch(() => {});
    },
  };
}

// The last scores of each face by time.
function faces() {
  const known = new Map();
  let newest = -Infinity;
  return {
    newest: () => newest,
    take(scores, now) {
      let late = null;
      for (const row of scores) {
        if (!known.has(row.face)) known.set(row.face, new Map());
        known.get(row.face).set(row.time_s, row);
        if (row.time_s > newest) {
          newest = row.time_s;
          late = now - newest;
        }
      }
      for (const [face, rows] of known) {
        for (const time of rows.keys()) if (time < now - KEPT_MS / 1000) rows.delete(time);
        if (!rows.size) known.delete(face);
      }
      return late;
    },
    at(time) {
      const found = [];
      for (const rows of known.values()) {
        let best = null;
        for (const row of rows.values()) {
          if (Math.abs(row.time_s - time) <= 0.1
            && (!best || Math.abs(row.time_s - time) < Math.abs(best.time_s - time))) best = row;
        }
        if (best) found.push(best);
      }
      return found;
    },
  };
}

function box(brush, { face, box: [x1, y1, x2, y2], score }, { width, height }) {
  const speaks = score > 0;
  const text = `${face} ${speaks ? "speaks" : "silent"} ${score > 0 ? "+" : "−"}${Math.abs(score).toFixed(1)}`;
  brush.strokeStyle = speaks ? "#4cc38f" : "#f08a8a";
  brush.lineWidth = speaks ? 5 : 2;
  brush.strokeRect(x1, y1, x2 - x1, y2 - y1);
  brush.font = `600 ${Math.round(width / 34)}px system-ui, sans-serif`;
  const wide = brush.measureText(text).width + 10;
  const high = Math.round(width / 34) + 8;
  const left = Math.max(0, Math.min(x1, width - wide));
  const top = y1 - high > 0 ? y1 - high : Math.min(y2, height - high);
  brush.fillStyle = "rgba(0, 0, 0, .75)";
  brush.fillRect(left, top, wide, high);
  brush.fillStyle = "#ffffff";
  brush.fillText(text, left + 5, top + high - 8);
}

// Says who speaks in words, when it has been so for a moment, and not too often.
function teller(who) {
  let wanted = "";
  let since = 0;
  let told = -Infinity;
  return (rows, time, behind) => {
    const speaking = rows.filter(({ score }) => score > 0).map(({ face }) => face);
    let text = "Nobody speaks.";
    if (!rows.length && behind > LATE_S) text = "Scores come too late to be shown. Close other programs, or choose a smaller detector.";
    else if (!rows.length) text = "No face is in sight.";
    else if (speaking.length === 1) text = `Face ${speaking[0]} speaks.`;
    else if (speaking.length) text = `Faces ${speaking.slice(0, -1).join(", ")} and ${speaking.at(-1)} speak.`;
    if (text !== wanted) {
      wanted = text;
      since = time;
    }
    if (who.textContent === text || time - since < STEADY_S || performance.now() - told < SAY_EVERY_MS) return;
    who.textContent = text;
    told = performance.now();
  };
}

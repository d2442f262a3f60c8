// Some videos of one length in step: one drives and is heard, the others are muted and follow it by
// playing a little faster or slower. Nothing that is heard is sought or bent while it plays.

import { el } from "./dom.js";

const NEAR_S = 0.01;
const FAR_S = 0.6;
const BEND = 0.2;
const CATCH_UP_S = 0.4;

export function inStep(players, duration, leader) {
  let lead = players[leader];
  const all = Object.values(players);
  const followers = () => all.filter((player) => player !== lead);
  const play = el("button", { type: "button", onclick: toggle }, "Play");
  const range = el("input", {
    type: "range", min: 0, max: duration, step: 0.01, value: 0, "aria-label": "Time", oninput: () => seek(Number(range.value)),
  });
  const clock = el("output", { class: "clock" }, time(0));

  function time(now) {
    return `${now.toFixed(1)} / ${duration.toFixed(1)} s`;
  }

  function seek(to) {
    for (const player of all) player.currentTime = to;
  }

  function toggle() {
    if (!lead.paused) {
      lead.pause();
      return;
    }
    if (lead.ended || lead.currentTime >= duration - 0.02) seek(0);
    for (const player of all) player.play().catch(() => {});
  }

  function steer() {
    for (const player of followers()) {
      const late = lead.currentTime - player.currentTime;
      if (Math.abs(late) > FAR_S) player.currentTime = lead.currentTime;
      else player.playbackRate = Math.abs(late) < NEAR_S ? 1 : 1 + Math.max(-BEND, Math.min(BEND, late / CATCH_UP_S));
    }
  }

  function settle() {
    play.textContent = "Play";
    for (const player of followers()) {
      player.pause();
      player.currentTime = lead.currentTime;
    }
  }

  for (const player of all) {
    player.addEventListener("play", () => { if (player === lead) play.textContent = "Pause"; });
    for (const over of ["pause", "ended"]) player.addEventListener(over, () => { if (player === lead) settle(); });
    player.addEventListener("waiting", () => { if (player === lead) for (const other of followers()) other.playbackRate = 1 - BEND; });
  }
  hear(leader);

  function hear(name) {
    lead = players[name];
    for (const player of all) {
      player.muted = player !== lead;
      if (player === lead) player.playbackRate = 1;
    }
  }

  return {
    play, range, clock, seek, hear,
    now: () => lead.currentTime,
    // Once for each picture that is drawn.
    at() {
      const now = lead.currentTime;
      if (document.activeElement !== range || !lead.paused) range.value = now;
      range.setAttribute("aria-valuetext", `${now.toFixed(1)} s`);
      clock.textContent = time(now);
      if (!lead.paused) steer();
    },
  };
}

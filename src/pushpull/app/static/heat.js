// Where pixels were changed, over the picture in grey: from a video of the change around middle grey.

const WIDEST = 480;
const STEPS = 128;
const LEAST = 0.12;

// Black, violet, red, orange, yellow: dark to light, so that it reads without its colours too.
const STOPS = [[20, 8, 40], [110, 20, 110], [215, 60, 70], [250, 150, 20], [252, 250, 150]];
const COLOURS = Array.from({ length: STEPS }, (_, i) => {
  const at = (i / (STEPS - 1)) * (STOPS.length - 1);
  const n = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[n].map((low, k) => low + (STOPS[n + 1][k] - low) * (at - n));
});

// `full`: distance from grey that is the largest change.
export function heatMap(canvas, clean, difference, full) {
  const sheets = [clean, difference].map(() => document.createElement("canvas").getContext("2d", { willReadFrequently: true }));
  return () => {
    if (!difference.videoWidth || !clean.videoWidth) return;
    const width = Math.min(WIDEST, difference.videoWidth);
    const height = Math.round((width * difference.videoHeight) / difference.videoWidth);
    for (const { canvas: one } of [{ canvas }, ...sheets]) {
      if (one.width !== width || one.height !== height) Object.assign(one, { width, height });
    }
    const [under, change] = [clean, difference].map((video, i) => {
      sheets[i].drawImage(video, 0, 0, width, height);
      return sheets[i].getImageData(0, 0, width, height);
    });
    for (let i = 0; i < under.data.length; i += 4) {
      const grey = 0.4 * (0.3 * under.data[i] + 0.59 * under.data[i + 1] + 0.11 * under.data[i + 2]);
      const heat = Math.min(1, Math.abs(change.data[i + 1] - 128) / full);
      const colour = COLOURS[Math.round(heat * (STEPS - 1))];
      const share = heat < LEAST ? 0 : Math.min(1, 0.35 + heat);
      for (let k = 0; k < 3; k += 1) under.data[i + k] = grey + (colour[k] - grey) * share;
    }
    canvas.getContext("2d").putImageData(under, 0, 0);
  };
}

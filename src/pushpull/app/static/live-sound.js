// Runs beside the page, in the thread of the sound: hands over what the microphone hears as int16.

const CHUNK = 1024;

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(CHUNK);
    this.filled = 0;
  }

  process([input]) {
    const [samples] = input;
    if (!samples) return true;
    for (const value of samples) {
      this.chunk[this.filled] = Math.max(-32768, Math.min(32767, Math.round(value * 32767)));
      this.filled += 1;
      if (this.filled === CHUNK) {
        this.port.postMessage(this.chunk);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);

// AudioWorklet: the microphone as chunks of 20 ms of PCM16 at 24 kHz, with the level of each 10 ms.

import { RATE } from "./pcm.js";
import { Resampler } from "./resampler.js";

const CHUNK = RATE / 50;
const HOP = CHUNK / 2;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.chunk = new Float32Array(CHUNK);
    this.filled = 0;
    this.made = 0; // samples at 24 kHz since `began`
    this.began = null; // time of the context's clock
    this.live = true;
    this.port.onmessage = ({ data }) => (data === "flush" ? this.flush() : (this.live = false));
  }

  process([input]) {
    if (!input.length) return this.live;
    this.began ??= currentTime;
    for (const sample of this.resampler.push(input[0])) {
      this.chunk[this.filled++] = sample;
      if (this.filled === CHUNK) this.hand();
    }
    return this.live;
  }

  /** Hand over what there is, so that the last word of who lets go of the button is whole. */
  flush() {
    if (this.filled) this.hand();
    this.port.postMessage({ flushed: true });
  }

  hand() {
    const wave = this.chunk.subarray(0, this.filled);
    const pcm = Int16Array.from(wave, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
    this.made += wave.length;
    const ended = this.began + this.made / RATE;
    const levels = [wave.subarray(0, HOP), wave.subarray(HOP)].filter((hop) => hop.length).map(level);
    this.port.postMessage({ pcm: pcm.buffer, levels, ended }, [pcm.buffer]);
    this.filled = 0;
  }
}

const level = (wave) => Math.sqrt(wave.reduce((sum, x) => sum + x * x, 0) / wave.length);

registerProcessor("capture", Capture);

// AudioWorklet: plays answers. The first sound is played at once; after a gap it waits until some is in store again.

import { RATE } from "./pcm.js";
import { Resampler } from "./resampler.js";

const STORE = 0.08; // seconds kept back after a gap
const LOUD = 10 ** (-50 / 20);
const WINDOW = Math.round(sampleRate / 50); // what is above LOUD for so long is audible

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.answers = []; // the first is being played
    this.onset = null;
    this.sum = this.counted = 0; // of the level that is told next
    this.port.onmessage = ({ data }) => this[data.do](data);
  }

  /** More samples (24 kHz) of an answer. */
  play({ item, samples }) {
    const answer = this.find(item) ?? this.begin(item);
    store(answer, answer.resampler.push(samples));
  }

  /** Nothing more of it will come. */
  end({ item }) {
    const answer = this.find(item);
    if (!answer) return;
    store(answer, answer.resampler.finish());
    answer.whole = true;
  }

  /** Fall silent, and tell how much was played. */
  stop() {
    const { item = null, played = 0 } = this.answers[0] ?? {};
    this.answers = [];
    this.port.postMessage({ kind: "stopped", item, seconds: played / sampleRate });
  }

  begin(item) {
    const resampler = new Resampler(RATE, sampleRate);
    const answer = { item, resampler, queue: [], stored: 0, at: 0, played: 0, gaps: 0, waits: false, whole: false };
    this.answers.push(answer);
    return answer;
  }

  find(item) {
    return this.answers.find((answer) => answer.item === item);
  }

  process(_, [output]) {
    const out = output[0];
    for (let n = 0; n < out.length; n++) out[n] = this.next();
    for (const channel of output.slice(1)) channel.set(out);
    if (this.onset) this.listen(out);
    this.measure(out);
    return true;
  }

  /** The next sample to be heard: 0 where there is none. */
  next() {
    const [answer] = this.answers;
    if (!answer) return 0;
    if (answer.waits && (answer.whole || answer.stored >= STORE * sampleRate)) answer.waits = false;
    if (answer.whole && !answer.stored) {
      this.over();
      return this.next();
    }
    if (answer.waits || !answer.stored) {
      this.miss(answer);
      return 0;
    }
    if (!answer.played) this.onset = new Onset();
    const [wave] = answer.queue;
    const sample = wave[answer.at++];
    answer.stored--;
    answer.played++;
    if (answer.at === wave.length) {
      answer.queue.shift();
      answer.at = 0;
    }
    return sample;
  }

  miss(answer) {
    if (answer.played) {
      answer.waits = true;
      answer.gaps++;
    }
  }

  over() {
    const { item, played, gaps } = this.answers.shift();
    this.port.postMessage({ kind: "over", item, seconds: played / sampleRate, gaps: gaps / sampleRate });
  }

  listen(out) {
    const found = this.onset.find(out);
    if (found === null) return;
    this.onset = null;
    this.port.postMessage({ kind: "audible", at: currentTime + found / sampleRate });
  }

  measure(out) {
    for (const x of out) this.sum += x * x;
    this.counted += out.length;
    if (this.counted < WINDOW) return;
    this.port.postMessage({ kind: "level", level: Math.sqrt(this.sum / this.counted), at: currentTime });
    this.sum = this.counted = 0;
  }
}

function store(answer, wave) {
  if (!wave.length) return;
  answer.queue.push(wave);
  answer.stored += wave.length;
}

/** Finds the first sample above LOUD after which it stays above LOUD for 20 ms, in a stream of blocks. */
class Onset {
  constructor() {
    this.latest = new Float32Array(WINDOW); // a ring
    this.seen = 0;
    this.energy = 0;
  }

  /** Where it lies, counted from this block's first sample (so mostly negative); null while there is none. */
  find(block) {
    for (let n = 0; n < block.length; n++) {
      const place = this.seen++ % WINDOW;
      const first = (place + 1) % WINDOW; // the oldest sample, once the new one is in
      this.energy += block[n] ** 2 - this.latest[place] ** 2;
      this.latest[place] = block[n];
      const loud = Math.sqrt(Math.max(0, this.energy) / WINDOW) > LOUD;
      if (loud && Math.abs(this.latest[first]) > LOUD && this.seen >= WINDOW) return n - WINDOW + 1;
    }
    return null;
  }
}

registerProcessor("playback", Playback);

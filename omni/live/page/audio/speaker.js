// The loudspeaker's side of playback.js.

import { fromBase64, RATE } from "./pcm.js";

export class Speaker {
  /** on: {level(level, at), audible(at), over(item, gaps)}, each optional. */
  constructor(context, on) {
    this.context = context;
    this.on = on;
    this.given = new Map(); // seconds that came of each answer that is not over; the first is being played
    this.node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => this.told(data);
    this.node.connect(context.destination);
  }

  /** More of an answer, PCM16 in base64. */
  play(item, text) {
    const samples = fromBase64(text);
    this.given.set(item, (this.given.get(item) ?? 0) + samples.length / RATE);
    this.node.port.postMessage({ do: "play", item, samples }, [samples.buffer]);
  }

  get playing() {
    return this.given.size > 0;
  }

  /** An answer is whole. */
  end(item) {
    this.node.port.postMessage({ do: "end", item });
  }

  /** Fall silent. Resolves with {item, seconds, given}: how much of it was heard; null when nothing was being played. */
  async stop() {
    if (!this.given.size) return null;
    const given = new Map(this.given);
    this.given.clear();
    const stopped = await new Promise((done) => {
      this.stopped = done;
      this.node.port.postMessage({ do: "stop" });
    });
    if (!given.has(stopped.item)) return null; // it had just ended
    const whole = given.get(stopped.item);
    const late = this.context.outputLatency || 0; // what the worklet has played is not heard yet
    return { item: stopped.item, given: whole, seconds: Math.max(0, Math.min(whole, stopped.seconds - late)) };
  }

  told({ kind, ...told }) {
    if (kind === "stopped") this.stopped?.(told);
    else if (kind === "level") this.on.level?.(told.level, told.at);
    else if (kind === "audible") this.on.audible?.(told.at);
    else if (kind === "over") {
      this.given.delete(told.item);
      this.on.over?.(told.item, told.gaps);
    }
  }
}

// One clock for what the worklets tell (the context's time) and for what comes over the network (performance.now()).

const REMEMBERED = 200;

export class Clock {
  constructor(context) {
    this.context = context;
    this.offsets = [];
  }

  /** A time of the context, in seconds, as milliseconds of performance.now(). */
  of(at) {
    // The context's time stands still within a block, so that the smallest of many offsets is the true one.
    this.offsets.push(performance.now() - this.context.currentTime * 1000);
    if (this.offsets.length > REMEMBERED) this.offsets.shift();
    return at * 1000 + Math.min(...this.offsets);
  }

  /** When a sample that is played at this time of the context leaves the loudspeaker. */
  heard(at) {
    return this.of(at) + (this.context.outputLatency || 0) * 1000;
  }
}

// A wave at another rate, chunk by chunk: the same samples however it is cut (omni/live/hearing/pcm.py in JavaScript).

const TAPS = 32; // input samples that a resampled one looks at

export class Resampler {
  constructor(rate, wanted) {
    const common = divisor(rate, wanted);
    this.up = wanted / common;
    this.down = rate / common;
    this.filters = this.up === this.down ? null : filters(this.up, this.down);
    this.past = new Float32Array(TAPS / 2); // silence before the first sample
    this.seen = -TAPS / 2; // input samples before `past`
    this.given = 0;
  }

  /** All samples that are certain after this chunk: those whose window ends before its last one. */
  push(chunk) {
    if (!this.filters) return chunk;
    const { up, down, seen } = this;
    const wave = new Float32Array(this.past.length + chunk.length);
    wave.set(this.past);
    wave.set(chunk, this.past.length);
    const last = seen + wave.length - TAPS / 2;
    const count = Math.max(0, Math.ceil((last * up) / down) - this.given);
    const out = new Float32Array(count);
    for (let n = 0; n < count; n++) {
      const at = (this.given + n) * down; // in units of 1 / up input samples
      const start = Math.floor(at / up) - seen - (TAPS / 2 - 1);
      const filter = this.filters[at % up];
      let sum = 0;
      for (let tap = 0; tap < TAPS; tap++) sum += wave[start + tap] * filter[tap];
      out[n] = sum;
    }
    this.given += count;
    const keep = Math.floor((this.given * down) / up) - seen - (TAPS / 2 - 1);
    this.past = wave.slice(keep);
    this.seen = seen + keep;
    return out;
  }

  /** What is left once silence follows. */
  finish() {
    return this.filters ? this.push(new Float32Array(TAPS / 2)) : new Float32Array(0);
  }
}

/** A windowed sinc for each phase, cut off below the lower of the two Nyquist frequencies. */
function filters(up, down) {
  const cutoff = 0.94 * Math.min(1, up / down);
  return Array.from({ length: up }, (_, phase) => {
    const filter = Float64Array.from({ length: TAPS }, (_, tap) => {
      const offset = tap - (TAPS / 2 - 1) - phase / up;
      const inside = Math.max(0, 1 - (offset / (TAPS / 2)) ** 2);
      return sinc(cutoff * offset) * bessel(8 * Math.sqrt(inside));
    });
    const sum = filter.reduce((a, b) => a + b);
    return filter.map((value) => value / sum);
  });
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** The modified Bessel function of order 0, by its series. */
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

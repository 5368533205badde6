// The last seconds of both sides, drawn on one line: the user above, the assistant below.

const SPAN = 6000; // milliseconds
const STEP = 20; // milliseconds that a bar stands for
const PAUSE = 30; // milliseconds between two pictures of it
const FLOOR = -60; // decibels at which a bar has no height

export class Wave {
  constructor(canvas) {
    this.canvas = canvas;
    this.bars = { you: [], omni: [] };
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    new ResizeObserver(() => this.fit()).observe(canvas);
    this.draw = this.draw.bind(this);
  }

  /** A level (0..1) of a side at a time (performance.now()). */
  push(side, level, at) {
    const bars = this.bars[side];
    bars.push({ at, height: Math.min(1, Math.max(0, 1 - (20 * Math.log10(level + 1e-9)) / FLOOR)) });
    while (bars[0].at < at - SPAN) bars.shift();
    this.wake();
  }

  wake() {
    if (this.awake) return;
    this.awake = true;
    requestAnimationFrame(this.draw);
  }

  fit() {
    const scale = devicePixelRatio;
    this.canvas.width = this.canvas.clientWidth * scale;
    this.canvas.height = this.canvas.clientHeight * scale;
    this.wake();
  }

  draw() {
    const { width, height } = this.canvas;
    const now = performance.now();
    const paint = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const middle = height / 2;
    paint.clearRect(0, 0, width, height);
    paint.fillStyle = style.getPropertyValue("--line");
    paint.fillRect(0, middle - devicePixelRatio / 2, width, devicePixelRatio);
    this.side(paint, "you", style.getPropertyValue("--you"), now, -1);
    this.side(paint, "omni", style.getPropertyValue("--omni"), now, 1);
    this.awake = Object.values(this.bars).some((bars) => bars.length && bars.at(-1).at > now - SPAN);
    if (!this.awake) return;
    setTimeout(() => requestAnimationFrame(this.draw), this.calm.matches ? 500 : PAUSE);
  }

  side(paint, side, colour, now, direction) {
    const { width, height } = this.canvas;
    const bar = Math.max(1, (width * STEP) / SPAN - devicePixelRatio);
    paint.fillStyle = colour;
    for (const { at, height: part } of this.bars[side]) {
      const long = part * (height / 2 - devicePixelRatio);
      const x = width - ((now - at) / SPAN) * width;
      paint.fillRect(x, direction < 0 ? height / 2 - long : height / 2, bar, long);
    }
  }
}

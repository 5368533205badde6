// The latency of a turn, its parts, and the mean of all.

const PARTS = { words: "first words", voice: "voice", playback: "playback" };
const WHAT = {
  spoken: "from your last voiced sample to the first audible one",
  held: "from your last voiced sample to the first audible one",
  typed: "from sending to the first audible sample or letter",
};

export class Split {
  /** root: the element with .total, .what, .bar, .parts and .mean */
  constructor(root) {
    this.root = root;
    this.spoken = []; // of turns that were spoken
  }

  /** A new turn: see latency.js. */
  add(turn) {
    if (turn.from !== "typed") this.spoken.push(turn.total);
    if (this.spoken.length) this.write(".mean", this.summary());
    this.write("h2", "Latency of the last turn");
    this.show(turn);
  }

  /** An earlier one. */
  recall(turn) {
    this.write("h2", "Latency of the chosen turn");
    this.show(turn);
  }

  show({ from, total, parts }) {
    this.write(".total", `${Math.round(total)} ms`);
    this.write(".what", WHAT[from]);
    const names = { ...PARTS, turn: from === "held" ? "release" : "turn detection" };
    this.root.querySelector(".bar").replaceChildren(...parts.map(({ name, ms }) => piece(name, ms)));
    this.root.querySelector(".parts").replaceChildren(...parts.flatMap(({ name, ms }) => row(name, names[name], ms)));
  }

  summary() {
    const times = this.spoken.toSorted((a, b) => a - b);
    const mean = times.reduce((a, b) => a + b) / times.length;
    const most = `${Math.round(times[0])} to ${Math.round(times.at(-1))}`;
    return times.length === 1 ? "1 spoken turn" : `${times.length} spoken turns: mean ${Math.round(mean)} ms, ${most}`;
  }

  write(selector, text) {
    this.root.querySelector(selector).textContent = text;
  }
}

function piece(part, ms) {
  const made = document.createElement("span");
  made.dataset.part = part;
  made.style.flexGrow = Math.max(0, ms);
  return made;
}

function row(part, name, ms) {
  const term = document.createElement("dt");
  const value = document.createElement("dd");
  term.dataset.part = part;
  term.textContent = name;
  value.textContent = `${Math.round(ms)} ms`;
  return [term, value];
}

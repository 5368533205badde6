// The latency of the latest turn, its parts, and the mean of all.

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

  show({ from, total, parts }) {
    if (from !== "typed") this.spoken.push(total);
    this.write(".total", `${Math.round(total)} ms`);
    this.write(".what", WHAT[from]);
    const least = parts.reduce((sum, { ms }) => sum + Math.max(0, ms), 0) || 1;
    this.root.querySelector(".bar").replaceChildren(...parts.map(({ ms }, n) => piece(n, Math.max(0, ms) / least)));
    this.root.querySelector(".parts").replaceChildren(...parts.flatMap(({ name, ms }, n) => row(n, name, ms)));
    if (this.spoken.length) this.write(".mean", this.summary());
    this.root.classList.add("known");
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

function piece(number, share) {
  const made = document.createElement("span");
  made.className = `part-${number}`;
  made.style.flexGrow = share;
  return made;
}

function row(number, name, ms) {
  const term = document.createElement("dt");
  const value = document.createElement("dd");
  term.className = `part-${number}`;
  term.textContent = name;
  value.textContent = `${Math.round(ms)} ms`;
  return [term, value];
}

// How long each turn took, measured in this page: from the last voiced sample of the microphone to the first audible
// sample that was played, with the silence that the server's turn detection waited for. All times are milliseconds of
// performance.now().

const QUIET = 10 ** (-50 / 20); // nothing below it is voice,
const FALL = 10 ** (-35 / 20); // nor what lies this far below the loudest of the turn
const HOP = 10; // milliseconds that each level stands for
const REMEMBERED = 3000; // levels

export class Latency {
  /** onTurn({from, total, parts: [{name, ms}]}) once an answer begins; from: spoken, held or typed;
   *  name: turn (until the server holds it for ended), words (until the first of the answer), voice, playback. */
  constructor(onTurn) {
    this.onTurn = onTurn;
    this.levels = [];
    this.turn = null;
  }

  /** The levels of a chunk of the microphone that ended at a time. */
  hear(levels, ended) {
    levels.forEach((level, n) => this.levels.push({ level, at: ended - (levels.length - 1 - n) * HOP }));
    this.levels.splice(0, this.levels.length - REMEMBERED);
  }

  /** The user begins to speak. */
  speaks() {
    this.levels.splice(0, this.levels.length - 100); // a second of what came before may belong to it
    this.turn = null;
  }

  /** What the user said is the server's to answer now. */
  ends(from) {
    const now = performance.now();
    const start = from === "typed" ? now : this.lastVoiced() ?? now;
    this.turn = { from, start, ended: now, text: null, sound: null };
  }

  /** The first text or sound of the answer has come. */
  mark(kind) {
    if (this.turn) this.turn[kind] ??= performance.now();
  }

  /** The answer is heard, or read: from now on the turn is known. */
  answered(at) {
    const { turn } = this;
    this.turn = null;
    if (!turn) return;
    const marks = { turn: turn.from === "typed" ? null : turn.ended, words: turn.text, voice: turn.sound, playback: turn.sound && at };
    let since = turn.start;
    const parts = [];
    for (const [name, when] of Object.entries(marks)) {
      if (when === null) continue;
      parts.push({ name, ms: when - since });
      since = when;
    }
    this.onTurn({ from: turn.from, total: at - turn.start, parts });
  }

  lastVoiced() {
    const loudest = Math.max(0, ...this.levels.map(({ level }) => level));
    const voiced = this.levels.findLast(({ level }) => level > Math.max(QUIET, loudest * FALL));
    return voiced?.at ?? null;
  }
}

// The WebSocket: opens it, and opens it again when it is lost.

const FIRST_PAUSE = 0.5; // seconds before the second attempt; each further one waits twice as long
const LONGEST_PAUSE = 15;
const REFUSED = 1008; // the server wants this client no more: asking again would change nothing
const FINAL = ["origin", "invalid_api_key", "per_key"]; // codes of refusals at the door

export class Connection {
  /** on: {event(event), state(state, words, code)}; state: connecting, open, waiting, refused (code: why) or ended. */
  constructor(on) {
    this.on = on;
    this.key = "";
    this.failures = 0;
    this.socket = null;
    window.addEventListener("online", () => this.socket === null && this.started && this.open());
  }

  get ready() {
    return this.socket?.readyState === WebSocket.OPEN && this.created;
  }

  /** Open it, and keep it open from now on. */
  open() {
    this.started = true;
    this.close();
    this.created = false;
    this.why = null;
    this.on.state("connecting", "Connecting…");
    const url = new URL("/v1/realtime", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const named = this.key ? [`openai-insecure-api-key.${this.key}`] : []; // a page cannot set headers
    const socket = new WebSocket(url, ["realtime", ...named]);
    socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    socket.onclose = ({ code, reason }) => socket === this.socket && this.lost(code, reason);
    this.socket = socket;
  }

  /** An event to the server; false when there is none. */
  send(type, fields = {}) {
    if (!this.ready) return false;
    this.socket.send(JSON.stringify({ type, ...fields }));
    return true;
  }

  close() {
    clearTimeout(this.timer);
    const { socket } = this;
    this.socket = null; // first, so that its end is not taken for a loss
    socket?.close();
  }

  take(event) {
    if (event.type === "session.created") {
      this.created = true;
      this.failures = 0;
      this.on.state("open", "Connected");
    } else if (!this.created && event.type === "error") {
      this.why = event.error;
    }
    this.on.event(event);
  }

  lost(code, reason) {
    this.socket = null;
    if (FINAL.includes(this.why?.code)) {
      this.on.state("refused", this.why.message, this.why.code);
    } else if (code === REFUSED && this.created) {
      this.on.state("ended", `The conversation has ended: ${reason || "the server closed it"}.`);
    } else {
      this.again(this.why?.message ?? (this.created ? "The connection was lost" : "The server does not answer"));
    }
    this.created = false;
  }

  again(why) {
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.failures++);
    this.on.state("waiting", `${why}. Trying again in ${pause < 1 ? "a moment" : `${pause} s`}…`);
    this.timer = setTimeout(() => this.open(), pause * 1000);
  }
}

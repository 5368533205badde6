// The line below the header: what is wrong, and what the user can do about it.

const LASTS = 8000; // milliseconds that what needs no answer is shown

export class Notice {
  constructor(root) {
    this.root = root;
    this.words = root.querySelector("p");
    this.form = root.querySelector("form");
    this.retry = root.querySelector("[name=retry]");
    this.dismiss = root.querySelector("[name=close]");
    this.on = {};
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.on.key(this.form.elements.key.value.trim());
    });
    this.retry.addEventListener("click", () => this.on.retry());
    this.dismiss.addEventListener("click", () => this.hide());
  }

  /** Something that passes. */
  tell(words) {
    if (this.fixed) return; // without a connection nothing else matters
    this.show(words, { dismiss: true });
    this.timer = setTimeout(() => this.hide(), LASTS);
  }

  /** How the connection is: see connection.js. */
  connection(state, words, code) {
    this.fixed = state !== "open";
    if (!this.fixed) this.hide();
    else if (code === "invalid_api_key") this.askKey("That key is not known here.");
    else this.show(words, { retry: true });
  }

  askKey(words) {
    this.fixed = true;
    this.show(words, { form: true });
    this.form.elements.key.focus();
  }

  show(words, { form = false, retry = false, dismiss = false }) {
    clearTimeout(this.timer);
    this.words.textContent = words;
    this.form.hidden = !form;
    this.retry.hidden = !retry;
    this.dismiss.hidden = !dismiss;
    this.root.hidden = false;
  }

  hide() {
    clearTimeout(this.timer);
    this.root.hidden = true;
  }
}

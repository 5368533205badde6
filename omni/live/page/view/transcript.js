// The conversation as it is written down: one entry an item, both sides.

export class Transcript {
  /** list: the element that holds the entries; say(words): tells them to who cannot see; remove(id): takes back a picture. */
  constructor(list, { say, remove }) {
    this.list = list;
    this.say = say;
    this.remove = remove;
    this.entries = new Map();
  }

  /** An entry of the user; it is being spoken while it has no text. */
  user(id, text = null) {
    const entry = this.entries.get(id) ?? this.begin(id, "user", "You");
    if (text !== null) this.write(entry, text, true);
  }

  assistant(id) {
    if (!this.entries.has(id)) this.begin(id, "assistant", "omni");
  }

  picture(id, url) {
    const entry = this.begin(id, "user", "You");
    const image = Object.assign(new Image(), { src: url, alt: "The picture that you showed" });
    const button = element("button", "remove", "Take back");
    button.type = "button";
    button.addEventListener("click", () => {
      entry.element.remove();
      this.entries.delete(id);
      this.remove(id);
    });
    entry.body.append(image, button);
    entry.element.classList.remove("pending");
    image.onload = () => this.follow();
    this.say("Picture shown");
  }

  /** More text of an entry. */
  add(id, text) {
    const entry = this.entries.get(id);
    if (entry) this.write(entry, text, false);
  }

  /** An entry is whole; text: all of it, null for what was added; note: what else is to be known. */
  end(id, text, note = null) {
    const entry = this.entries.get(id);
    if (!entry) return;
    if (text !== null) entry.text.textContent = text;
    entry.element.classList.remove("pending");
    if (note) entry.foot.append(element("span", "note", note));
    if (entry.text.textContent) this.say(`${entry.who}: ${entry.text.textContent}`);
  }

  /** Only this share of a spoken answer was heard: what was not is struck out, by whole words. */
  cut(id, share) {
    const entry = this.entries.get(id);
    if (!entry || share >= 1) return;
    const whole = entry.text.textContent;
    const at = Math.floor(share * whole.length);
    const end = at && whole.lastIndexOf(" ", at) + 1;
    entry.text.replaceChildren(whole.slice(0, end), element("s", "unheard", whole.slice(end)));
    entry.foot.append(element("span", "note", "interrupted"));
  }

  /** How long the user waited for the latest answer; who wants to know more calls `more`. */
  waited(ms, more) {
    const entry = [...this.entries.values()].findLast(({ who }) => who === "omni");
    if (!entry) return;
    const time = element("button", "time", `${Math.round(ms)} ms`);
    time.type = "button";
    time.setAttribute("aria-label", `Latency ${Math.round(ms)} milliseconds: show its parts`);
    time.addEventListener("click", more);
    entry.foot.prepend(time);
  }

  /** A line between two sessions. */
  rule(words) {
    if (!this.entries.size) return;
    this.close();
    this.list.append(element("li", "rule", words));
    this.follow();
  }

  /** Nothing more comes of what is open. */
  close() {
    for (const { element: item, text } of this.entries.values()) {
      if (item.classList.contains("pending") && !text.textContent) item.remove();
      item.classList.remove("pending");
    }
  }

  // ----

  begin(id, kind, who) {
    const item = element("li", `${kind} pending`);
    const body = element("div", "body");
    const text = element("p", "text");
    const foot = element("div", "foot");
    item.append(element("span", "who", who), body, foot);
    body.append(text);
    this.list.append(item);
    const entry = { element: item, body, text, foot, who };
    this.entries.set(id, entry);
    this.follow();
    return entry;
  }

  write(entry, text, whole) {
    entry.text.append(text);
    if (whole) entry.element.classList.remove("pending");
    this.follow();
  }

  follow() {
    const { parentElement: pane } = this.list;
    pane.scrollTop = pane.scrollHeight;
  }
}

function element(name, classes, text = "") {
  const made = document.createElement(name);
  made.className = classes;
  made.textContent = text;
  return made;
}

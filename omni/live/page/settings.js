// The settings form, kept by the browser, and the session object that it stands for.

const KEPT = "omni.settings";

export class Settings {
  /** form: its fields are named as below; onChange(name) when the user changes one. */
  constructor(form, onChange) {
    this.form = form;
    this.chosen = kept();
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", ({ target }) => {
      this.keep();
      this.show();
      onChange(target.name);
    });
    this.form.addEventListener("input", () => this.show());
  }

  /** What the model offers; then what was chosen the last time. */
  offer({ voices, languages }) {
    fill(this.form.elements.voice, voices, (name) => name);
    const names = new Intl.DisplayNames([navigator.language], { type: "language" });
    const byName = [...languages].sort((a, b) => names.of(a).localeCompare(names.of(b)));
    fill(this.form.elements.language, byName, (code) => names.of(code));
    const language = languageOf(navigator.language, languages) ?? "en";
    for (const [name, value] of Object.entries({ language, ...this.chosen })) this.set(name, value);
    this.show();
  }

  get holds() {
    return this.form.elements.mode.value === "hold";
  }

  get interrupts() {
    return this.form.elements.interrupt.checked;
  }

  /** The protocol's session object. */
  session() {
    const { voice, language, answers } = this.form.elements;
    return {
      type: "realtime",
      output_modalities: [answers.value],
      audio: {
        input: { turn_detection: this.detection(), transcription: { model: "omni", language: language.value || null } },
        output: { voice: voice.value || null, language: language.value || null }, // a model may have none
      },
    };
  }

  detection() {
    const { turns, eagerness, silence } = this.form.elements;
    if (this.holds) return null;
    const common = { create_response: true, interrupt_response: this.interrupts };
    if (turns.value === "semantic_vad") return { type: "semantic_vad", eagerness: eagerness.value, ...common };
    return { type: "server_vad", silence_duration_ms: Number(silence.value), ...common };
  }

  set(name, value) {
    const field = this.form.elements[name];
    if (!field) return;
    if (field.type === "checkbox") field.checked = value;
    else if (!field.options || [...field.options].some((option) => option.value === value)) field.value = value;
  }

  keep() {
    const names = ["mode", "voice", "language", "answers", "turns", "eagerness", "silence"];
    const values = Object.fromEntries(names.map((name) => [name, this.form.elements[name].value]));
    this.chosen = { ...values, interrupt: this.interrupts };
    try {
      localStorage.setItem(KEPT, JSON.stringify(this.chosen));
    } catch {
      // then they hold for this visit
    }
  }

  /** Show only what has an effect. */
  show() {
    const { turns, silence } = this.form.elements;
    for (const part of this.form.querySelectorAll("[data-if]")) {
      part.hidden = part.dataset.if === "free" ? this.holds : this.holds || part.dataset.if !== turns.value;
    }
    this.form.querySelector("#silence-shown").value = `${silence.value} ms`;
  }
}

/**
 * That of the codes which is the tag's language, or else the tag itself: fil-PH is no Finnish. A region's own code is
 * of use only where its language has none (zh-CN): omni-tiny has read too little in en-gb or fr-ca to answer in it.
 */
export function languageOf(tag, codes) {
  const wanted = [tag.split("-")[0], tag].map((name) => name.toLowerCase());
  return wanted.map((name) => codes.find((code) => code.toLowerCase() === name)).find(Boolean);
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "{}");
  } catch {
    return {}; // what is broken or forbidden is not needed
  }
}

function fill(select, values, name) {
  select.replaceChildren(...values.map((value) => new Option(name(value), value)));
  select.closest("label").hidden = !values.length;
}

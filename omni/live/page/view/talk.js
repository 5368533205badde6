// The big button, the button that interrupts, and the word that tells who has the turn.

export class Talk {
  constructor(root) {
    this.word = root.querySelector("#state");
    this.button = root.querySelector("#speak");
    this.label = this.button.querySelector("span");
    this.stop = root.querySelector("#stop");
    this.hint = root.querySelector("#hint");
  }

  /** holds: the button is held to talk; open: the microphone is. */
  show({ holds, open }) {
    this.label.textContent = holds ? "Hold to talk" : open ? "Mute" : "Start talking";
    this.hint.textContent = holds ? "Or hold the space bar." : "Then simply speak.";
    this.pressed(!holds && open);
  }

  pressed(on) {
    this.button.classList.toggle("on", on);
    this.button.setAttribute("aria-pressed", String(on));
  }

  /** Whether there is an answer to interrupt. */
  busy(answering) {
    this.stop.disabled = !answering;
  }

  state(words) {
    if (this.word.textContent !== words) this.word.textContent = words;
    this.word.dataset.state = words.toLowerCase();
  }
}

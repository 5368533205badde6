// The page: makes its parts and joins them.

import { Clock } from "./audio/clock.js";
import { Microphone } from "./audio/microphone.js";
import { toBase64 } from "./audio/pcm.js";
import { Speaker } from "./audio/speaker.js";
import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Latency } from "./latency.js";
import { Settings } from "./settings.js";
import { Camera } from "./view/camera.js";
import { holdable } from "./view/hold.js";
import { Notice } from "./view/notice.js";
import { takePictures } from "./view/pictures.js";
import { Split } from "./view/split.js";
import { Talk } from "./view/talk.js";
import { Transcript } from "./view/transcript.js";
import { Wave } from "./view/wave.js";

const SHORTEST = 200; // milliseconds: whoever holds the button for less did not want to say anything

const find = (selector) => document.querySelector(selector);

const context = new AudioContext({ latencyHint: "interactive" });
await Promise.all(["capture", "playback"].map((name) => context.audioWorklet.addModule(`/page/audio/${name}.js`)));
const clock = new Clock(context);
const wave = new Wave(find("#wave canvas"));
const split = new Split(find("#latency"));
const notice = new Notice(find("#notice"));
const talk = new Talk(find("#talk"));

const transcript = new Transcript(find("#transcript"), {
  say: (words) => (find("#spoken").textContent = words),
  remove: (id) => connection.send("conversation.item.delete", { item_id: id }),
});
const latency = new Latency((turn) => {
  split.add(turn);
  transcript.waited(turn.total, () => {
    split.recall(turn);
    openPanel(true);
  });
});
const speaker = new Speaker(context, {
  level: (level, at) => wave.push("omni", level, clock.heard(at)),
  audible: (at) => latency.answered(clock.heard(at)),
  over: () => {
    showState("");
    talk.busy(conversation.answering);
  },
});
const microphone = new Microphone(context, ({ pcm, levels, ended }) => {
  const at = clock.of(ended);
  const sends = !settings.holds || holding !== null;
  if (sends) latency.hear(levels, at);
  wave.push("you", sends ? Math.max(...levels) : 0, at);
  if (sends) connection.send("input_audio_buffer.append", { audio: toBase64(pcm) });
});
const settings = new Settings(find("#settings"), (name) => {
  if (name === "mode") talk.show({ holds: settings.holds, open: microphone.open });
  connection.send("session.update", { session: settings.session() });
});
const conversation = new Conversation({
  send: (type, fields) => connection.send(type, fields),
  speaker, transcript, latency, settings,
  on: {
    state: showState,
    busy: () => talk.busy(conversation.answering),
    error: (words) => notice.tell(words),
    renew: () => connection.open(), // a voice that was heard is the session's for good
  },
});
const connection = new Connection({
  event: (event) => {
    if (event.type === "session.created") begin();
    conversation.handle(event);
  },
  state: (state, words) => {
    find("#connection").dataset.state = state;
    find("#connection span").textContent = state === "open" ? "Connected" : state === "connecting" ? words : "Not connected";
    if (state !== "connecting") notice.connection(state, words);
    if (state !== "open") conversation.reset();
  },
});
let holding = null; // since when the button is held

async function begin() {
  transcript.rule("A new conversation: what was said before is forgotten.");
  await meet();
  connection.send("session.update", { session: settings.session() });
  showState("");
}

function showState(words) {
  talk.state(words || (microphone.open && !settings.holds ? "Listening" : ""));
}

// ---- what the user does

async function openMicrophone() {
  await context.resume();
  if (microphone.open) return true;
  try {
    await microphone.start();
  } catch (error) {
    notice.tell(error.message);
    return false;
  }
  talk.show({ holds: settings.holds, open: true });
  return true;
}

find("#speak").addEventListener("click", async () => {
  if (settings.holds) return;
  if (microphone.open) microphone.stop();
  else await openMicrophone();
  talk.show({ holds: settings.holds, open: microphone.open });
  showState("");
});

holdable(find("#speak"), {
  active: () => settings.holds,
  press: async () => {
    holding = performance.now();
    talk.pressed(true);
    conversation.interrupt();
    if (!(await openMicrophone()) || holding === null) return;
    talk.pressed(true);
    connection.send("input_audio_buffer.clear");
    latency.speaks();
    showState("Listening");
  },
  release: async () => {
    await microphone.flush();
    const short = performance.now() - holding < SHORTEST;
    holding = null;
    talk.pressed(false);
    showState("");
    if (!microphone.open) return;
    if (short) {
      connection.send("input_audio_buffer.clear");
      notice.tell("Hold it down while you speak.");
      return;
    }
    connection.send("input_audio_buffer.commit");
    conversation.ask("held");
  },
});

find("#stop").addEventListener("click", () => conversation.interrupt());
document.addEventListener("keydown", ({ code }) => {
  if (code === "Escape" && !find("dialog[open]")) conversation.interrupt();
});

find("#write").addEventListener("submit", (event) => {
  event.preventDefault();
  const { text } = event.target.elements;
  if (!text.value.trim()) return;
  context.resume();
  if (!connection.ready) {
    notice.tell("Not connected; your words are kept until you send them again.");
    return;
  }
  conversation.say(text.value.trim());
  text.value = "";
});

const show = (url) => (connection.ready ? conversation.show(url) : notice.tell("Not connected; show it again later."));
takePictures(find("#write input[type=file]"), show, (words) => notice.tell(words));
const camera = new Camera(find("#frame"), show, (words) => notice.tell(words));
find("#camera").addEventListener("click", () => camera.open());

/** Only a narrow page hides the panel. */
function openPanel(open) {
  document.body.classList.toggle("panel-open", open);
  find("#more").setAttribute("aria-expanded", String(open));
}

find("#more").addEventListener("click", () => openPanel(!document.body.classList.contains("panel-open")));

notice.on = {
  retry: () => connection.open(),
  key: (key) => {
    connection.key = key;
    connection.open();
  },
};

// ---- begin

/** Learn what the model offers; returns whether a key is needed. */
async function meet() {
  try {
    const { model = "", voices = [], languages = [], key } = await (await fetch("/about.json")).json();
    find("#model").textContent = model;
    settings.offer({ voices, languages });
    return key;
  } catch {
    return false; // the connection will tell that the server is gone
  }
}

const wantsKey = await meet();
talk.show({ holds: settings.holds, open: false });
if (wantsKey) notice.askKey("This server wants a key.");
else connection.open();

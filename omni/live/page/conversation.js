// What the server tells, carried out: transcripts shown, answers played, and cut where the user interrupts.

export class Conversation {
  /** send(type, fields); speaker, transcript, latency: see their files; on: {state(words), error(words), busy()} */
  constructor({ send, speaker, transcript, latency, settings, on }) {
    Object.assign(this, { send, speaker, transcript, latency, settings, on });
    this.reset();
  }

  /** A new session: the server remembers nothing. */
  reset() {
    this.response = null; // the one that is being made
    this.silenced = new Set(); // responses that the user wants to hear no more
    this.speaker.stop();
    this.transcript.close();
  }

  /** Whether there is anything to interrupt. */
  get answering() {
    return this.response !== null || this.speaker.playing;
  }

  /** Stop the answer; the server's memory of it ends where the user heard it end. */
  async interrupt() {
    if (this.response) {
      this.silenced.add(this.response);
      this.send("response.cancel", { response_id: this.response });
    }
    await this.cut();
  }

  /** Text of the user. */
  async say(text) {
    await this.interrupt();
    const id = newId();
    this.send("conversation.item.create", {
      item: { id, type: "message", role: "user", content: [{ type: "input_text", text }] },
    });
    this.transcript.user(id, text);
    this.ask("typed");
  }

  /** A picture (data URL), to be spoken about. */
  show(url) {
    const id = newId();
    this.send("conversation.item.create", {
      item: { id, type: "message", role: "user", content: [{ type: "input_image", image_url: url }] },
    });
    this.transcript.picture(id, url);
  }

  /** Ask for an answer. from: held or typed. */
  ask(from) {
    this.latency.ends(from);
    this.send("response.create");
    this.on.state("Thinking");
  }

  handle(event) {
    this[event.type.replaceAll(".", "_")]?.(event);
  }

  async cut() {
    const heard = await this.speaker.stop();
    this.on.busy();
    if (!heard) return;
    const { item, seconds, given } = heard;
    this.send("conversation.item.truncate", { item_id: item, content_index: 0, audio_end_ms: Math.floor(seconds * 1000) });
    this.transcript.cut(item, seconds / given);
  }

  // ---- server events, by their types

  input_audio_buffer_speech_started({ item_id }) {
    this.latency.speaks();
    this.transcript.user(item_id);
    this.on.state("Listening");
    if (this.settings.interrupts) this.cut(); // the server has stopped the answer already
  }

  input_audio_buffer_speech_stopped() {
    this.latency.ends("spoken");
    this.on.state("Thinking");
  }

  input_audio_buffer_committed({ item_id }) {
    this.transcript.user(item_id);
  }

  conversation_item_input_audio_transcription_delta({ item_id, delta }) {
    this.transcript.add(item_id, delta);
  }

  conversation_item_input_audio_transcription_completed({ item_id, transcript }) {
    this.transcript.end(item_id, transcript || "(no words understood)");
  }

  conversation_item_input_audio_transcription_failed({ item_id }) {
    this.transcript.end(item_id, "(could not be written down)");
  }

  response_created({ response }) {
    this.response = response.id;
    this.on.busy();
  }

  response_output_item_added({ response_id, item }) {
    if (!this.silenced.has(response_id)) this.transcript.assistant(item.id);
  }

  response_output_audio_transcript_delta({ item_id, delta }) {
    this.latency.mark("text");
    this.transcript.add(item_id, delta);
  }

  response_output_text_delta({ item_id, delta }) {
    this.latency.mark("text");
    this.latency.answered(performance.now());
    this.transcript.add(item_id, delta);
  }

  response_output_audio_delta({ response_id, item_id, delta }) {
    if (this.silenced.has(response_id)) return;
    this.latency.mark("sound");
    this.speaker.play(item_id, delta);
    this.on.state("Speaking");
    this.on.busy();
  }

  response_output_audio_done({ item_id }) {
    this.speaker.end(item_id);
  }

  response_done({ response }) {
    this.response = null;
    for (const item of response.output) this.transcript.end(item.id, null, note(response));
    if (response.status === "failed") this.on.error("The answer failed. Ask again.");
    if (!this.speaker.playing) this.on.state("");
    this.on.busy();
  }

  error({ error }) {
    if (error.code === "cannot_update_voice") this.on.renew();
    else if (error.code !== "response_cancel_not_active") this.on.error(error.message);
  }
}

/** Why an answer is not whole, where the user does not know it. */
function note({ status, status_details }) {
  if (status !== "incomplete") return null;
  return status_details?.reason === "content_filter" ? "stopped by the guard" : "cut at its greatest length";
}

const newId = () => `item_${crypto.getRandomValues(new Uint32Array(3)).join("")}`;

// The microphone: chunks of 20 ms to a listener while it is open.

export class Microphone {
  /** onChunk({pcm, levels, ended}): see capture.js. */
  constructor(context, onChunk) {
    this.context = context;
    this.onChunk = onChunk;
    this.stream = null;
  }

  get open() {
    return this.stream !== null;
  }

  /** Ask for the microphone. Throws an Error with words for the user. */
  async start() {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give the microphone to secure pages only: open this page over https, or on this machine.");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
    } catch (error) {
      throw new Error(
        error.name === "NotFoundError"
          ? "There is no microphone. You can type instead."
          : "The microphone may not be used. Allow it beside the page's address, or type instead.",
      );
    }
    this.source = this.context.createMediaStreamSource(this.stream);
    this.node = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.node.port.onmessage = ({ data }) => (data.flushed ? this.flushed?.() : this.onChunk(data));
    this.source.connect(this.node);
  }

  /** Wait for what was said until now. */
  async flush() {
    if (!this.open) return;
    await new Promise((done) => {
      this.flushed = done;
      this.node.port.postMessage("flush");
    });
  }

  stop() {
    this.source?.disconnect();
    this.node?.port.postMessage("stop");
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
  }
}

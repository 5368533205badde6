// Listens, independently of the page's own code, to what goes into its microphone and what comes out of its loudspeaker,
// on the audio thread: `ear.you` and `ear.omni` are [time in ms of the audio clock, peak] of every block of 128 samples.

{
  const worklet = `registerProcessor("ear", class extends AudioWorkletProcessor {
    process([[block]]) {
      if (block) this.port.postMessage([currentTime * 1000, block.reduce((most, x) => Math.max(most, Math.abs(x)), 0)]);
      return true;
    }
  });`;
  const module = URL.createObjectURL(new Blob([worklet], { type: "text/javascript" }));
  const ear = (window.ear = { you: [], omni: [] });
  const { connect } = AudioNode.prototype;
  const hear = async (side, source) => {
    const { context } = source;
    ear.now = () => context.currentTime * 1000;
    ear.late = () => context.outputLatency * 1000;
    if (!context.listens) await (context.listens = context.audioWorklet.addModule(module));
    const node = new AudioWorkletNode(context, "ear", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => ear[side].push(data);
    connect.call(source, node);
  };
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) hear("omni", this);
    if (this instanceof MediaStreamAudioSourceNode) hear("you", this);
    return connect.call(this, to, ...rest);
  };
}

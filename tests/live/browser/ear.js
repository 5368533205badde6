// Listens, independently of the page's own code, to what goes into its microphone and what comes out of its loudspeaker:
// `ear.you` and `ear.omni` are [time in ms, peak of the last 5 ms] every 5 ms.

{
  const ear = (window.ear = { you: [], omni: [] });
  const hear = (side, source) => {
    const look = source.context.createAnalyser();
    look.fftSize = 256;
    connect.call(source, look);
    ear.late = () => source.context.outputLatency * 1000;
    const samples = new Float32Array(256);
    setInterval(() => {
      if (source.context.state !== "running") return;
      look.getFloatTimeDomainData(samples);
      ear[side].push([performance.now(), samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0)]);
    }, 5);
  };
  const { connect } = AudioNode.prototype;
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) hear("omni", this);
    if (this instanceof MediaStreamAudioSourceNode) hear("you", this);
    return connect.call(this, to, ...rest);
  };
}

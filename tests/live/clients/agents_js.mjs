// `@openai/agents-realtime` (npm), over a WebSocket: WS_URL RECORDING

import { readFileSync } from "node:fs";
import { RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";

const [url, recording] = process.argv.slice(2);
const sound = Buffer.concat([readFileSync(recording).subarray(44), Buffer.alloc(72000)]);
const agent = new RealtimeAgent({ name: "omni", instructions: "Answer briefly." });
const session = new RealtimeSession(agent, { transport: "websocket", model: "omni" });
const counts = {};
let done;
session.on("error", (error) => {
  console.error("refused:", JSON.stringify(error));
  process.exit(1);
});
session.on("transport_event", ({ type }) => (counts[type] = (counts[type] ?? 0) + 1));
session.on("audio", () => (counts.sound = (counts.sound ?? 0) + 1));
session.on("agent_end", () => done?.());
const answered = () => new Promise((resolve) => (done = resolve));

await session.connect({ apiKey: "none", url });
const first = answered();
for (let at = 0; at < sound.length; at += 4800) {
  const piece = sound.subarray(at, at + 4800);
  session.sendAudio(piece.buffer.slice(piece.byteOffset, piece.byteOffset + piece.length));
  await new Promise((resolve) => setTimeout(resolve, 100));
}
await first;
const spoken = counts.sound;
session.sendMessage("Hello");
await new Promise((resolve) => session.once("audio", resolve));
session.interrupt();
await new Promise((resolve) => setTimeout(resolve, 500));
const second = answered();
session.sendMessage("Are you there?");
await second;
session.close();
if (!spoken || !counts["conversation.item.truncated"]) throw new Error(JSON.stringify(counts));
console.log(`@openai/agents-realtime (npm)\tspeech is answered in ${spoken} pieces of sound, a text too; interrupted, truncated, and it goes on`);
process.exit(0);

// `openai` (npm), which opens wss alone: BASE_URL RECORDING. NODE_EXTRA_CA_CERTS names the server's certificate.

import { createReadStream } from "node:fs";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const [baseURL, recording] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });

const realtime = new OpenAIRealtimeWS({ model: "omni" }, client);
const text = await new Promise((resolve, reject) => {
  let said = "";
  realtime.on("error", reject);
  realtime.on("response.output_audio_transcript.delta", ({ delta }) => (said += delta));
  realtime.on("response.done", () => resolve(said));
  realtime.socket.on("open", () => {
    realtime.send({ type: "session.update", session: { type: "realtime", output_modalities: ["audio"] } });
    const content = [{ type: "input_text", text: "Hello" }];
    realtime.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    realtime.send({ type: "response.create" });
  });
});
realtime.close();
const chat = await client.chat.completions.create({
  model: "omni", modalities: ["text", "audio"], audio: { voice: "alloy", format: "wav" },
  messages: [{ role: "user", content: "Hello" }],
});
const bytes = Buffer.from(chat.choices[0].message.audio.data, "base64").length;
const written = await client.audio.transcriptions.create({ model: "omni", file: createReadStream(recording) });
if (typeof text !== "string" || !bytes || typeof written.text !== "string") process.exit(1);
console.log(`openai (npm)\trealtime over TLS answered in speech; chat gave ${bytes} bytes of wav; a recording was transcribed`);
process.exit(0);

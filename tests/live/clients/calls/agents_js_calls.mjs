// `@openai/agents-realtime` (npm): an agent whose function is called, run by the package, and answered with. WS_URL

import { RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";

const called = [];
const weather = tool({
  name: "weather",
  description: "The weather in a city.",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    called.push(city);
    return `rainy in ${city}`;
  },
});
const agent = new RealtimeAgent({ name: "omni", instructions: "Answer briefly.", tools: [weather] });
const session = new RealtimeSession(agent, { transport: "websocket", model: "omni" });
let said = "";
session.on("error", (error) => {
  console.error("refused:", JSON.stringify(error));
  process.exit(1);
});
const answered = new Promise((resolve) =>
  session.on("transport_event", (event) => {
    if (event.type === "response.output_audio_transcript.delta") said += event.delta;
    if (event.type === "response.done" && called.length && said) resolve();
  }),
);
await session.connect({ apiKey: "none", url: process.argv[2] });
session.sendMessage("What is the weather in Rome?");
await answered;
session.close();
if (called.join() !== "Rome" || !said.includes("rainy in Rome")) throw new Error(JSON.stringify({ called, said }));
console.log(`@openai/agents-realtime (npm)\tweather is called and run by the package, its result answered: ${said}`);
process.exit(0);

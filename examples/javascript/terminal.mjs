// Plan in a dream from Node 18 or later, and watch it in a terminal with colours.
//
//     make serve                                   # in another terminal
//     node examples/javascript/terminal.mjs 30     # steps; then the server's URL, if another
import { overHttp } from "./dream.mjs";

const [steps = "30", server = "http://127.0.0.1:8000"] = process.argv.slice(2);
const send = overHttp(server);

/** Two rows of pixels are one line of text: ▀ has one's colour, and the other's behind it. */
function print(frame) {
  for (let y = 0; y < frame.length; y += 2) {
    const pixels = frame[y].map((top, x) => {
      const bottom = frame[y + 1][x];
      return `\x1b[38;2;${top.join(";")};48;2;${bottom.join(";")}m▀`;
    });
    console.log(pixels.join("") + "\x1b[0m");
  }
}

const { session_id } = await send("reset", { world: "takecover", seed: 7 });
for (let step = 1; step <= Number(steps); step += 1) {
  const plan = await send("plan", { session_id, planner: "cem", horizon: 15, budget_ms: 50 });
  const now = await send("step", { session_id, action: plan.action, step, include: ["frame"] });
  print(now.frame);
  console.log(`step ${now.step}: action ${plan.action}, imagined return ${plan.value.toFixed(2)}`);
  if (now.terminated) break;
}
await send("delete", { session_id });

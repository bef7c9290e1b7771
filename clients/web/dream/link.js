// A dream as the fragment of a link: #world=…&seed=…&temperature=…&start=…&actions=…
//
// Actions are runs, separated by "_": an action and "~" with how often, if more than once. Numbers
// of a Box action are separated by ",": 0~35_2_0.5,-1~7.

const LONGEST = 16_000; // characters of actions; some programs cut longer links
const MOST_ACTIONS = 100_000;

/** Return the fragment of a dream, and whether its actions fit in. */
export function writeLink({ world, seed, temperature, start }, actions = []) {
  const written = writeActions(actions);
  const fits = written.length <= LONGEST;
  const fields = { world, seed, temperature };
  if (start?.bank !== undefined) fields.start = start.bank;
  const text = new URLSearchParams(fields).toString();
  return { fragment: `#${text}${fits && written ? `&actions=${written}` : ""}`, fits };
}

/** Return {spec, actions} of a fragment. Throws Error that says what is wrong with it. */
export function readLink(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const spec = {
    world: fields.get("world") || undefined,
    seed: wholeNumber(fields, "seed"),
    temperature: number(fields, "temperature"),
  };
  const bank = wholeNumber(fields, "start");
  if (bank !== undefined) spec.start = { bank };
  return { spec, actions: readActions(fields.get("actions") ?? "") };
}

function writeActions(actions) {
  const runs = [];
  for (const action of actions) {
    const text = String(action); // an array's numbers get commas between them
    if (runs.at(-1)?.text === text) runs.at(-1).count++;
    else runs.push({ text, count: 1 });
  }
  return runs.map(({ text, count }) => (count > 1 ? `${text}~${count}` : text)).join("_");
}

function readActions(text) {
  if (text === "") return [];
  let total = 0;
  return text.split("_").flatMap((run) => {
    const [action, count = "1"] = run.split("~");
    const numbers = action.split(",").map(Number);
    const times = Math.trunc(Number(count));
    if (!numbers.every(Number.isFinite) || !(times > 0) || (total += times) > MOST_ACTIONS) {
      throw new Error(`This link is damaged: ${run.slice(0, 40)} is no action.`);
    }
    return Array(times).fill(action.includes(",") ? numbers : numbers[0]);
  });
}

function number(fields, name) {
  const text = fields.get(name);
  if (text === null || text === "") return undefined;
  if (!Number.isFinite(Number(text))) throw new Error(`This link is damaged: ${name} is no number`);
  return Number(text);
}

function wholeNumber(fields, name) {
  const value = number(fields, name);
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0)) {
    throw new Error(`This link is damaged: ${name} must be a whole number.`);
  }
  return value;
}

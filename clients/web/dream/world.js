// A world on the server, as the game needs it.

import { actionsOf } from "./actions.js";
import { hasController } from "./drivers.js";
import { sightOf } from "./sight.js";

/** Return {actions, hasController, bankSize, sight, signals} of the world of that name. */
export async function worldOf(stream, name) {
  const { action_space, manifest } = await stream.request("world", { name });
  return {
    actions: actionsOf(action_space),
    hasController: hasController(manifest),
    bankSize: manifest.bank.size,
    sight: sightOf(manifest),
    signals: (manifest.signals ?? []).map((signal) => signal.name),
  };
}

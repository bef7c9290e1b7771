// A world on the server, as the game needs it.

import { actionsOf } from "./actions.js";
import { hasController } from "./drivers.js";
import { Sight, sightOf } from "./sight.js";

/** What is known before any world is. */
export const NO_WORLD = {
  name: null, version: null, actions: null, hasController: false, bankSize: 0, shape: null,
  sight: new Sight("frame"), signals: [],
};

/**
 * Return {name, version, actions, hasController, bankSize, shape, sight, signals} of the world that
 * has this name now; `shape` (H, W, C) is null without frames.
 */
export async function worldOf(stream, name) {
  const { version, action_space, frame_shape, manifest } = await stream.request("world", { name });
  return {
    name,
    version,
    actions: actionsOf(action_space),
    hasController: hasController(manifest),
    bankSize: manifest.bank.size,
    shape: frame_shape,
    sight: sightOf(manifest),
    signals: (manifest.signals ?? []).map((signal) => signal.name),
  };
}

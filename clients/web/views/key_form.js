// The form that asks for an API key when the server wants one.

import { canBeKey, isKeyWanted, statusWith, useApiKey } from "../wire/key.js";
import { byId } from "./dom.js";

export class KeyForm {
  /** `onKey` is called when the server takes the key that was entered. */
  constructor(onKey) {
    byId("key-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const key = byId("key").value.trim().replace(/^Bearer\s+/i, ""); // a whole header was pasted
      const problem = await problemOf(key);
      byId("key-error").textContent = problem;
      if (problem) return;
      useApiKey(key);
      onKey();
    });
  }

  /** Show the form if the server wants a key; return whether it does. */
  async showIfWanted() {
    const wanted = await isKeyWanted();
    if (wanted && byId("key-form").hidden) {
      byId("key-form").hidden = false;
      byId("key").focus();
    }
    return wanted;
  }

  hide() {
    byId("key-form").hidden = true;
    byId("key").value = "";
  }
}

/** Return what is wrong with a key, or "" if the server takes it. */
async function problemOf(key) {
  if (!canBeKey(key)) {
    return "A key consists of letters, digits and some signs, without spaces, = or accents.";
  }
  const status = await statusWith(key);
  if (status === 401) return "The server does not know this key.";
  return status === 200 ? "" : "The server could not try this key. Send it again in a moment.";
}

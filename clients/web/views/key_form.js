// The form that asks for an API key when the server wants one.

import { isKeyWanted, useApiKey } from "../wire/key.js";
import { byId } from "./dom.js";

export class KeyForm {
  /** `onKey` is called when the server takes the key that was entered. */
  constructor(onKey) {
    byId("key-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      useApiKey(byId("key").value.trim());
      const refused = await isKeyWanted();
      byId("key-error").textContent = refused ? "The server does not know this key." : "";
      if (!refused) onKey();
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

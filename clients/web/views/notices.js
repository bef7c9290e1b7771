// What the page has to say: one line for each kind, until it is taken back, dismissed or read.

import { byId, element } from "./dom.js";

const SHOWN_MS = { info: 6000, error: 20_000 }; // others stay until they are taken back

export class Notices {
  #lines = new Map(); // kind → {line, timer}

  /** Show a text, or take that kind's text back if it is empty. */
  show(kind, text) {
    const shown = this.#lines.get(kind);
    if (text === "") return this.#remove(kind);
    if (shown) {
      clearTimeout(shown.timer);
      shown.text.textContent = text;
    } else this.#add(kind, text);
    const line = this.#lines.get(kind);
    if (SHOWN_MS[kind]) line.timer = setTimeout(() => this.#remove(kind), SHOWN_MS[kind]);
    return undefined;
  }

  #add(kind, text) {
    const said = element("span", {}, text);
    const close = element("button", { type: "button", "aria-label": "Dismiss" }, "×");
    close.addEventListener("click", () => this.#remove(kind));
    const line = element("div", { className: `notice ${kind}` }, said, close);
    this.#lines.set(kind, { line, text: said, timer: 0 });
    byId(kind === "error" ? "alerts" : "notices").append(line);
  }

  #remove(kind) {
    const shown = this.#lines.get(kind);
    if (!shown) return;
    clearTimeout(shown.timer);
    shown.line.remove();
    this.#lines.delete(kind);
  }
}

// The dialog of real beginnings: entries of the world's bank as pictures.

import { byId, element, picture } from "./dom.js";
import { inWords } from "../wire/errors.js";

const AT_ONCE = 24;

export class Beginnings {
  #world = null;
  #next = 0;
  #keysReturn = false; // to the game, when the dialog closes

  constructor(game) {
    this.game = game;
    this.dialog = byId("beginnings");
    byId("open-beginnings").addEventListener("click", ({ detail }) => {
      this.#keysReturn = detail > 0; // a pointer opens it; otherwise the keyboard stays here
      this.open();
    });
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault(); // Escape: a browser tells of the close a moment after it
      this.#close();
    });
    byId("close-beginnings").addEventListener("click", () => this.#close());
    byId("more-beginnings").addEventListener("click", () => this.#more());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.#close(); // beside it
    });
  }

  #close() {
    this.dialog.close();
    if (this.#keysReturn) byId("open-beginnings").blur(); // has the focus again
  }

  async open() {
    const { game } = this;
    if (!game.dream.spec) return;
    game.pause();
    this.dialog.showModal();
    if (this.#world === game.world) return;
    this.#world = game.world;
    this.#next = 0;
    byId("beginnings-list").replaceChildren();
    await this.#more();
  }

  async #more() {
    const size = this.#world.bankSize;
    const [first, end] = [this.#next, Math.min(this.#next + AT_ONCE, size)];
    const more = byId("more-beginnings");
    more.disabled = true;
    try {
      const pictures = await this.game.dream.realMoments(this.#world, first, end);
      byId("beginnings-list").append(...pictures.map((one) => this.#item(one)));
      this.#next = end;
      byId("beginnings-error").textContent = "";
    } catch (error) {
      byId("beginnings-error").textContent = inWords(error);
    }
    more.disabled = false;
    more.hidden = this.#next === size;
    more.textContent = `Show more (${this.#next} of ${size})`;
  }

  #item({ bank, frame }) {
    const { sight } = this.#world;
    const word = sight.isPicture ? "frame" : "moment";
    const button = element("button",
      { type: "button", className: "thumb", "aria-label": `Begin at real ${word} ${bank}` },
      picture(frame, sight), element("span", {}, String(bank)));
    button.addEventListener("click", () => {
      this.#keysReturn = true;
      this.#close();
      this.game.again({ start: { bank } });
    });
    return element("li", {}, button);
  }
}

// The dialog of real beginnings: entries of the world's bank as pictures.

import { byId, element, picture } from "./dom.js";
import { inWords } from "../wire/errors.js";

const AT_ONCE = 24;

export class Beginnings {
  #world = null;
  #size = 0;
  #next = 0;

  constructor(game) {
    this.game = game;
    this.dialog = byId("beginnings");
    byId("open-beginnings").addEventListener("click", () => this.open());
    byId("close-beginnings").addEventListener("click", () => this.dialog.close());
    byId("more-beginnings").addEventListener("click", () => this.#more());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close(); // beside it
    });
  }

  async open() {
    const { game } = this;
    if (!game.world) return;
    game.pause();
    this.dialog.showModal();
    if (this.#world === game.world.name) return;
    this.#world = game.world.name;
    this.#size = game.bankSize;
    this.#next = 0;
    byId("beginnings-list").replaceChildren();
    await this.#more();
  }

  async #more() {
    const [first, end] = [this.#next, Math.min(this.#next + AT_ONCE, this.#size)];
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
    more.hidden = this.#next === this.#size;
    more.textContent = `Show more (${this.#next} of ${this.#size})`;
  }

  #item({ bank, frame }) {
    const word = this.game.sight.isPicture ? "frame" : "moment";
    const button = element("button",
      { type: "button", className: "thumb", "aria-label": `Begin at real ${word} ${bank}` },
      picture(frame, "", this.game.sight), element("span", {}, String(bank)));
    button.addEventListener("click", () => {
      this.dialog.close();
      this.game.again({ start: { bank } });
    });
    return element("li", {}, button);
  }
}

// Branches: kept steps as small pictures, to come back to.

import { byId, element, picture } from "./dom.js";

export class Branches {
  #shown = null;

  constructor(game) {
    this.game = game;
    game.addEventListener("change", () => this.#show());
  }

  #show() {
    const { branches } = this.game;
    if (this.#shown === branches.length + branches.map(({ id }) => id).join()) return;
    this.#shown = branches.length + branches.map(({ id }) => id).join();
    byId("branches").replaceChildren(...branches.map((branch) => this.#item(branch)));
    byId("no-branches").hidden = branches.length > 0;
  }

  #item(branch) {
    const { step, frame } = branch.history.last;
    const jump = element("button",
      { type: "button", className: "thumb", "aria-label": `Go on from the branch at step ${step}` },
      picture(frame, branch.world.sight), element("span", {}, `step ${step}`));
    jump.addEventListener("click", () => this.game.jump(branch));
    const drop = element("button",
      { type: "button", className: "drop", "aria-label": `Drop the branch at step ${step}` }, "×");
    drop.addEventListener("click", () => this.game.drop(branch));
    return element("li", {}, jump, drop);
  }
}

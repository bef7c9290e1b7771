// Puts the playground together: the stream, the game, and the views around it.

import { ROUTE } from "./dream/dream.js";
import { Game } from "./dream/game.js";
import { readLink, writeLink } from "./dream/link.js";
import { Beginnings } from "./views/beginnings.js";
import { Branches } from "./views/branches.js";
import { Controls, randomSeed } from "./views/controls.js";
import { byId, throttled } from "./views/dom.js";
import { Expectation } from "./views/expectation.js";
import { Futures } from "./views/futures.js";
import { Input } from "./views/input.js";
import { KeyForm } from "./views/key_form.js";
import { Notices } from "./views/notices.js";
import { Numbers } from "./views/numbers.js";
import { Screen } from "./views/screen.js";
import { Timeline } from "./views/timeline.js";
import { keyHeaders } from "./wire/key.js";
import { Stream } from "./wire/stream.js";

const notices = new Notices();
const keyForm = new KeyForm(() => stream.hurry());
const stream = new Stream(streamUrl(), connectionChanged);
const input = new Input(() => pressed());
const game = new Game(stream, input);
const screen = new Screen(game);
const controls = new Controls(game, notices);
const futures = new Futures(game);
new Timeline(game);
const expectation = new Expectation(game);
const numbers = new Numbers(game);
new Branches(game);
new Beginnings(game);

game.addEventListener("notice", ({ detail }) => notices.show(detail.kind, detail.text));
game.addEventListener("world", () => {
  input.show(game.world.actions);
  controls.entered();
  futures.entered();
  expectation.entered();
  numbers.entered();
  const [height, width] = game.world.shape ?? [1, 1];
  byId("screen").style.aspectRatio = `${width} / ${height}`;
});
game.addEventListener("begin", () => {
  screen.begun();
  const { name, actions } = game.driver;
  const { fragment, fits } = writeLink(game.dream.spec, name === "recording" ? actions : []);
  if (fits) history.replaceState(null, "", fragment); // else the address is the link that was opened
});
const showRate = throttled(() => (byId("fps").textContent = screen.framesPerSecond), 500);
game.addEventListener("moment", showRate);
addEventListener("hashchange", open);
addEventListener("pagehide", leave);
document.addEventListener("visibilitychange", pauseWhileHidden);
open();

/** Begin the dream of the page's link, or a new one. */
async function open() {
  let link = { spec: {}, actions: [] };
  try {
    link = readLink(location.hash);
  } catch (error) {
    notices.show("error", error.message);
  }
  const other = { seed: randomSeed() };
  await game.open({ ...other, ...defined(link.spec) }, link.actions, other);
}

/** A person who presses an action plays: from the first step on, and instead of anybody else. */
function pressed() {
  if (game.driver.name !== "person") game.let("person");
  if (screen.isWaiting) game.play();
}

function connectionChanged(isOpen) {
  byId("connection").textContent = isOpen ? "connected" : "reconnecting";
  byId("connection").classList.toggle("lost", !isOpen);
  if (isOpen) {
    keyForm.hide();
    notices.show("connection", "");
    game?.reconnected();
  } else sayWhy();
}

/** Ask for an API key if that is what is missing. */
async function sayWhy() {
  const wanted = await keyForm.showIfWanted();
  if (stream.isOpen) return;
  notices.show("connection", wanted ? "" : "The server does not answer. The dream waits for it.");
}

let wasPlaying = false;

/** A hidden page gets few timer events, and nobody sees the dream. */
function pauseWhileHidden() {
  if (document.hidden) {
    wasPlaying = game.isPlaying;
    game.pause();
  } else if (wasPlaying) game.play();
}

/** Free the sessions on the server. */
function leave() {
  const dreams = [game.dream, ...game.branches].filter(Boolean);
  for (const { id } of dreams) {
    const url = new URL(`sessions/${id}`, document.baseURI);
    fetch(url, { method: "DELETE", keepalive: true, headers: keyHeaders() })
      .catch(() => null); // the server forgets them in time
  }
}

/** Return the address of the stream, beside this page's, behind whatever path prefix. */
function streamUrl() {
  const url = new URL("stream", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  url.search = new URLSearchParams({ session_id: ROUTE });
  return url.href;
}

function defined(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

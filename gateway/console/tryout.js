// A channel to try on the first page: listen to it, publish to it.

import { post } from "./api.js";
import { byId, el } from "./dom.js";
import { NewestList } from "./newest.js";
import { attempt } from "./notice.js";
import { timeElement } from "./relative.js";
import { follow } from "./stream.js";

const channel = byId("channel");
const log = new NewestList(byId("log"), draw);
let stream = null;
let listeningTo = null; // name of the stream's channel

/** tryChannel makes the form work. */
export function tryChannel() {
  byId("listen").addEventListener("submit", (event) => {
    event.preventDefault();
    if (channel.value === listeningTo) {
      leave();
    } else {
      listen(channel.value);
    }
  });
  byId("publish").addEventListener("submit", (event) => {
    event.preventDefault();
    if (channel.reportValidity()) {
      publish(channel.value, parsed(byId("payload").value));
    }
  });
  channel.addEventListener("input", show);
  show();
}

function listen(name) {
  stream?.close();
  log.clear();
  listeningTo = name;
  say(`Connecting to ${name}.`);
  // The stream of several channels, with one: there an event's type is in the
  // envelope. On the channel's own stream it would be the event's name, and
  // EventSource hands over only the names it was told beforehand.
  stream = follow(`/api/sse?channels=${encodeURIComponent(name)}`, {
    opened: () => say(`Listening to ${name}. Nothing published yet.`),
    message(event) {
      log.add(event);
      show();
    },
  });
}

function leave() {
  stream.close();
  stream = null;
  listeningTo = null;
  say("Not listening any more.");
}

async function publish(name, data) {
  const worked = await attempt("Not published", () => post(`/api/channels/${encodeURIComponent(name)}/events`, { data }));
  if (worked && name !== listeningTo) {
    say(`Published to ${name}. Press Listen to see what comes next.`);
  }
}

/** say puts words where the events will be, while there are none. */
function say(words) {
  byId("log-empty").textContent = words;
  show();
}

function show() {
  byId("listen-button").textContent = channel.value === listeningTo ? "Leave" : "Listen";
  byId("log-empty").hidden = log.size > 0;
  byId("channel-command").textContent = `redis-cli PUBLISH ${channel.value || "demo"} 'Hello from redis-cli'`;
}

function draw({ id, type, time, data }) {
  return el(
    "li",
    { class: "log-entry" },
    el("p", { class: "log-data" }, typeof data === "string" ? data : JSON.stringify(data)),
    el("p", { class: "log-meta" }, type ? el("b", {}, type) : null, el("code", {}, id), timeElement(time)),
  );
}

/** parsed returns what was typed as JSON if it is JSON, else as text: what the gateway makes of a PUBLISH. */
function parsed(input) {
  try {
    return JSON.parse(input);
  } catch {
    return input;
  }
}

// The pill in the header: one word for the state of all streams of the page.

import { byId } from "./dom.js";

const words = {
  idle: "No stream",
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  closed: "Closed, trying again",
};

// With several streams open the one that is worst off is shown.
const worstFirst = ["closed", "reconnecting", "connecting", "live"];

const states = new Map(); // stream -> its state

/** setState records the state of a stream and shows the page's. */
export function setState(stream, state) {
  states.set(stream, state);
  show();
}

/** forget takes out a stream that is over. */
export function forget(stream) {
  states.delete(stream);
  show();
}

function show() {
  const current = [...states.values()];
  const state = worstFirst.find((candidate) => current.includes(candidate)) ?? "idle";
  const pill = byId("connection");
  if (pill.dataset.state === state) {
    return; // the pill is a live region: don't announce what hasn't changed
  }
  pill.dataset.state = state;
  pill.querySelector(".pill-text").textContent = words[state];
}

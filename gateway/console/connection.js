// The pill in the header: one word for the state of all streams of the page.

import { byId } from "./dom.js";

const words = {
  idle: "No stream",
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  closed: "Closed, trying again",
};

// If the page has several streams, the worst state is shown.
const worstFirst = ["closed", "reconnecting", "connecting", "live"];

const states = new Map(); // stream -> its state

/** setState records the state of a stream, and shows the state of the page. */
export function setState(stream, state) {
  states.set(stream, state);
  show();
}

/** forget removes a stream that has ended. */
export function forget(stream) {
  states.delete(stream);
  show();
}

function show() {
  const current = [...states.values()];
  const state = worstFirst.find((candidate) => current.includes(candidate)) ?? "idle";
  const pill = byId("connection");
  if (pill.dataset.state === state) {
    return; // the pill is a live region: a screen reader must not announce a state that has not changed
  }
  pill.dataset.state = state;
  pill.querySelector(".pill-text").textContent = words[state];
}

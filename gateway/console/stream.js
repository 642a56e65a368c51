// Following one stream with the browser's own EventSource.
//
// EventSource reconnects by itself, with Last-Event-ID, when a response ends or
// breaks. It gives up for good (readyState CLOSED) when it gets any answer other
// than an event stream, such as a 503 from a proxy while a replica starts. Then
// we make a new one after a while and say where we were with ?lastEventId=.

import { forget, setState } from "./connection.js";

const firstDelay = 1000; // ms
const longestDelay = 30000; // ms
const settled = 250; // ms a stream must stay open to be called live

const open = new Set(); // the streams of this page

/**
 * follow opens a stream and keeps it open until close() is called on what it returns.
 *
 * Handlers, all optional:
 *   message(data)  an event without a name; data is its JSON, decoded
 *   gap(data)      part of what was asked for is no longer stored
 *   opened()       the gateway has confirmed the subscription
 *   refused()      EventSource has given up; close() here stops the retries
 */
export function follow(url, handlers) {
  const stream = new Stream(url, handlers);
  stream.connect("connecting");
  return stream;
}

class Stream {
  #url;
  #handlers;
  #source = null;
  #timer = 0; // until it is called live, or until the next try
  #refusals = 0; // since the last open
  #lastEventId = "";

  constructor(url, handlers) {
    this.#url = new URL(url, location.origin);
    this.#handlers = handlers;
    open.add(this);
  }

  connect(state) {
    setState(this, state);
    if (this.#lastEventId) {
      this.#url.searchParams.set("lastEventId", this.#lastEventId);
    }
    this.#source = new EventSource(this.#url);
    this.#source.onopen = () => {
      this.#refusals = 0;
      // A proxy may answer for us, with a stream that ends at once, while no replica is there.
      this.#timer = setTimeout(() => setState(this, "live"), settled);
      this.#handlers.opened?.();
    };
    this.#source.onmessage = (event) => this.#take(event, this.#handlers.message);
    this.#source.addEventListener("gap", (event) => this.#take(event, this.#handlers.gap));
    this.#source.onerror = () => this.#failed();
  }

  #take(event, handler) {
    this.#lastEventId = event.lastEventId;
    handler?.(decode(event.data));
  }

  #failed() {
    clearTimeout(this.#timer);
    if (this.#source.readyState !== EventSource.CLOSED) {
      setState(this, "reconnecting");
      return;
    }
    setState(this, "closed");
    this.#timer = setTimeout(() => this.connect("reconnecting"), delay(this.#refusals++));
    this.#handlers.refused?.();
  }

  /** close ends the stream for good. */
  close() {
    this.pause();
    open.delete(this);
    forget(this);
  }

  /** pause closes the connection; connect() goes on after the last event. */
  pause() {
    clearTimeout(this.#timer);
    this.#source?.close();
  }
}

/** delay returns how long to wait after so many refusals in a row, with jitter: clients must not come back in step. */
function delay(refusals) {
  const ceiling = Math.min(firstDelay * 2 ** refusals, longestDelay);
  return ceiling * (0.5 + Math.random() / 2);
}

function decode(data) {
  try {
    return JSON.parse(data);
  } catch {
    return data; // plain text is a fine payload too
  }
}

// A page in the back/forward cache must not hold one of the browser's few
// connections; when it is shown again it goes on where it was.
addEventListener("pagehide", () => open.forEach((stream) => stream.pause()));
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    open.forEach((stream) => stream.connect("reconnecting"));
  }
});

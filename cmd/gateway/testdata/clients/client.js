// Opens a stream with one of the clients in package.json, as its documentation shows, and prints each call of the
// user's functions as a line of JSON:
//
//   {"event", "id", "data"}   an event was handed over; event is "message" where it has no name
//   {"end": why}              the client has stopped by itself
//
//   node client.js NAME URL
//
// It runs until it is killed, or the client has stopped.

import { EventSource } from "eventsource";
import { createEventSource } from "eventsource-client";
import ReconnectingEventSource from "reconnecting-eventsource";

const [, , name, url] = process.argv;
const print = (line) => console.log(JSON.stringify(line));
const names = ["message", "position", "gap", "error"];

function end(why) {
  print({ end: why });
  process.exit();
}

// Every named event of the gateway, and every event without a name. What is no MessageEvent is the client's own.
function listen(source) {
  for (const event of names) {
    source.addEventListener(event, (e) => {
      if (e.data !== undefined) print({ event, id: e.lastEventId, data: e.data });
    });
  }
}

const clients = {
  eventsource() {
    const source = new EventSource(url);
    listen(source);
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) end("closed");
    });
  },

  "eventsource-client"() {
    const client = createEventSource({
      url,
      onMessage: (m) => print({ event: m.event ?? "message", id: m.id ?? "", data: m.data }),
      onDisconnect: () => setTimeout(() => client.readyState === "closed" && end("closed")),
    });
  },

  // It makes a new EventSource whenever its EventSource has given up, without end: three in a row that get nothing are
  // its end here.
  "reconnecting-eventsource"() {
    let made = 0;
    class Counted extends EventSource {
      constructor(...args) {
        if (++made > 3) end("tries again and again");
        super(...args);
        this.addEventListener("message", () => (made = 1));
      }
    }
    listen(new ReconnectingEventSource(url, { eventSourceClass: Counted, max_retry_time: 300 }));
  },

  // It is made for pages: without window and document it does not run.
  async "fetch-event-source"() {
    globalThis.window = globalThis;
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = (await import("@microsoft/fetch-event-source")).default;
    await fetchEventSource(url, {
      onmessage: (m) => print({ event: m.event || "message", id: m.id, data: m.data }),
    });
    end("resolved");
  },
};

await clients[name]();

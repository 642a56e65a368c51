// The first page: the live time, what to type, and a channel to try.

import { prepareCommands } from "./commands.js";
import { byId } from "./dom.js";
import { follow } from "./stream.js";
import { tryChannel } from "./tryout.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");
let count = 0;

follow("/api/sse/time", { message: tick });
prepareCommands();
tryChannel();

function tick({ message, timestamp }) {
  count++;
  byId("clock-count").textContent = count === 1 ? "1 event" : `${count} events`;
  if (timestamp === undefined) {
    byId("clock-date").textContent = message; // the greeting
    return;
  }
  const date = new Date(timestamp);
  byId("clock").textContent = date.toLocaleTimeString("en-GB");
  byId("clock-date").textContent = date.toLocaleDateString("en-GB", { dateStyle: "full" });
  if (!still.matches) {
    byId("drop").animate(
      [
        { transform: "translateX(0)", opacity: 1 },
        { transform: "translateX(48px)", opacity: 1 },
      ],
      { duration: 500, easing: "ease-in-out" },
    );
  }
}

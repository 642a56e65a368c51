// Times as "12 seconds ago", kept true while the page is open.

import { el } from "./dom.js";

const format = new Intl.RelativeTimeFormat("en");
const units = [
  ["day", 86400000],
  ["hour", 3600000],
  ["minute", 60000],
  ["second", 1000],
];
const justNow = 5000; // ms; also covers a clock that is a little ahead of ours
const interval = 5000; // ms between updates

/** ago says how long before now then was; both in milliseconds. */
export function ago(then, now) {
  const passed = now - then;
  if (passed < justNow) {
    return "just now";
  }
  const [unit, size] = units.find(([, size]) => passed >= size);
  return format.format(-Math.floor(passed / size), unit);
}

/** timeElement makes a <time> that shows how long ago it was and, as its title, when. */
export function timeElement(timestamp) {
  const date = new Date(timestamp);
  if (Number.isNaN(date.getTime())) {
    return el("time", {}, "");
  }
  return el(
    "time",
    { datetime: date.toISOString(), title: date.toLocaleString(), "data-ago": date.getTime() },
    ago(date.getTime(), Date.now()),
  );
}

function update() {
  const now = Date.now();
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const words = ago(Number(element.dataset.ago), now);
    if (element.textContent !== words) {
      element.textContent = words;
    }
  }
}

setInterval(update, interval);
// Timers are slowed down while the page is hidden.
document.addEventListener("visibilitychange", update);

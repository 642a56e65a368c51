// The activity page: who did what.

import { get, post } from "./api.js";
import { byId, el, icon, text } from "./dom.js";
import { NewestList } from "./newest.js";
import { attempt } from "./notice.js";
import { timeElement } from "./relative.js";
import { follow } from "./stream.js";

const tones = {
  user_joined: "brand",
  post_created: "info",
  comment_added: "violet",
  file_uploaded: "warning",
  task_completed: "success",
};

let announcement = 0; // timer
let automatic = null; // the automatic simulation that goes on, if one does
const feed = new NewestList(byId("feed"), draw);

follow("/api/sse/activity", { message: arrived, gap: reload });

function arrived(activity) {
  if (feed.add(activity)) {
    announce(`${text(activity.userName)} ${text(activity.action)}`);
  }
  byId("feed-empty").hidden = feed.size > 0;
}

/** announce tells those who listen to the page of the newest activity, once per burst. */
function announce(words) {
  clearTimeout(announcement);
  announcement = setTimeout(() => (byId("latest").textContent = words), 500);
}

/** reload runs when the stream says that part of what it should have sent is gone. */
async function reload() {
  const loaded = await attempt("The feed could not be loaded again", () =>
    feed.reload(async () => (await get("/api/activity?limit=50")).activities));
  byId("gap").textContent = "Some older activity is no longer stored." +
    (loaded ? " The feed was loaded again." : "");
  byId("gap").hidden = false;
  byId("feed-empty").hidden = feed.size > 0;
}

function draw(activity) {
  const type = activity.type in tones ? activity.type : "other";
  const details = text(activity.details);
  return el(
    "li",
    { class: "happening", "data-tone": tones[type] ?? "plain", "data-id": activity.id, "data-type": type },
    el("span", { class: "badge" }, icon(type)),
    el(
      "div",
      { class: "happening-text" },
      el("p", {}, el("b", {}, text(activity.userName)), " ", text(activity.action)),
      details ? el("p", { class: "soft" }, details) : null,
    ),
    timeElement(activity.timestamp),
  );
}

function simulate() {
  return attempt("Not simulated", () => post("/api/activity/simulate"));
}

/** simulateOn simulates one after the other, at uneven intervals, until somebody stops it. */
async function simulateOn() {
  const mine = Symbol("run");
  automatic = mine;
  showAutomatic();
  while (automatic === mine && (await simulate())) {
    await new Promise((resolve) => setTimeout(resolve, 800 + Math.random() * 1700));
  }
  if (automatic === mine) {
    stop(); // it failed
  }
}

function stop() {
  automatic = null;
  showAutomatic();
}

function showAutomatic() {
  byId("automatic").dataset.running = String(automatic !== null);
  byId("automatic-text").textContent = automatic ? "Stop simulating" : "Simulate automatically";
}

byId("simulate").addEventListener("click", simulate);
byId("automatic").addEventListener("click", () => (automatic ? stop() : simulateOn()));
addEventListener("pagehide", stop);

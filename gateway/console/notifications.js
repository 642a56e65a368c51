// The notifications page: a bell and the list of notifications that it opens.
//
// Which notifications are read is kept in the browser's localStorage, which all
// of its tabs share. The gateway does not know it.

import { get, post } from "./api.js";
import { prepareCommands } from "./commands.js";
import { byId, el, icon, text } from "./dom.js";
import { recall, remember } from "./memory.js";
import { NewestList } from "./newest.js";
import { attempt } from "./notice.js";
import { timeElement } from "./relative.js";
import { follow } from "./stream.js";

const memoryKey = "sluice.read";
const remembered = 200; // ids; more than any list of the gateway holds

const types = ["info", "success", "warning", "error"];
const samples = {
  info: ["Maintenance tonight", "The search index is rebuilt between 02:00 and 02:30."],
  success: ["Backup done", "All 12 databases are safe."],
  warning: ["Disk nearly full", "Volume data-3 has 8 % left."],
  error: ["Payment failed", "Order 4711: the card was declined."],
};

let read = new Set(recall("localStorage", memoryKey));
let summaryTimer = 0;
const inbox = new NewestList(byId("inbox"), draw);

follow("/api/sse/notifications", { message: arrived, gap: reload });
prepareCommands();
refresh();

function arrived(notification) {
  if (inbox.add(notification)) {
    refresh();
    ring();
  }
}

/** reload runs when the stream says that part of what it should have sent is gone. */
async function reload() {
  const loaded = await attempt("The list could not be loaded again", () =>
    inbox.reload(async () => (await get("/api/notifications")).notifications));
  byId("gap").textContent = "Some older notifications are no longer stored." +
    (loaded ? " The list was loaded again." : "");
  byId("gap").hidden = false;
  refresh();
}

function draw(notification) {
  const type = types.includes(notification.type) ? notification.type : "info";
  const button = el("button", { class: "button button-icon", type: "button", "aria-label": "Mark as read", title: "Mark as read" }, icon("check"));
  button.addEventListener("click", () => {
    markRead([notification.id]);
    focusNextUnread(button);
  });
  return el(
    "li",
    { class: "notification", "data-tone": type, "data-id": notification.id },
    el("span", { class: "badge" }, icon(type), el("span", { class: "visually-hidden" }, type)),
    el(
      "div",
      { class: "notification-text" },
      el("h3", {}, text(notification.title)),
      el("p", {}, text(notification.message)),
      timeElement(notification.timestamp),
    ),
    button,
  );
}

/** focusNextUnread keeps the keyboard in the list when the button that was pressed goes away. */
function focusNextUnread(pressed) {
  const buttons = [...byId("inbox").querySelectorAll("button")];
  const after = buttons.slice(buttons.indexOf(pressed)).concat(buttons);
  (after.find(({ hidden }) => !hidden) ?? byId("bell")).focus();
}

function isRead({ id, read: stored }) {
  return stored === true || read.has(id);
}

function markRead(ids) {
  // Other tabs add to it too: take theirs in before writing.
  read = new Set([...recall("localStorage", memoryKey), ...read, ...ids].slice(-remembered));
  remember("localStorage", memoryKey, [...read]);
  refresh();
}

function refresh() {
  let unread = 0;
  for (const notification of inbox.items()) {
    const done = isRead(notification);
    const node = inbox.node(notification.id);
    unread += done ? 0 : 1;
    node.classList.toggle("is-read", done);
    node.querySelector("button").hidden = done;
  }
  byId("bell-count").textContent = unread;
  byId("bell-count").hidden = unread === 0;
  byId("bell").setAttribute("aria-label", `Notifications, ${unread} unread`);
  byId("read-all").disabled = unread === 0;
  byId("inbox-empty").hidden = inbox.size > 0;
  document.title = `${unread ? `(${unread}) ` : ""}Notifications · Sluice`;
  summarise(inbox.size ? `${unread} unread of ${inbox.size}` : "");
}

/** summarise says the counts, once per burst: it is a live region, and the stored notifications come all at once. */
function summarise(words) {
  clearTimeout(summaryTimer);
  summaryTimer = setTimeout(() => (byId("summary").textContent = words), 150);
}

function ring() {
  const bell = byId("bell");
  bell.classList.remove("is-ringing");
  void bell.offsetWidth; // makes the browser start the animation anew
  bell.classList.add("is-ringing");
}

byId("bell").addEventListener("click", () => {
  const panel = byId("panel");
  panel.hidden = !panel.hidden;
  byId("bell").setAttribute("aria-expanded", String(!panel.hidden));
});
byId("read-all").addEventListener("click", () => markRead(inbox.items().map(({ id }) => id)));
byId("send").addEventListener("submit", (event) => {
  event.preventDefault();
  const type = event.submitter?.value || "info";
  const [title, message] = samples[type];
  attempt("Not sent", () =>
    post("/api/notifications/create", {
      type,
      title: byId("title").value.trim() || title,
      message: byId("message").value.trim() || message,
    }));
});
addEventListener("storage", (event) => {
  if (event.key === memoryKey) {
    read = new Set(recall("localStorage", memoryKey));
    refresh();
  }
});

// The line at the top of a page that says what went wrong.

import { byId, el, icon } from "./dom.js";

/** attempt runs an action of the user's. It shows why it failed, or takes the last failure away. Returns whether it worked. */
export async function attempt(what, action) {
  try {
    await action();
  } catch (error) {
    show(`${what}: ${error instanceof TypeError ? "the gateway can't be reached" : error.message}`);
    return false;
  }
  hide();
  return true;
}

function show(message) {
  const close = el("button", { class: "button button-icon", type: "button", "aria-label": "Dismiss" }, icon("close"));
  close.addEventListener("click", hide);
  const notice = byId("notice");
  notice.replaceChildren(icon("warning"), el("span", {}, message), close);
  notice.hidden = false;
}

function hide() {
  byId("notice").hidden = true;
}

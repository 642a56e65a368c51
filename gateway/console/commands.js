// Commands to paste into a terminal, each with a button that copies it.

import { el, icon } from "./dom.js";

const shown = 1500; // ms the button says that it has copied

/** prepareCommands puts this gateway's address into the page's commands and a copy button beside each. */
export function prepareCommands() {
  for (const pre of document.querySelectorAll(".command pre")) {
    const code = pre.querySelector("code");
    code.textContent = code.textContent.replaceAll("{origin}", location.origin);
    pre.after(copyButton(code));
  }
}

function copyButton(code) {
  const label = el("span", { class: "copy-text", "aria-live": "polite" }, "Copy");
  const button = el("button", { class: "copy", type: "button" }, icon("copy"), label);
  let timer = 0;
  button.addEventListener("click", async () => {
    label.textContent = (await copy(code)) ? "Copied" : "Press Ctrl+C";
    clearTimeout(timer);
    timer = setTimeout(() => (label.textContent = "Copy"), shown);
  });
  return button;
}

/** copy puts the text of code on the clipboard; where that is not allowed it selects the text for the user to copy. */
async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent); // only on localhost and over https
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return false;
  }
}

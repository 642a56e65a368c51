// One task on the progress page: how it looks in each of its states.

import { el, icon, text } from "./dom.js";

const looks = {
  waiting: ["clock", "Waiting"],
  pending: ["clock", "Pending"],
  processing: ["play", "Processing"],
  completed: ["success", "Completed"],
  failed: ["error", "Failed"],
  gone: ["other", "Unknown"],
};

/** TaskCard is the card of one task. element goes into the page. */
export class TaskCard {
  onDismiss = () => {};
  status = ""; // as last reported; empty before the first report

  #chip = el("span", { class: "chip" });
  #fill = el("span", { class: "bar-fill" });
  #bar;
  #percent = el("span", { class: "task-percent" }, "0 %");
  #step = el("p", { class: "task-step" });
  #message = el("p", { class: "task-message soft" });

  constructor(id, name) {
    const dismiss = el("button", { class: "button button-icon", type: "button", "aria-label": `Dismiss ${name}` }, icon("close"));
    dismiss.addEventListener("click", () => this.onDismiss());
    this.#bar = el(
      "div",
      { class: "bar", role: "progressbar", "aria-label": name, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0" },
      this.#fill,
    );
    this.element = el(
      "li",
      { class: "card task", "data-task": id },
      el(
        "div",
        { class: "task-head" },
        el("div", { class: "task-name" }, el("h3", {}, name), name === id ? null : el("code", { class: "soft" }, id)),
        this.#chip,
        dismiss,
      ),
      this.#bar,
      el("div", { class: "task-foot" }, el("div", {}, this.#step, this.#message), this.#percent),
    );
    this.#look("waiting");
    this.#step.textContent = "Waiting for the first report";
  }

  /** show puts a state, as the stream sends it, on the card. */
  show({ progress, status, message, currentStep }) {
    const percent = Math.min(Math.max(Math.round(Number(progress) || 0), 0), 100);
    this.status = status;
    this.#look(status in looks ? status : "processing");
    this.#bar.setAttribute("aria-valuenow", String(percent));
    this.#fill.style.transform = `scaleX(${percent / 100})`;
    this.#percent.textContent = `${percent} %`;
    this.#step.textContent = text(currentStep);
    this.#message.textContent = text(message);
  }

  /** showGone says that the gateway does not know the task any more. */
  showGone() {
    this.#look("gone");
    this.#step.textContent = "Its state is no longer stored";
    this.#message.textContent = "A finished task's state is kept for one minute.";
  }

  #look(status) {
    if (this.element.dataset.status === status) {
      return;
    }
    this.element.dataset.status = status;
    const [name, word] = looks[status];
    this.#chip.replaceChildren(icon(name), word);
  }
}

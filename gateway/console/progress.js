// The progress page: tasks and how far they are.
//
// A task's stream ends with the task. Browsers open six HTTP/1.1 connections to
// a host and no more, so a page with many running tasks would leave none for
// anything else: beyond three, all go over to one shared stream.

import { get, post } from "./api.js";
import { prepareCommands } from "./commands.js";
import { byId } from "./dom.js";
import { recall, remember } from "./memory.js";
import { attempt } from "./notice.js";
import { follow } from "./stream.js";
import { TaskCard } from "./taskcard.js";

const ownStreams = 3;
const memoryKey = "sluice.tasks";
const samples = ["Nightly import", "Video encoding", "Monthly report", "Search index", "Thumbnail batch"];
const kept = 50; // cards

const tasks = new Map(); // id -> task, oldest first
let shared = null; // {stream, ids} while the running tasks share a stream

prepareCommands();
recall("sessionStorage", memoryKey).forEach(pickUp);

/** add shows a task and follows it. */
function add(id, name, reported = false) {
  drop(id); // a new run under an old id starts from the beginning
  const card = new TaskCard(id, name);
  card.onDismiss = () => drop(id);
  byId("tasks").prepend(card.element);
  tasks.set(id, { id, name, card, stream: null, reported, over: false });
  if (tasks.size > kept) {
    const all = [...tasks.values()];
    drop((all.find(({ over }) => over) ?? all[0]).id);
  }
  changed();
}

/** pickUp shows a task again that ran when this tab was reloaded. The gateway may have forgotten its state by now. */
async function pickUp({ id, name, reported }) {
  add(id, name, reported);
  const task = tasks.get(id);
  try {
    await get(`/api/tasks/${encodeURIComponent(id)}`);
  } catch (error) {
    if (error.status === 404 && reported && task === tasks.get(id) && !task.card.status) {
      finish(task);
      task.card.showGone();
    }
  }
}

function drop(id) {
  const task = tasks.get(id);
  if (task) {
    task.stream?.close();
    task.card.element.remove();
    tasks.delete(id);
    shared?.ids.delete(id); // if the task comes back, the shared stream is opened again and sends its state
    changed();
  }
}

/** report shows a state of a task. */
function report(task, state) {
  if (!task || task.over) {
    return;
  }
  task.card.show(state);
  if (!task.reported) {
    task.reported = true;
    changed();
  }
  if (state.status === "completed" || state.status === "failed") {
    finish(task);
    byId("outcome").textContent = `${task.name}: ${state.status}`;
  }
}

function finish(task) {
  task.over = true;
  task.stream?.close();
  changed();
}

/** changed brings the streams and the tab's memory in line with the tasks. */
function changed() {
  byId("tasks-empty").hidden = tasks.size > 0;
  const running = [...tasks.values()].filter(({ over }) => !over);
  remember("sessionStorage", memoryKey, running.map(({ id, name, reported }) => ({ id, name, reported })));
  if (running.length === 0) {
    shared?.stream.close();
    shared = null;
  } else if (shared || running.length > ownStreams) {
    share(running);
  } else {
    running.filter(({ stream }) => !stream).forEach(followOne);
  }
}

function followOne(task) {
  task.stream = follow(`/api/sse/progress/${encodeURIComponent(task.id)}`, {
    message: (state) => report(task, state),
    // The answer was not a stream. If the task is over that is right, and its state says so.
    refused: () => get(`/api/tasks/${encodeURIComponent(task.id)}`).then((state) => report(task, state), () => {}),
  });
}

/** share opens one stream for all running tasks, unless the one that is open has them all. */
function share(running) {
  if (shared && running.every(({ id }) => shared.ids.has(id))) {
    return;
  }
  running.forEach((task) => {
    task.stream?.close();
    task.stream = null;
  });
  shared?.stream.close();
  const ids = new Set(running.map(({ id }) => id));
  const channels = [...ids].map((id) => encodeURIComponent(`progress:${id}`)).join(",");
  // replay=1: each task's latest state first, for what happened between the streams.
  const stream = follow(`/api/sse?channels=${channels}&replay=1`, {
    message: ({ channel, data }) => report(tasks.get(channel.slice("progress:".length)), data),
  });
  shared = { stream, ids };
}

const nameInput = byId("task-name");
const idInput = byId("task-id");
let sample = 0;

function showCommand() {
  byId("watch-command").textContent =
    `redis-cli PUBLISH progress:${idInput.value || "build-7"} \\\n` +
    `  '{"progress":40,\n    "currentStep":"Compiling",\n    "message":"12 of 30 packages"}'`;
}

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  const taskName = nameInput.value.trim();
  if (nameInput.value === samples[sample]) {
    sample = (sample + 1) % samples.length;
    nameInput.value = samples[sample];
  }
  attempt("Not started", async () => {
    const { taskId } = await post("/api/tasks/start", { taskName });
    add(taskId, taskName);
  });
});
byId("watch").addEventListener("submit", (event) => {
  event.preventDefault();
  add(idInput.value, idInput.value);
});
idInput.addEventListener("input", showCommand);
nameInput.value = samples[sample];
showCommand();

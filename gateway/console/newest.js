// A list on the page that holds the newest items of a stream, each once.

const limit = 50;

/**
 * NewestList shows items newest first in an element, at most 50 of them.
 *
 * Items have an id. A stream may repeat events when it is opened anew, so an
 * item that is shown already is ignored.
 */
export class NewestList {
  #element;
  #draw;
  #shown = new Map(); // id -> {item, node}, oldest first

  /** draw makes the node of an item. */
  constructor(element, draw) {
    this.#element = element;
    this.#draw = draw;
  }

  /** add puts an item on top. Returns false if it was there already. */
  add(item) {
    if (this.#shown.has(item.id)) {
      return false;
    }
    const node = this.#draw(item);
    this.#shown.set(item.id, { item, node });
    this.#element.prepend(node);
    if (this.#shown.size > limit) {
      const [oldest, { node }] = this.#shown.entries().next().value;
      node.remove();
      this.#shown.delete(oldest);
    }
    return true;
  }

  /**
   * reload shows what is stored instead of what is shown. load fetches it, newest first.
   *
   * Items added while load was under way are newer than its answer may be: they stay, on top.
   */
  async reload(load) {
    const before = new Set(this.#shown.keys());
    const stored = await load();
    const late = this.items().filter(({ id }) => !before.has(id));
    this.clear();
    stored.toReversed().forEach((item) => this.add(item));
    late.forEach((item) => this.add(item));
  }

  clear() {
    this.#shown.clear();
    this.#element.replaceChildren();
  }

  /** items returns what is shown, oldest first. */
  items() {
    return [...this.#shown.values()].map(({ item }) => item);
  }

  /** node returns the node of an item that is shown. */
  node(id) {
    return this.#shown.get(id).node;
  }

  get size() {
    return this.#shown.size;
  }
}

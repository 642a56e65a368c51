// A list on the page that shows the newest items of a stream, each item once.

const limit = 50;

/**
 * NewestList shows items newest first in an element, at most 50 of them.
 *
 * Items have an id. A stream may repeat events when it is opened again, so an
 * item that is already shown is ignored.
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

  /** add puts an item on top. It returns false if the item was shown already. */
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
   * reload replaces the items by those that load fetches, newest first.
   *
   * Items that are added while load waits for its answer stay on top: the answer may not contain them.
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

// What a page remembers in the browser: lists, as JSON. Storage may be full,
// forbidden or hold something else; the pages then work without a memory.

/** recall returns the list that was remembered under key. storage is "localStorage" or "sessionStorage". */
export function recall(storage, key) {
  try {
    const value = JSON.parse(window[storage].getItem(key));
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

/** remember keeps a list. */
export function remember(storage, key, list) {
  try {
    window[storage].setItem(key, JSON.stringify(list));
  } catch {
    // Nothing can be done about it, and nothing depends on it.
  }
}

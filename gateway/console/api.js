// Plain calls to the gateway.

/** Refusal is an answer that is not a 2xx; status is its HTTP status. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** get reads JSON. It throws a Refusal, or a TypeError when the gateway cannot be reached. */
export function get(path) {
  return call(path, {});
}

/** post sends body as JSON and returns the answer. It throws as get does. */
export function post(path, body = {}) {
  return call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function call(path, options) {
  const response = await fetch(path, options);
  const answer = await response.json().catch(() => null);
  if (!response.ok) {
    throw new Refusal(response.status, answer?.error ?? `HTTP status ${response.status}`);
  }
  return answer;
}

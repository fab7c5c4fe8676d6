/* One question to the service: an item goes out, an outcome comes back, and nothing is ever thrown.

   An outcome is { status, answer, text, timings, roundTrip, problem }: the body parsed and as it came, the milliseconds
   of `Server-Timing` by name, those of the whole round trip, and a sentence where there is no answer to show.
   `status` is missing where nothing came back; `waits` is true where a job was accepted and has not ended yet. */

const TIMEOUT_MS = 5_000; // for one answer
const JOB_TIMEOUT_MS = 30_000; // for a job that was accepted
const WAIT_SECONDS = 4; // how long a job's address may hold an answer back
const DELIVERY_PAUSES_MS = [0, 200, 400, 800, 1600, 3200, 6400]; // between looks at where a result was brought

/* `accepted` is called with the outcome of a 202, before the job has ended. */
export async function ask(url, body, headers, controller, accepted) {
  const started = performance.now();
  const took = (outcome) => ({ ...outcome, roundTrip: performance.now() - started });
  try {
    const first = await get(url, { method: "POST", body, headers }, controller, TIMEOUT_MS);
    if (first.status !== 202 || !first.location) return took(first);
    first.timings.accepted = performance.now() - started;
    accepted(first);
    return took(await finished(first, controller));
  } catch (error) {
    if (error.name === "TimeoutError") return { problem: `There was no answer within ${TIMEOUT_MS / 1000} seconds. Try again.` };
    if (error.name === "AbortError") return { problem: "Cancelled." };
    return { problem: "The server cannot be reached. Is it running?" };
  }
}

/* The service took a job and answers later: ask at the address that it gave, until the job has ended. */
async function finished(accepted, controller) {
  const end = performance.now() + JOB_TIMEOUT_MS;
  const address = new URL(accepted.location);
  address.searchParams.set("wait", WAIT_SECONDS);
  let outcome = accepted;
  while (performance.now() < end) {
    outcome = await get(address, {}, controller, TIMEOUT_MS);
    if (!["queued", "running"].includes(outcome.answer?.status)) {
      const { total, ...later } = outcome.timings; // its total is of a look at the job; that of the item's request stays
      return { ...outcome, timings: { ...accepted.timings, ...later } };
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { ...outcome, waits: true };
}

/* The answer of a job may name places that its result is brought to, with null for those that do not have it yet: ask again
   for a while, and call `changed` with each answer. */
export async function followDelivery(address, answer, controller, changed) {
  changed(answer);
  for (const pause of DELIVERY_PAUSES_MS) {
    if (!Object.values(answer.delivered ?? {}).includes(null)) return;
    await new Promise((resolve) => setTimeout(resolve, pause));
    try {
      ({ answer } = await get(address, {}, controller, TIMEOUT_MS));
    } catch {
      return; // a newer item is on its way, or the service is away
    }
    if (!answer?.job_id) return; // it has expired
    changed(answer);
  }
}

async function get(url, options, controller, milliseconds) {
  const expire = () => controller.abort(new DOMException("no answer in time", "TimeoutError"));
  const timer = setTimeout(expire, milliseconds);
  try {
    const response = await fetch(url, { ...options, cache: "no-store", signal: controller.signal });
    const text = await response.text();
    const answer = parsed(text);
    const location = response.headers.get("Location");
    return {
      status: response.status,
      answer,
      text,
      timings: timings(response.headers.get("Server-Timing") ?? ""),
      location: location && new URL(location, response.url).href,
      problem: problem(response, answer),
    };
  } finally {
    clearTimeout(timer);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/* What went wrong, as a sentence: the detail of an RFC 9457 problem, or of a job that failed. */
function problem(response, answer) {
  if (!response.ok) return answer?.detail ?? `The server answered ${response.status} ${response.statusText}.`;
  if (answer === null || typeof answer !== "object") return "The server's answer is not JSON.";
  if (answer.status === "failed") return answer.error?.detail ?? answer.error ?? "The job failed.";
  return undefined;
}

/* `decode;dur=9.910, queue;dur=0.043` -> { decode: 9.91, queue: 0.043 } */
function timings(header) {
  const entries = header.split(",").map((entry) => entry.match(/^\s*([^;\s]+)\s*;.*?dur=([\d.]+)/i));
  return Object.fromEntries(entries.filter(Boolean).map(([, name, dur]) => [name, Number(dur)]));
}

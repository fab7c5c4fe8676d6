/* One question to the service: an item goes out, an outcome comes back, and nothing is ever thrown.

   An outcome is { status, answer, text, timings, reasons, roundTrip, problem }: the body parsed and as it came, the
   milliseconds and the descriptions of `Server-Timing` by name, the milliseconds of the whole round trip, and a sentence
   where there is no answer to show.
   `status` is missing where nothing came back, and `unsent` is true where the browser refused to send it; `waits` is true
   where a job was accepted and has not ended yet. */

import { DEADLINE } from "./options.js";

const TIMEOUT_MS = 5_000; // for one answer
const MARGIN_MS = 2_000; // for the way of an answer that comes at its deadline
const PATIENCE_MS = 30_000; // after which a job that was accepted is said to wait; it is followed all the same
const WAIT_SECONDS = 4; // how long a job's address may hold an answer back
const PAUSES_MS = [100, 1_000]; // between polls of a job: before the patience ends, and after
const DELIVERY_PAUSES_MS = [0, 200, 400, 800, 1_600, 3_200, 6_400]; // between polls of a job's deliveries, then the last

/* `accepted` is called with the outcome of a 202, before the job has ended; `working` with that of each look at it until
   then; `waiting` with that of a job that takes long, when its state is new. */
export async function ask(url, body, headers, controller, { accepted, working, waiting }) {
  const started = performance.now();
  const took = (outcome) => ({ ...outcome, roundTrip: performance.now() - started });
  const timeout = Math.max(TIMEOUT_MS, Number(headers[DEADLINE] ?? 0) + MARGIN_MS);
  try {
    const first = await get(url, { method: "POST", body, headers }, controller, timeout);
    if (first.status !== 202 || !first.location) return took(first);
    first.timings.accepted = performance.now() - started;
    accepted(first);
    return took(await finished(first, controller, working, waiting));
  } catch (error) {
    return { problem: error.name === "AbortError" ? "Cancelled." : error.message, unsent: error.unsent };
  }
}

/* The service took a job and answers later: ask at the address that it gave, until the job has ended. */
async function finished(accepted, controller, working, waiting) {
  const end = performance.now() + PATIENCE_MS;
  const address = new URL(accepted.location);
  address.searchParams.set("wait", WAIT_SECONDS);
  let said;
  while (true) {
    const outcome = await get(address, {}, controller, TIMEOUT_MS);
    if (!["queued", "running"].includes(outcome.answer?.status)) {
      const taken = accepted.timings; // what both say, such as the total, the poll of the job says of itself only
      return { ...outcome, timings: { ...taken, ...outcome.timings, ...taken } };
    }
    if (outcome.answer) working(outcome);
    const isLate = performance.now() > end;
    if (isLate && outcome.text !== said) waiting({ ...outcome, waits: true });
    if (isLate) said = outcome.text;
    await pause(PAUSES_MS[Number(isLate)]);
  }
}

/* The answer of a job may name places that its result is brought to, with null for those that do not have it yet: ask again
   until all have it, and call `changed` with each answer. A poll that fails is no end: the service may come back. */
export async function followDelivery(address, answer, controller, changed) {
  changed(answer);
  for (let poll = 0; Object.values(answer.delivered ?? {}).includes(null); poll += 1) {
    await pause(DELIVERY_PAUSES_MS[poll] ?? DELIVERY_PAUSES_MS.at(-1));
    const outcome = await get(address, {}, controller, TIMEOUT_MS).catch(() => ({}));
    if (controller.signal.aborted || outcome.status === 404) return; // a newer item is on its way, or the job has expired
    if (outcome.answer?.job_id) changed((answer = outcome.answer));
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function get(url, options, controller, milliseconds) {
  const late = new AbortController();
  const reason = new DOMException(`There was no answer within ${milliseconds / 1000} seconds. Try again.`, "TimeoutError");
  const timer = setTimeout(() => late.abort(reason), milliseconds);
  try {
    const signal = AbortSignal.any([controller.signal, late.signal]);
    const { response, text } = await received(requestOf(url, { ...options, cache: "no-store", signal }));
    const answer = parsed(text);
    const location = response.headers.get("Location");
    return {
      status: response.status,
      answer,
      text,
      ...serverTiming(response.headers.get("Server-Timing") ?? ""),
      location: location && new URL(location, response.url).href,
      problem: problem(response, answer),
    };
  } finally {
    clearTimeout(timer);
  }
}

/* Raises what the browser has against a request, such as a header that is no Latin text: no server is to blame. */
function requestOf(url, options) {
  try {
    return new Request(url, options);
  } catch (error) {
    throw Object.assign(new Error(`The request cannot be sent: ${error.message}`), { unsent: true });
  }
}

async function received(request) {
  try {
    const response = await fetch(request);
    return { response, text: await response.text() };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Error("The server cannot be reached. Is it running?"); // what `fetch` says of a lost connection differs by browser
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

/* `decode;dur=9.910, fallback;dur=0;desc="timeout"` -> timings { decode: 9.91, fallback: 0 }, reasons { fallback: "timeout" } */
function serverTiming(header) {
  const entries = header.match(/(?:"[^"]*"|[^",])+/g) ?? [];
  const found = (pattern) => entries.map((entry) => entry.match(pattern)).filter(Boolean).map(([, name, value]) => [name, value]);
  return {
    timings: Object.fromEntries(found(/^\s*([^;\s]+)\s*;.*?dur=([\d.]+)/i).map(([name, dur]) => [name, Number(dur)])),
    reasons: Object.fromEntries(found(/^\s*([^;\s]+)\s*;.*?desc="([^"]*)"/i)),
  };
}

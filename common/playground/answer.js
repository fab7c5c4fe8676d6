/* The answer, in whichever shape the pattern gives it: a prediction, or one in `prediction`, with or without the `bin`
   of a letter, the `stages` of a chain, the `predictions` of several readers. What it lacks is not shown. Which field
   holds the label, and which labels there are, the page says: both are the domain's. */

const element = (id) => document.getElementById(id);
const card = element("answer-card");
const bars = element("answer-bars");
const NOTHING = "–";
const NOT_AWAITED = "not awaited"; // the reason of a member that was not needed: no failure
const LABEL = document.body.dataset.label;
const LABELS = JSON.parse(document.body.dataset.labels);
const EMPTY = document.body.dataset.images === "yes" ? "Nothing is drawn yet." : "Nothing is sent yet.";
document.body.classList.toggle("words", LABELS.some((label) => label.length > 1) || LABELS.length === 0);

for (const label of LABELS) {
  const row = bars.appendChild(document.createElement("li"));
  row.innerHTML = '<span class="name"></span><span class="track"><span class="bar"></span></span><span class="share">–</span>';
  row.firstChild.textContent = label;
}

export const ms = (value) => `${value.toFixed(value < 1 ? 2 : value < 100 ? 1 : 0)} ms`;

export function showNothing() {
  render({ label: NOTHING, status: EMPTY });
}

export function showWaiting() {
  card.classList.add("waiting");
  card.setAttribute("aria-busy", "true");
  element("answer-status").textContent = "Reading…";
}

/* Shows that a job is accepted: its caller is free to go, and fetches the answer later. Nothing is left of an older answer. */
export function showAccepted({ text, timings }) {
  const status = `Accepted after ${ms(timings.accepted)}: the caller is free, the job waits.`;
  render({ label: NOTHING, status, text: pretty(text), timings });
  card.setAttribute("aria-busy", "true");
}

/* Shows an outcome of request.js. */
export function show({ problem, answer, text, timings, reasons, roundTrip, status, waits }) {
  if (problem) {
    const known = answer?.status === "failed" ? { job: "failed", ...facts(answer, {}) } : status && { status };
    render({ label: "!", status: problem, failed: true, text: answer ? pretty(text) : text, timings, roundTrip, facts: known });
    return;
  }
  if (waits) {
    render({ label: NOTHING, status: `The job still waits: ${answer.waiting_for ?? answer.status}.`, text: pretty(text) });
    return;
  }
  const reading = answer.prediction ?? answer;
  const read = isRead(reading);
  const certainty = reading.confidence === undefined ? "" : `, ${sure(reading.confidence)} sure`;
  const sentence = read ? `Read as ${reading[LABEL]}${certainty}.` : unread(answer);
  const lacks = lacking(answer, reasons);
  const failed = without(answer).map(({ name }) => name);
  const names = [...failed, ...notAwaited(answer)]; // what they took is no part of the answer
  render({
    label: read ? reading[LABEL] : isNotAggregated(answer) ? NOTHING : "?",
    status: lacks ? `${sentence} ${lacks}` : sentence,
    partial: lacks !== "",
    reading,
    facts: facts(answer, reading),
    text: pretty(text),
    timings: Object.fromEntries(Object.entries(timings).filter(([name]) => !names.includes(name))),
    roundTrip,
  });
}

/* The members that gave no answer, with the reason, the stages that failed, and the predictor that a fallback stands for. */
export function without(answer) {
  const failed = (answer?.stages ?? []).filter(({ error }) => error);
  const missing = (answer?.missing ?? []).filter(({ reason }) => reason !== NOT_AWAITED);
  const unread = isFallback(answer) ? [{ name: "predictor" }] : [];
  return [...failed.map(({ name }) => ({ name })), ...missing.map(({ model, reason }) => ({ name: model, reason })), ...unread];
}

/* The members whose answer was not needed. */
export function notAwaited(answer) {
  return (answer?.missing ?? []).filter(({ reason }) => reason === NOT_AWAITED).map(({ model }) => model);
}

/* The same as a sentence: it is an answer, but not all of it. */
function lacking(answer, reasons = {}) {
  const why = reasons.fallback ? ` (${reasons.fallback})` : "";
  if (isFallback(answer)) return `The predictor gave no reading${why}: this is the fallback.`;
  const parts = without(answer).map(({ name, reason }) => (reason ? `${name} (${reason})` : name));
  if (parts.length > 0) return `Without ${parts.join(", ")}.`;
  return answer.attempts > 1 ? `It took ${answer.attempts} attempts.` : "";
}

/* A letter whose bin is not that of a reading. */
function isFallback(answer) {
  return Boolean(answer?.degraded) && answer.stages === undefined;
}

/* JSON with a line for each member of an object; its numbers stay as they came. */
function pretty(json) {
  const open = [];
  const line = () => `\n${"  ".repeat(open.filter((bracket) => bracket === "{").length)}`;
  const spaced = (token) => {
    if ("{[".includes(token)) open.push(token);
    if ("}]".includes(token)) open.pop();
    if (token === "{") return token + line();
    if (token === "}") return line() + token;
    if (token === ",") return open.at(-1) === "{" ? token + line() : ", ";
    return token === ":" ? ": " : token;
  };
  return json.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g)?.map(spaced).join("") ?? "";
}

function isRead(part) {
  return part[LABEL] !== undefined && part[LABEL] !== null;
}

function render({ label, status, failed = false, partial = false, reading = {}, facts = {}, text = "–", timings = {}, roundTrip }) {
  card.classList.remove("waiting");
  card.classList.toggle("failed", failed);
  card.classList.toggle("partial", partial);
  card.classList.toggle("idle", label === NOTHING);
  card.removeAttribute("aria-busy");
  element("answer-label").textContent = label;
  element("answer-status").textContent = status;
  element("answer-raw").textContent = text;
  [...bars.children].forEach((row, index) => {
    const share = reading.probabilities?.[index];
    row.classList.toggle("best", LABELS[index] === String(reading[LABEL]));
    row.querySelector(".bar").style.width = `${100 * (share ?? 0)}%`;
    row.querySelector(".share").textContent = share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;
  });
  list("answer-facts", facts || {});
  const whole = roundTrip === undefined ? {} : { "round trip": ms(roundTrip) };
  list("journey-timings", { ...grouped(timings), ...whole });
}

/* { reader: 3, "reader.queue": 1, "reader.predict": 2 } -> { reader: "3 ms (queue 1 ms, predict 2 ms)" } */
function grouped(timings) {
  const inside = (name) => Object.keys(timings).filter((other) => other.startsWith(`${name}.`));
  const names = Object.keys(timings).filter((name) => !(name.split(".")[0] in timings && name.includes(".")));
  return Object.fromEntries(names.map((name) => {
    const parts = inside(name).map((part) => `${part.slice(name.length + 1)} ${ms(timings[part])}`);
    return [name, ms(timings[name]) + (parts.length > 0 ? ` (${parts.join(", ")})` : "")];
  }));
}

function list(id, pairs) {
  const items = Object.entries(pairs).map(([term, description]) => {
    const item = document.createElement("div");
    item.append(document.createElement("dt"), " ", document.createElement("dd"));
    item.firstChild.textContent = term;
    item.lastChild.textContent = description;
    return item;
  });
  element(id).replaceChildren(...items);
}

function facts(answer, reading) {
  const found = {};
  if (answer.bin !== undefined) found.bin = answer.bin;
  if (answer.early) found["next action"] = `${answer.early.action}, after ${answer.early.model} alone`;
  if (answer.degraded) found.degraded = "yes: not every service answered";
  for (const stage of answer.stages ?? []) found[stage.name] = brief(stage);
  for (const [name, vote] of Object.entries(answer.predictions ?? {})) found[name] = brief(vote);
  for (const { model, reason } of answer.missing ?? []) found[model] = reason === NOT_AWAITED ? reason : `no answer: ${reason}`;
  if (reading.model) found.model = `${reading.model.name} ${reading.model.version}`;
  return found;
}

function brief(part) {
  if (part.error) return `failed: ${part.error.detail ?? part.error}`;
  if (isRead(part)) return `${part[LABEL]}, ${sure(part.confidence)}`;
  if (typeof part.legible === "boolean") return part.legible ? "legible" : "illegible";
  return "done";
}

function unread(answer) {
  if (answer.legible === false) return "This is not legible: draw it again.";
  if (isNotAggregated(answer)) return "The predictions are not aggregated: see each of them below.";
  return answer.bin === "manual" ? "Not read: a person sorts this letter." : "No prediction came back.";
}

function isNotAggregated(answer) {
  return Object.keys(answer.predictions ?? {}).length > 0 && !isRead(answer.prediction ?? answer);
}

function sure(confidence) {
  if (confidence === undefined) return "";
  return confidence > 0.9995 ? "more than 99.9 %" : `${(100 * confidence).toFixed(1)} %`;
}

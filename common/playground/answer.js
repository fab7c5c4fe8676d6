/* The answer, in whichever shape the pattern gives it: a digit, or a digit in `prediction`, with or without the `bin`
   of a letter, the `stages` of a chain, the `predictions` of several readers. What it lacks is not shown. */

const element = (id) => document.getElementById(id);
const card = element("answer-card");
const bars = element("answer-bars");
const NOTHING = "–";

for (let digit = 0; digit < 10; digit++) {
  const row = bars.appendChild(document.createElement("li"));
  row.innerHTML = `<span class="name">${digit}</span><span class="track"><span class="bar"></span></span><span class="share">–</span>`;
}

export const ms = (value) => `${value.toFixed(value < 1 ? 2 : value < 100 ? 1 : 0)} ms`;

export function showNothing() {
  render({ digit: NOTHING, status: "Nothing is drawn yet." });
}

export function showWaiting() {
  card.classList.add("waiting");
  card.setAttribute("aria-busy", "true");
  element("answer-status").textContent = "Reading…";
}

/* Shows an outcome of request.js. */
export function show({ problem, answer, text, timings, roundTrip, status }) {
  if (problem) {
    render({ digit: "!", status: problem, failed: true, text, timings, roundTrip, facts: status && { status } });
    return;
  }
  const reading = answer.prediction ?? answer;
  const read = Number.isInteger(reading.digit);
  const sentence = read ? `Read as ${reading.digit}, ${sure(reading.confidence)} sure.` : unread(answer);
  render({ digit: read ? reading.digit : "?", status: sentence, reading, facts: facts(answer, reading), text, timings, roundTrip });
}

function render({ digit, status, failed = false, reading = {}, facts = {}, text = "–", timings = {}, roundTrip }) {
  card.classList.remove("waiting");
  card.classList.toggle("failed", failed);
  card.classList.toggle("idle", digit === NOTHING);
  card.removeAttribute("aria-busy");
  element("answer-digit").textContent = digit;
  element("answer-status").textContent = status;
  element("answer-raw").textContent = text;
  [...bars.children].forEach((row, index) => {
    const share = reading.probabilities?.[index];
    row.classList.toggle("best", index === reading.digit);
    row.querySelector(".bar").style.width = `${100 * (share ?? 0)}%`;
    row.querySelector(".share").textContent = share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;
  });
  list("answer-facts", facts || {});
  const whole = roundTrip === undefined ? {} : { "round trip": ms(roundTrip) };
  list("journey-timings", { ...Object.fromEntries(Object.entries(timings).map(([name, value]) => [name, ms(value)])), ...whole });
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
  if (answer.degraded) found.degraded = "yes: not every service answered";
  for (const stage of answer.stages ?? []) found[stage.name] = brief(stage);
  for (const [name, digit] of Object.entries(answer.predictions ?? {})) found[name] = brief(digit);
  for (const { model, reason } of answer.missing ?? []) found[model] = `no answer: ${reason}`;
  if (reading.model) found.model = `${reading.model.name} ${reading.model.version}`;
  return found;
}

function brief(part) {
  if (part.error) return `failed: ${part.error.detail ?? part.error}`;
  if (Number.isInteger(part.digit)) return `${part.digit}, ${sure(part.confidence)}`;
  if (typeof part.legible === "boolean") return part.legible ? "legible" : "illegible";
  return "done";
}

function unread(answer) {
  if (answer.legible === false) return "This is not legible: draw it again.";
  return answer.bin === "manual" ? "Not read: a person sorts this letter." : "No digit came back.";
}

function sure(confidence) {
  if (confidence === undefined) return "";
  return confidence > 0.9995 ? "more than 99.9 %" : `${(100 * confidence).toFixed(1)} %`;
}

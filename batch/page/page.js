/* Asks for runs and schedules every second and shows them, as rows and in the diagram. A row is made once and then changed,
   so that the focus stays where it is. Whatever comes from the manager enters the page as text, never as HTML. */

import { showBreak } from "./break.js";
import { Diagram, problemOf, shownRun } from "./diagram.js";

const PAUSE_MS = 1000;
const TIMEOUT_MS = 5000;
const COUNT = 50;

const element = (id) => document.getElementById(id);
const number = (value) => Math.round(value).toLocaleString("en");
const diagram = new Diagram(element("pattern"));
let reportedAt = new Date(); // when the manager answered last
let missing = null; // the engines that are not installed, once they are known

/* In the reader's zone, or in this one; in UTC where the browser does not know it. */
function time(text, timeZone) {
  try {
    return new Date(text).toLocaleString(undefined, timeZone && { timeZone, timeZoneName: "short" });
  } catch {
    return time(text, "UTC");
  }
}

/* The times of a text, which the manager gives in UTC, in this zone. */
function inZone(text, timeZone) {
  return text.replace(/(\d{4}-\d\d-\d\d) (\d\d:\d\d)Z/g, (_, day, clock) => time(`${day}T${clock}Z`, timeZone));
}

/* What the manager answers. Throws an Error that says why there is nothing; `answered`: the manager said so itself. */
async function ask(path, options) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  let response, text;
  try {
    response = await fetch(new URL(path, document.baseURI), { cache: "no-store", signal, ...options });
    text = await response.text();
  } catch (error) {
    throw new Error(signal.aborted ? `no answer within ${TIMEOUT_MS / 1000} s` : `no connection: ${error.message}`);
  }
  const answer = parsed(text);
  if (response.ok && answer !== undefined) return answer;
  throw Object.assign(new Error(answer?.detail ?? `status ${response.status}`), { answered: true });
}

/* null for an empty text, as a 204 has; undefined for one that is not JSON. */
function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return undefined;
  }
}

const remove = (path) => ask(path, { method: "DELETE" });
const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

function say(target, text) {
  if (target.textContent !== text) target.textContent = text; // a screen reader says a text that is set, again
  target.hidden = !text;
}

/* Shows one row for each item, in the items' order. One that cannot be shown says so, and does not stop the others. */
function list(id, items, template, fill) {
  const parent = element(id);
  const rows = new Map([...parent.children].map((row) => [row.dataset.id, row]));
  items.forEach((item, index) => {
    const row = rows.get(item.id) ?? element(template).content.firstElementChild.cloneNode(true);
    row.dataset.id = item.id;
    rows.delete(item.id);
    try {
      fill(row, item);
    } catch (error) {
      say(row.querySelector(".title"), item.name ?? item.id);
      say(row.querySelector("p.problem"), `It cannot be shown: ${error.message}`);
    }
    if (parent.children[index] !== row) parent.insertBefore(row, parent.children[index] ?? null);
  });
  rows.forEach((row) => row.remove());
  element(`no-${id}`).hidden = items.length > 0;
}

function fillRun(row, run) {
  const part = (name) => row.querySelector(name);
  const open = run.state === "queued" || run.state === "running";
  row.className = `run ${run.state}`;
  part(".state").textContent = run.cancelling ? "cancelling" : run.state;
  part(".title").textContent = `${run.input.join(", ")} → ${run.output}`;
  part(".risk").hidden = !run.at_risk || run.state === "late";
  part(".risk").textContent = open || run.trial ? "at risk" : "finished late";
  const { rows = 0, rows_total: total = 0 } = run.progress ?? {};
  part("progress").value = total ? rows / total : run.state === "done" ? 1 : 0;
  part("progress").setAttribute("aria-label", `rows of ${run.output}`);
  part("progress").hidden = run.trial;
  part(".figures").textContent = figures(run).filter(Boolean).join(" · ");
  say(part("p.problem"), run.errors.join("; "));
  part(".cancel").hidden = !open;
  part(".cancel").disabled = run.cancelling;
  part(".cancel").onclick = () => act(row, () => post(`runs/${run.id}/cancel`, {}));
  part(".retry").hidden = open || run.state === "done";
  part(".retry").onclick = () => act(row, () => post(`runs/${run.id}/retry`, {}));
  part(".more").href = `runs/${run.id}`;
  part("tbody").replaceChildren(...details(run).map(([name, value]) => {
    const line = document.createElement("tr");
    line.append(Object.assign(document.createElement("th"), { scope: "row", textContent: name }));
    line.append(Object.assign(document.createElement("td"), { textContent: value }));
    return line;
  }));
}

function details({ id, input, output, engine, retry, progress, model, attempts, due_at: due, started_at: started, finished_at: finished, deadline_at: deadline }) {
  const rows = progress && [
    `${number(progress.rows_total)} in`, `${number(progress.rows_out)} out`, `${number(progress.rejected)} rejected`, `${number(progress.deferred)} deferred`,
  ].join(", ");
  return [
    ["id", id],
    ["input", input.join(", ")],
    ["output", output],
    ["engine", engine],
    ["retry", retry],
    ["rows", rows],
    ["chunks", progress && `${progress.chunks} of ${progress.chunks_total}, ${progress.failed_chunks} failed`],
    ["model", model && `${model.name} ${model.version}`],
    ["attempts", attempts],
    ["due", due && time(due)],
    ["started", started && time(started)],
    ["finished", finished && time(finished)],
    ["deadline", deadline && time(deadline)],
  ].filter(([, value]) => value !== null && value !== undefined);
}

function figures({ state, progress, trial, trial_report: report, engine, retry, created_at: created, schedule_id: schedule, attempts }) {
  const done = progress && (trial ? `trial on ${number(progress.rows)} of ${number(progress.rows_total)} rows`
    : `${number(progress.rows)} of ${number(progress.rows_total)} rows, ${progress.chunks} of ${progress.chunks_total} chunks`);
  return [
    done,
    progress?.rejected > 0 && `${number(progress.rejected)} rejected`,
    progress?.rows_per_second > 0 && `${number(progress.rows_per_second)} rows/s`,
    state === "running" && progress?.eta_seconds != null && `${number(progress.eta_seconds)} s to go`,
    report && `feature drift ${report.mean_feature_shift}, confidence drift ${report.confidence_shift}`,
    `${engine}, retry ${retry}`,
    attempts > 1 && `attempt ${attempts}`,
    schedule && "by schedule",
    time(created),
  ];
}

function fillSchedule(row, schedule) {
  row.querySelector(".title").textContent = schedule.name;
  row.querySelector(".figures").textContent = [
    `${schedule.rule}, ${schedule.time_zone}`,
    `${schedule.input.join(", ")} → ${schedule.output}`,
    `retry ${schedule.retry}`,
    schedule.next_due && `next ${time(schedule.next_due, schedule.time_zone)}`,
    schedule.last_run && `last run ${schedule.last_run.state}`,
    schedule.skipped && `skipped: ${inZone(schedule.skipped, schedule.time_zone)}`,
  ].filter(Boolean).join(" · ");
  row.querySelector(".remove").setAttribute("aria-label", `Remove ${schedule.name}`);
  row.querySelector(".remove").onclick = () => act(row, () => remove(`schedules/${schedule.id}`));
}

async function act(row, request) {
  try {
    await request();
    await refresh();
  } catch (error) {
    say(row.querySelector("p.problem"), error.message);
  }
}

async function refresh() {
  let runs, schedules;
  try {
    [runs, schedules] = await Promise.all([ask(`runs?count=${COUNT}`), ask("schedules")]);
    missing ??= await ask("page/engines");
  } catch (error) {
    showLost(error);
    return;
  }
  reportedAt = new Date();
  document.body.classList.remove("stale");
  say(element("connection"), "");
  explainEngines();
  list("runs", runs, "run", fillRun);
  list("schedules", schedules, "schedule", fillSchedule);
  openSampleData(runs);
  showPattern(runs);
}

/* The manager is killed, or hangs, or has no registry: what it reported last stays, and is grey. */
function showLost(error) {
  const since = reportedAt.toLocaleTimeString();
  const what = error.answered ? "The manager answers with an error" : "The manager does not answer";
  say(element("connection"), `${what}: ${error.message}. It reported last at ${since}; what is grey is as it was then.`);
  say(element("pattern-problem"), "");
  document.body.classList.add("stale");
  diagram.showLost(`no report since ${since}`);
}

/* The diagram, and below it why something in it is red or amber. */
function showPattern(runs) {
  const target = element("pattern-problem");
  try {
    const run = shownRun(runs);
    const problem = run && problemOf(run);
    diagram.show(run, Object.keys(missing));
    target.className = problem?.mark === "partial" ? "problem partial" : "problem";
    say(target, problem ? `${run.input.join(", ")} → ${run.output}: ${problem.text}` : "");
  } catch (error) {
    say(target, `It cannot be shown: ${error.message}`);
  }
}

/* How to make data is open until a run is done; then it folds itself, once. */
function openSampleData(runs) {
  const target = element("sample-data");
  const done = String(runs.some(({ state }) => state === "done"));
  if (target.dataset.done !== done) target.open = done === "false";
  target.dataset.done = done;
}

function explainEngines() {
  for (const option of element("start").elements.engine.options) {
    if (!missing[option.value] || option.title === missing[option.value]) continue;
    option.text = `${option.value} (not installed here)`;
    option.title = missing[option.value];
  }
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, PAUSE_MS);
}

/* Sends what is filled in; what is left empty, the manager's default decides. */
function send(form, path, problem, numbers = []) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const filled = [...new FormData(form)].filter(([, value]) => value !== "");
    const body = Object.fromEntries(filled.map(([name, value]) => [name, numbers.includes(name) ? Number(value) : value]));
    if ("trial" in body) body.trial = true;
    try {
      await post(path, body);
      say(problem, "");
      await refresh();
    } catch (error) {
      say(problem, error.message);
    }
  });
}

for (const select of document.querySelectorAll("form select")) {
  const explain = () => say(element(select.getAttribute("aria-describedby")), select.selectedOptions[0].title);
  select.addEventListener("change", explain);
  explain();
}
element("add-schedule").elements.time_zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
send(element("start"), "runs", element("start-problem"));
send(element("add-schedule"), "schedules", element("schedule-problem"), ["interval", "deadline_seconds"]);
showBreak(element("break-card"), ["batch"]);

keepFresh();

/* Asks for runs and schedules every second and shows them. A row is made once and then changed, so that the focus stays
   where it is. Whatever comes from the manager enters the page as text, never as HTML. */

const PAUSE_MS = 1000;
const COUNT = 50;

const element = (id) => document.getElementById(id);
const number = (value) => Math.round(value).toLocaleString("en");
const time = (text) => new Date(text).toLocaleString();

async function ask(path, options) {
  const response = await fetch(new URL(path, document.baseURI), { cache: "no-store", ...options });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail ?? `the manager answers ${response.status}`);
  return answer;
}

const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

function say(target, text) {
  target.textContent = text;
  target.hidden = !text;
}

/* Shows one row for each item, in the items' order. */
function list(id, items, template, fill) {
  const parent = element(id);
  const rows = new Map([...parent.children].map((row) => [row.dataset.id, row]));
  items.forEach((item, index) => {
    const row = rows.get(item.id) ?? element(template).content.firstElementChild.cloneNode(true);
    row.dataset.id = item.id;
    rows.delete(item.id);
    fill(row, item);
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
  part(".cancel").onclick = () => act(row, `runs/${run.id}/cancel`);
  part(".retry").hidden = open || run.state === "done";
  part(".retry").onclick = () => act(row, `runs/${run.id}/retry`);
  part(".more").href = `runs/${run.id}`;
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
    schedule.next_due && `next ${time(schedule.next_due)}`,
    schedule.last_run && `last run ${schedule.last_run.state}`,
    schedule.skipped && `skipped: ${schedule.skipped}`,
  ].filter(Boolean).join(" · ");
}

async function act(row, path) {
  try {
    await post(path, {});
    await refresh();
  } catch (error) {
    say(row.querySelector("p.problem"), error.message);
  }
}

async function refresh() {
  try {
    const [runs, schedules] = await Promise.all([ask(`runs?count=${COUNT}`), ask("schedules")]);
    list("runs", runs, "run", fillRun);
    list("schedules", schedules, "schedule", fillSchedule);
    say(element("connection"), "");
  } catch (error) {
    say(element("connection"), `The manager does not answer: ${error.message}`);
  }
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, PAUSE_MS);
}

element("start").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const { input, output, engine, retry } = Object.fromEntries(form);
  try {
    await post("runs", { input, output, engine, retry, trial: form.has("trial") });
    say(element("start-problem"), "");
    await refresh();
  } catch (error) {
    say(element("start-problem"), error.message);
  }
});

keepFresh();

/* The pattern's own drawing: what is at work is lit, what failed is red, what is late or at risk is amber, and how far the run
   is stands in the frame of its job.

   data-while="running"     lit while a run is running
   data-while="dask spark"  lit while one of these engines is at work
   data-while="schedule"    lit while a run of a schedule is running; `request`: one that was asked for
   data-fails="job"         red or amber with the problem of the run; `manager`: red while it does not answer; `dask`,
                            `spark`: red where a run failed because of this engine
   data-reason="job"        a text that says why, instead of its own words; `dask`, `spark`: also where it is not installed
   data-progress            a text that shows the rows

   It shows the run that is running; if there is none, the one that has ended last. page.css colours the parts. */

import { loadDrawing } from "./drawing.js";

const MAX_REASON = 40; // characters: as long as the frame has space for
const OF_ENGINE = /^(engine: |dask|spark|pyspark)/i; // how an error begins that is the engine's

export class Diagram {
  #parts = [];
  #words = new Map(); // of each text that can give way to a reason

  constructor(place) {
    this.#load(place);
  }

  async #load(place) {
    const svg = await loadDrawing(place, new URL("page/diagram.svg", document.baseURI));
    this.#parts = [...(svg?.querySelectorAll("[data-while], [data-fails], [data-reason], [data-progress]") ?? [])];
    for (const part of this.#parts) if ("reason" in part.dataset) this.#words.set(part, part.textContent);
  }

  /* Show the run that counts, or nothing. `missing`: the engines that are not installed. */
  show(run, missing = []) {
    const running = run?.state === "running";
    const atWork = running ? ["running", run.engine, run.schedule_id ? "schedule" : "request"] : [];
    const problem = run && problemOf(run);
    const marks = problem ? { job: problem.mark } : {};
    const reasons = Object.fromEntries(missing.map((engine) => [engine, "not installed here"]));
    if (problem) reasons.job = problem.text;
    if (run?.state === "failed" && run.engine !== "local" && run.errors.some((error) => OF_ENGINE.test(error))) {
      marks[run.engine] = "failed";
      reasons[run.engine] ??= "failed";
    }
    const { rows = 0, rows_total: total = 0 } = (running && run.progress) || {};
    this.#draw(atWork, marks, reasons);
    for (const part of this.#parts) {
      if ("progress" in part.dataset) part.textContent = total ? `${rows.toLocaleString("en")} of ${total.toLocaleString("en")} rows` : "";
    }
  }

  /* The manager does not answer, for this reason: whether anything is at work is not known. */
  showLost(reason) {
    this.#draw([], { manager: "failed" }, { manager: reason });
  }

  #draw(atWork, marks, reasons) {
    for (const part of this.#parts) {
      const { while: names = "", fails, reason } = part.dataset;
      part.classList.toggle("lit", names.split(" ").some((name) => atWork.includes(name)));
      for (const mark of ["failed", "partial"]) part.classList.toggle(mark, marks[fails] === mark);
      if (reason) part.textContent = reasons[reason] ? shortened(reasons[reason]) : this.#words.get(part);
    }
  }
}

/* The run that the diagram shows: the one that is running, or the one that has ended last. */
export function shownRun(runs) {
  const ended = runs.filter((run) => run.finished_at).sort((a, b) => Date.parse(b.finished_at) - Date.parse(a.finished_at));
  return runs.find(({ state }) => state === "running") ?? ended[0];
}

/* What is wrong with a run: red (`failed`) or amber (`partial`), and why; undefined where nothing is. */
export function problemOf({ state, errors, attempts, at_risk: atRisk, trial, progress }) {
  const because = reasons(errors);
  const failed = progress?.failed_chunks ?? 0;
  if (state === "failed") return { mark: "failed", text: `failed${because}` };
  if (state === "late") return { mark: "partial", text: `late${because}` };
  if (state === "done" && atRisk) return { mark: "partial", text: trial ? "at risk: the run itself would be late" : "finished late" };
  if (state === "done" && progress?.deferred > 0) return { mark: "partial", text: `${progress.deferred.toLocaleString("en")} rows deferred to the next run` };
  if (state !== "running") return undefined;
  if (atRisk) return { mark: "partial", text: "at risk: later than its deadline" };
  if (failed > 0) return { mark: "partial", text: `${failed} ${failed === 1 ? "chunk" : "chunks"} failed${reasons(progress.errors)}` };
  if (attempts > 1 && because) return { mark: "partial", text: `attempt ${attempts}${because}` };
  return undefined;
}

const reasons = (errors) => (errors.length > 0 ? `: ${errors.join("; ")}` : "");
const shortened = (text) => (text.length > MAX_REASON ? `${text.slice(0, MAX_REASON - 1)}…` : text);

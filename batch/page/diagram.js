/* The pattern's own drawing: what is at work is lit, and how far the run is stands in the frame of its job.

   data-while="running"     lit while a run is running
   data-while="dask spark"  lit while one of these engines is at work
   data-while="schedule"    lit while a run of a schedule is running; `request`: one that was asked for
   data-progress            a text that shows the rows */

import { loadDrawing } from "./drawing.js";

export class Diagram {
  #parts = [];

  constructor(place) {
    this.#load(place);
  }

  async #load(place) {
    const svg = await loadDrawing(place, new URL("page/diagram.svg", document.baseURI));
    this.#parts = [...(svg?.querySelectorAll("[data-while], [data-progress]") ?? [])];
  }

  /* Light up what this run has at work, or nothing. */
  show(run) {
    const atWork = run ? ["running", run.engine, run.schedule_id ? "schedule" : "request"] : [];
    const { rows = 0, rows_total: total = 0 } = run?.progress ?? {};
    for (const part of this.#parts) {
      if ("progress" in part.dataset) part.textContent = total ? `${rows.toLocaleString("en")} of ${total.toLocaleString("en")} rows` : "";
      else part.classList.toggle("lit", part.dataset.while.split(" ").some((name) => atWork.includes(name)));
    }
  }
}

/* The request's way over the folder's diagram.svg. What the drawing says to this page, by attributes of its elements:

   data-step="3"        part of the way; steps light up by number, equal numbers together; 1 is the client, 2 the arrow
                        that leaves it
   data-step="answer"   the way back: lit last, red where the answer is a problem
   data-timing="decode" lit only if the answer's `Server-Timing` names it: an optional box stays dark when it was not asked
   data-refuses="422"   statuses that this step answers with. It turns red on them; where several steps share a status,
                        it is the first after the last one that was timed
   data-ms="decode"     a text that shows this timing; `round-trip` is what the page measured
   data-whole           red where nothing came back, or no step claims the status

   The drawing uses presentation attributes and no style of its own, which the page's Content-Security-Policy forbids;
   page.css colours .box, .arrow, .frame and .note. */

import { ms } from "./answer.js";

const STEP_MS = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 170;
const LEFT = 2; // up to here the request has certainly come: the client, and the arrow that leaves it
const ANSWER = Infinity;

export class Diagram {
  #loaded;
  #svg = null;
  #timers = [];

  constructor(place, url) {
    this.#loaded = this.#load(place, url);
  }

  async #load(place, url) {
    const response = await fetch(url);
    if (!response.ok) return;
    const drawing = new DOMParser().parseFromString(await response.text(), "image/svg+xml");
    this.#svg = place.appendChild(document.importNode(drawing.documentElement, true));
  }

  /* As drawn: nothing is on its way. */
  reset() {
    this.#timers.forEach(clearTimeout);
    this.#timers = [];
    for (const part of this.#parts("[data-step], [data-whole]")) part.classList.remove("lit", "failed", "waiting");
    for (const text of this.#parts("[data-ms]")) text.textContent = "";
  }

  /* The request has left. */
  wait() {
    this.reset();
    for (const part of this.#steps()) if (order(part) <= LEFT) part.classList.add("waiting");
  }

  /* The outcome is here (see request.js): light up the way that it took. */
  async travel({ status, problem, timings = {}, roundTrip }) {
    await this.#loaded;
    this.reset();
    const culprit = problem && this.#culprit(status, timings);
    const last = !problem ? ANSWER : culprit ? order(culprit) - 1 : LEFT;
    const lit = this.#steps().filter((part) => order(part) <= last && isPart(part, timings));
    const numbers = [...new Set(lit.map(order))];
    numbers.forEach((number, index) => this.#later(index, () => {
      for (const part of lit) if (order(part) === number) part.classList.add("lit");
    }));
    this.#later(numbers.length, () => {
      if (problem) this.#fail(culprit, status);
      this.#write({ ...timings, "round-trip": roundTrip });
    });
  }

  #culprit(status, timings) {
    const timed = this.#steps().filter((part) => part.dataset.timing in timings).map(order);
    const claims = (part) => part.dataset.refuses?.split(" ").includes(String(status));
    return this.#steps().find((part) => claims(part) && order(part) > Math.max(0, ...timed));
  }

  #fail(culprit, status) {
    const failed = culprit ? [culprit] : this.#parts("[data-whole]");
    if (status) failed.push(...this.#parts("[data-step=answer]"));
    for (const part of failed) part.classList.add("failed");
  }

  #write(values) {
    for (const text of this.#parts("[data-ms]")) {
      const value = values[text.dataset.ms];
      if (value !== undefined) text.textContent = ms(value);
    }
  }

  #later(index, action) {
    this.#timers.push(setTimeout(action, index * STEP_MS));
  }

  #parts(selector) {
    return this.#svg ? [...this.#svg.querySelectorAll(selector)] : [];
  }

  #steps() {
    return this.#parts("[data-step]").sort((a, b) => order(a) - order(b));
  }
}

const order = (part) => (part.dataset.step === "answer" ? ANSWER : Number(part.dataset.step));
const isPart = (part, timings) => !part.dataset.timing || part.dataset.timing in timings;

/* The request's way over the folder's diagram.svg. What the drawing says to this page, by attributes of its elements:

   data-step="3"        part of the way; steps light up by number, equal numbers together; 1 is the client, 2 the arrow
                        that leaves it
   data-step="answer"   the way back: lit last, red where the answer is a problem
   data-timing="decode" lit only if the answer's `Server-Timing` names it: an optional box stays dark when it was not asked
   data-refuses="422"   statuses that this step answers with. It turns red on them; where several steps share a status,
                        it is the first after the last one that was timed
   data-always-timed    its timing is measured where it fails, too: it may be at fault although it was timed
   data-failed-job="partial"  also part of the way of a job that failed, behind the step that is red: amber, or "lit"
   data-ms="decode"     a text that shows this timing; `round-trip` is what the page measured
   data-whole           red where nothing came back, or no step claims the status
   data-accepted        the last step before the caller of a job is free: lit at the 202, the rest with the outcome
   data-way="job"       part of the way of a job only, or of a `request` only: where the pattern takes both
   data-when="early"    lit only if the answer has this field, also beside a failure
   data-retried         amber where the answer took more than one attempt
   data-delivered="database"  lit once the result is there, by the answer's `delivered`; of several names, one is enough
   data-others          stands for the members that have no box of their own, and has their names
   data-service="svm"   the service's name for `make break`

   Amber is what the answer goes without: boxes and timed arrows whose `data-timing` begins with the name of a member that
   is missing or of a stage that failed, and the way of a fallback. Beside a red vote, it is each member that gave none.
   While a job is open although all members have answered, it is the step that should have closed the job.
   A member that the policy did not wait for is no failure: its parts stay dark. What such a member took, or a step that
   failed, is not shown: it is no part of the answer.

   The drawing uses presentation attributes and no style of its own, which the page's Content-Security-Policy forbids;
   page.css colours .box, .arrow, .frame and .note. */

import { ms, notAwaited, without } from "./answer.js";
import { loadDrawing } from "./drawing.js";

const STEP_MS = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 170;
const LEFT = 2; // up to here the request has certainly come: the client, and the arrow that leaves it
const ANSWER = Infinity;
const LIT = "[data-step], [data-whole], [data-others], [data-retried], [data-delivered]";

export class Diagram {
  #loaded;
  #svg = null;
  #timers = [];
  #reached = 0; // the last step that is lit already
  #way = "request";

  constructor(place, url) {
    this.#loaded = this.#load(place, url);
  }

  async #load(place, url) {
    this.#svg = await loadDrawing(place, url);
  }

  /* The services that the drawing names, for `make break`. */
  async services() {
    await this.#loaded;
    return this.#parts("[data-service]").map(({ dataset }) => dataset.service);
  }

  /* As drawn: nothing is on its way. */
  reset() {
    this.#timers.forEach(clearTimeout);
    this.#timers = [];
    this.#reached = 0;
    this.#way = "request";
    for (const part of this.#parts("[data-others]")) part.setAttribute("visibility", "hidden");
    for (const part of this.#parts(LIT)) part.classList.remove("lit", "failed", "waiting", "partial");
    for (const text of this.#parts("[data-ms]")) text.textContent = "";
  }

  /* The request has left, to be a job or not: whether it fails or is accepted, it is this way that it takes. */
  wait(way) {
    this.reset();
    this.#way = way;
    for (const part of this.#steps()) if (order(part) <= LEFT) part.classList.add("waiting");
  }

  /* A job is accepted (see request.js): light up the way to the queue, and back to its caller. */
  async accept({ timings = {} }) {
    await this.#loaded;
    this.reset();
    this.#reached = Math.max(0, ...this.#parts("[data-accepted]").map(order));
    this.#way = "job";
    for (const part of this.#steps()) if (order(part) <= this.#reached && this.#isPart(part, timings)) part.classList.add("lit");
    this.#write(timings);
  }

  /* The outcome is here (see request.js): light up the way that it took. Ends once all of it is lit. */
  async travel({ status, problem, answer, timings = {}, roundTrip }) {
    await this.#loaded;
    const [reached, way] = [problem ? 0 : this.#reached, this.#way];
    this.reset();
    this.#way = way;
    const culprit = problem && this.#culprit(status, timings);
    const last = !problem ? ANSWER : culprit ? order(culprit) - 1 : LEFT;
    const unanswered = problem ? this.#unanswered(last, timings) : [];
    const amber = [...without(answer).map(({ name }) => name), ...unanswered, "fallback"];
    const dark = notAwaited(answer);
    const behind = (part) => (answer?.status === "failed" ? part.dataset.failedJob : undefined);
    const came = (part) => order(part) <= last || part.dataset.when || behind(part);
    const isLit = (part) => came(part) && !isOf(part, dark) && (this.#isPart(part, timings, answer) || isMissing(part, amber));
    const lit = this.#steps().filter((part) => part === culprit || isLit(part));
    const colour = (part) => (part === culprit ? "failed" : isOf(part, amber) ? "partial" : behind(part) ?? "lit");
    const numbers = [...new Set(lit.map(order))];
    const before = numbers.filter((number) => number <= reached).length;
    numbers.forEach((number, index) => this.#later(Math.max(0, index - before), () => {
      for (const part of lit) if (order(part) === number) part.classList.add(colour(part));
    }));
    if (!problem) this.#nameOthers(answer, amber);
    if (answer?.attempts > 1) for (const part of this.#parts("[data-retried]")) part.classList.add("partial");
    return new Promise((resolve) => this.#later(numbers.length - before, () => {
      if (problem) this.#fail(culprit, status);
      this.#write(Object.fromEntries(Object.entries(timings).filter(([name]) => ![...amber, ...dark].includes(name))), culprit);
      this.#write({ "round-trip": roundTrip });
      resolve();
    }));
  }

  /* A job that has not ended, as it is now: light up the members that have answered, and the way of their answers. */
  work({ answer }) {
    const answered = Object.keys(answer.predictions ?? {});
    const next = this.#culprit(200, {}); // it would be at fault if the job failed now
    if (answered.length === 0 || !next) return;
    for (const part of this.#steps()) {
      if ((order(part) < order(next) || part.dataset.when) && this.#isPart(part, {}, answer)) part.classList.add("lit");
    }
    const members = this.#steps().filter(isMember);
    next.classList.toggle("partial", members.every((part) => isOf(part, answered)));
  }

  /* A job that has ended, as it is now: light up the places that have its result. */
  deliver({ delivered = {} }) {
    const there = (name) => delivered[name];
    for (const part of this.#parts("[data-delivered]")) part.classList.toggle("lit", part.dataset.delivered.split(" ").some(there));
  }

  /* Whether the request came here: by the times that the server gives, or, of a job, by what its answer holds. */
  #isPart(part, timings, answer) {
    const { timing, way, when } = part.dataset;
    if ((way && way !== this.#way) || (when && !answer?.[when])) return false;
    return !timing || timing in timings || (this.#way === "job" && isOf(part, Object.keys(answer?.predictions ?? {})));
  }

  #nameOthers(answer, amber) {
    const members = [...Object.keys(answer.predictions ?? {}), ...without(answer).map(({ name }) => name), ...notAwaited(answer)];
    const others = members.filter((name) => !this.#steps().some((part) => isOf(part, [name])));
    if (others.length === 0) return;
    for (const part of this.#parts("[data-others]")) {
      part.setAttribute("visibility", "visible");
      if (others.some((name) => amber.includes(name))) part.classList.add("partial");
      else if (others.some((name) => name in (answer.predictions ?? {}))) part.classList.add("lit");
      part.querySelector("text").textContent = others.join(", ");
    }
  }

  #culprit(status, timings) {
    const steps = this.#steps().filter(({ dataset: { way } }) => !way || way === this.#way);
    const unsure = steps.filter(({ dataset }) => "alwaysTimed" in dataset);
    const mayHaveFailed = (part) => unsure.some((step) => step.dataset.timing === part.dataset.timing && order(step) <= order(part));
    const passed = steps.filter((part) => part.dataset.timing in timings && !mayHaveFailed(part)).map(order);
    const claims = (part) => part.dataset.refuses?.split(" ").includes(String(status));
    const wasAsked = (part) => !(unsure.includes(part) || isMember(part)) || part.dataset.timing.split(".")[0] in timings;
    return steps.find((part) => claims(part) && wasAsked(part) && order(part) > Math.max(0, ...passed));
  }

  /* The members up to this step that were called and gave nothing, where a step after them is at fault. */
  #unanswered(last, timings) {
    const boxes = this.#steps().filter((part) => isMember(part) && order(part) <= last);
    const asked = boxes.map(({ dataset }) => dataset.timing).filter((timing) => !(timing in timings));
    return asked.map((timing) => timing.split(".")[0]).filter((name) => name in timings);
  }

  #fail(culprit, status) {
    const failed = culprit ? [] : this.#parts("[data-whole]");
    if (status) failed.push(...this.#parts("[data-step=answer]"));
    for (const part of failed) part.classList.add("failed");
  }

  #write(values, culprit) {
    for (const text of this.#parts("[data-ms]")) {
      const value = values[text.dataset.ms];
      if (value !== undefined && !culprit?.contains(text)) text.textContent = ms(value);
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
const isMember = (part) => part.classList.contains("box") && part.dataset.timing?.includes("."); // another service
const isMissing = (part, names) => part.classList.contains("box") && isOf(part, names);
const isOf = (part, names) => names.includes(part.dataset.timing?.split(".")[0]);

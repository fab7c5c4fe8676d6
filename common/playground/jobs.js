/* The jobs that this page has submitted, each followed by its events until it has ended: newest first. A job that was
   given up can be tried again. */

const MOST = 3; // event streams at once: a browser keeps six connections to a server, and the page needs some itself
const OPEN = ["queued", "running"];
const ENDED = ["done", "aggregate", "failed", "gone"];
const LABEL = document.body.dataset.label;

export class Jobs {
  #list;
  #card;
  #waiting = [];
  #followed = 0;

  constructor(card, list) {
    this.#card = card;
    this.#list = list;
  }

  /* Follow the job whose address a 202 gave. */
  add(location) {
    this.#card.hidden = false;
    const row = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { href: location, textContent: location.split("/").pop() });
    row.append(link, " ", Object.assign(document.createElement("span"), { className: "state", textContent: "accepted" }));
    row.append(" ", Object.assign(document.createElement("span"), { className: "news" }));
    this.#list.prepend(row);
    this.#follow(row, location);
  }

  /* Now, or when fewer are followed: the queue's order is that of arrival. */
  #follow(row, location) {
    this.#waiting.push(() => this.#listen(row, location));
    this.#next();
  }

  #next() {
    while (this.#followed < MOST && this.#waiting.length > 0) {
      this.#followed += 1;
      this.#waiting.shift()();
    }
  }

  #listen(row, location) {
    const events = new EventSource(`${location}/events`);
    const on = (name, act) => events.addEventListener(name, ({ data }) => act(JSON.parse(data)));
    on("prediction", (reading) => this.#report(row, `${reading.model.name}: ${reading[LABEL]}`));
    on("early", ({ action }) => this.#report(row, `next action: ${action}`));
    for (const state of OPEN) on(state, (job) => this.#show(row, state, job));
    for (const state of ENDED) {
      on(state, (job) => {
        events.close();
        this.#followed -= 1;
        this.#next();
        this.#show(row, job.status ?? state, job);
        if (state === "failed" && job.attempts) this.#offerRetry(row, location);
      });
    }
  }

  #show(row, state, { attempts = 1, waiting_for: reason, detail, error, missing = [] }) {
    row.dataset.state = state;
    const without = missing.map(({ model, reason: why }) => `without ${model} (${why})`);
    const why = reason ?? detail ?? error?.detail ?? error;
    row.querySelector(".state").textContent = [state, attempts > 1 && `attempt ${attempts}`, why, ...without].filter(Boolean).join(", ");
  }

  /* What has come of it so far. */
  #report(row, text) {
    const news = row.querySelector(".news");
    news.textContent = [news.textContent, text].filter(Boolean).join(" · ");
  }

  /* Only a dead letter can be tried again: a job that went through no queue leaves none. */
  async #offerRetry(row, location) {
    const id = location.split("/").pop();
    const response = await fetch(new URL("dead-letters", document.baseURI), { cache: "no-store" });
    const letters = response.ok ? await response.json() : [];
    if (letters.some(({ job_id }) => job_id === id)) row.append(" ", this.#retryButton(row, location, id));
  }

  #retryButton(row, location, id) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Retry" });
    button.addEventListener("click", async () => {
      const response = await fetch(new URL(`dead-letters/${id}/retry`, document.baseURI), { method: "POST" });
      button.remove();
      if (response.ok) this.#follow(row, location);
      else this.#show(row, "failed", { error: (await response.json()).detail });
    });
    return button;
  }
}

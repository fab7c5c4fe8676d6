/* The jobs that this page has handed in, each followed by its events until it has ended: newest first. A job that was
   given up can be tried again. */

const MOST = 3; // event streams at once: a browser keeps six connections to a server, and the page needs some itself
const STATES = ["queued", "running", "done", "failed", "gone"];

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
    row.append(link, " ", Object.assign(document.createElement("span"), { textContent: "accepted" }));
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
    for (const state of STATES) {
      events.addEventListener(state, ({ data }) => {
        const job = JSON.parse(data);
        this.#show(row, state, job);
        if (["queued", "running"].includes(state)) return;
        events.close();
        this.#followed -= 1;
        this.#next();
        if (state === "failed") row.append(" ", this.#retryButton(row, location));
      });
    }
  }

  #show(row, state, { attempts = 1, waiting_for: reason, detail, error }) {
    row.dataset.state = state;
    const why = reason ?? detail ?? error?.detail ?? error;
    row.lastElementChild.textContent = [state, attempts > 1 && `attempt ${attempts}`, why].filter(Boolean).join(", ");
  }

  #retryButton(row, location) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Retry" });
    const id = location.split("/").pop();
    button.addEventListener("click", async () => {
      const response = await fetch(new URL(`dead-letters/${id}/retry`, document.baseURI), { method: "POST" });
      button.remove();
      if (response.ok) this.#follow(row, location);
      else this.#show(row, "failed", { error: (await response.json()).detail });
    });
    return button;
  }
}

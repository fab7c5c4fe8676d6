/* What a request can choose besides its body: the query and header parameters that the API's own document lists for the
   endpoint, and the deadline, which every service takes; and the endpoint, where another one takes the same as a job.
   Nothing chosen: the service's defaults. */

export const DEADLINE = "X-Request-Timeout-Ms";

export class Options {
  #fields = [];
  #jobPaths = [];
  #path;
  #changed;

  constructor(place, documentUrl, path, changed) {
    this.#path = path;
    this.#changed = changed;
    this.#load(place, documentUrl);
  }

  async #load(place, documentUrl) {
    this.#add(place, { name: DEADLINE, in: "header", schema: { type: "integer" }, description: "The deadline, in milliseconds." });
    const response = await fetch(documentUrl);
    if (!response.ok) return; // the service may have switched it off
    const { paths } = await response.json();
    const takesJobs = (path) => !path.includes("{") && paths[path].post?.responses["202"];
    this.#jobPaths = Object.keys(paths).filter(takesJobs);
    const choices = [this.#path, ...this.#jobPaths.filter((path) => path !== this.#path)];
    if (choices.length > 1) this.#addPaths(place, choices);
    for (const path of choices) {
      for (const parameter of paths[path]?.post?.parameters ?? []) if (parameter.in !== "path") this.#add(place, parameter, path);
    }
    this.#showFields();
  }

  #addPaths(place, choices) {
    const label = place.appendChild(document.createElement("label"));
    const select = document.createElement("select");
    label.append("sent to ", select);
    for (const path of choices) select.add(new Option(path === this.#path ? `${path}: wait` : `${path}: as a job`, path));
    select.addEventListener("change", () => {
      this.#path = select.value;
      this.#showFields();
      this.#changed();
    });
  }

  #showFields() {
    for (const { input, path } of this.#fields) input.parentElement.hidden = path !== undefined && path !== this.#path;
  }

  #add(place, { name, in: where, schema, description = "" }, path) {
    const kind = schema.anyOf?.find(({ type }) => type !== "null") ?? schema;
    const label = place.appendChild(document.createElement("label"));
    const input = document.createElement(kind.enum ? "select" : "input");
    label.append(`${name} `, input);
    label.title = description;
    if (kind.enum) for (const value of ["", ...kind.enum]) input.add(new Option(value || "default", value));
    else Object.assign(input, { type: kind.type === "integer" ? "number" : "text", placeholder: "default", min: 1 });
    input.addEventListener("change", this.#changed);
    this.#fields.push({ name, where, input, path });
  }

  /* The address of the endpoint that is chosen, with what is chosen for the query. */
  get address() {
    const address = new URL(this.#path.replace(/^\//, ""), document.baseURI);
    for (const { name, input } of this.#chosen("query")) address.searchParams.set(name, input.value);
    return address;
  }

  /* What the endpoint that is chosen makes of an item: see `data-way` in diagram.js. */
  get way() {
    return this.#jobPaths.includes(this.#path) ? "job" : "request";
  }

  get headers() {
    return Object.fromEntries(this.#chosen("header").map(({ name, input }) => [name, input.value]));
  }

  #chosen(where) {
    return this.#fields.filter(({ where: place, input }) => place === where && !input.parentElement.hidden && input.value !== "");
  }
}

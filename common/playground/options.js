/* What a request can choose besides its body: the query and header parameters that the API's own document lists for the
   endpoint, and the deadline, which every service takes. Nothing chosen: the service's defaults. */

const DEADLINE = "X-Request-Timeout-Ms";

export class Options {
  #fields = [];
  #changed;

  constructor(place, documentUrl, path, changed) {
    this.#changed = changed;
    this.#load(place, documentUrl, path);
  }

  async #load(place, documentUrl, path) {
    this.#add(place, { name: DEADLINE, in: "header", schema: { type: "integer" }, description: "The deadline, in milliseconds." });
    const response = await fetch(documentUrl);
    if (!response.ok) return; // the service may have switched it off
    const operation = (await response.json()).paths[path]?.post;
    for (const parameter of operation?.parameters ?? []) if (parameter.in !== "path") this.#add(place, parameter);
  }

  #add(place, { name, in: where, schema, description = "" }) {
    const kind = schema.anyOf?.find(({ type }) => type !== "null") ?? schema;
    const label = place.appendChild(document.createElement("label"));
    const input = document.createElement(kind.enum ? "select" : "input");
    label.append(`${name} `, input);
    label.title = description;
    if (kind.enum) for (const value of ["", ...kind.enum]) input.add(new Option(value || "default", value));
    else Object.assign(input, { type: kind.type === "integer" ? "number" : "text", placeholder: "default", min: 1 });
    input.addEventListener("change", this.#changed);
    this.#fields.push({ name, where, input });
  }

  /* The address with what is chosen for the query. */
  addressOf(endpoint) {
    const address = new URL(endpoint);
    for (const { name, input } of this.#chosen("query")) address.searchParams.set(name, input.value);
    return address;
  }

  get headers() {
    return Object.fromEntries(this.#chosen("header").map(({ name, input }) => [name, input.value]));
  }

  #chosen(where) {
    return this.#fields.filter((field) => field.where === where && field.input.value !== "");
  }
}

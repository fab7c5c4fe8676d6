/* The page: what is drawn is sent shortly after the pen is lifted, and the answer shown. Where the service reads no
   images, the JSON of a form is sent instead. A newer item cancels the request of an older one. The parts: pad.js (ink),
   samples.js, options.js (what a request can choose), request.js (HTTP), answer.js (result), jobs.js, diagram.js (the
   journey; drawing.js loads it), start.js (what is chosen at the start), break.js. */

import { show, showAccepted, showNothing, showWaiting } from "./answer.js";
import { showBreak } from "./break.js";
import { Diagram } from "./diagram.js";
import { Jobs } from "./jobs.js";
import { Options } from "./options.js";
import { Pad } from "./pad.js";
import { ask, followDelivery } from "./request.js";
import { showSamples } from "./samples.js";
import { showStart } from "./start.js";

const PAUSE_MS = 450; // between the strokes of a 4 the pen is in the air for about this long

const element = (id) => document.getElementById(id);
const images = document.body.dataset.images === "yes";
const HINT = element("draw-hint").textContent;
const diagram = new Diagram(element("journey-diagram"), new URL("playground/diagram.svg", document.baseURI));
const jobs = new Jobs(element("jobs-card"), element("jobs-list"));
const options = new Options(element("request-options"), new URL("openapi.json", document.baseURI), document.body.dataset.endpoint, chosen);

const pad = new Pad(element("draw-pad"), element("draw-cursor"), {
  width: () => Number(element("pen-width").value),
  begun: () => clearTimeout(timer),
  changed,
  read,
});
let timer;
let request; // the AbortController of the latest one
let letter; // { name, json }: a sample of several scans, which is sent until something is drawn

function changed() {
  clearTimeout(timer);
  setLetter(undefined);
  element("draw-hint").hidden = !pad.empty;
  element("undo-stroke").disabled = !pad.canUndo;
  if (pad.empty) {
    request?.abort();
    request = undefined;
    showNothing();
    diagram.reset();
  } else {
    timer = setTimeout(read, PAUSE_MS);
  }
}

function chosen() {
  showCommand();
  if (!images || letter || !pad.empty) read();
}

async function read() {
  clearTimeout(timer);
  request?.abort();
  const mine = (request = new AbortController());
  showWaiting();
  diagram.wait(options.way);
  let [body, mediaType] = images ? [await pad.png(), "image/png"] : [element("input-json").value, "application/json"];
  if (letter) {
    const stored = await store(letter, mine);
    if (mine !== request) return;
    if (stored.problem) {
      await showJourney(stored);
      return;
    }
    [body, mediaType] = [stored.text, "application/json"];
  }
  const headers = { ...options.headers, "Content-Type": mediaType };
  let job; // its address, where the service takes one
  const outcome = await ask(options.address, body, headers, mine, {
    accepted(taken) {
      job = taken.location;
      jobs.add(job);
      if (mine !== request) return;
      showAccepted(taken);
      diagram.accept(taken);
    },
    working: (open) => mine === request && diagram.work(open),
    waiting: (late) => mine === request && show(late),
  });
  if (mine !== request) return; // a newer item is on its way
  await showJourney(outcome);
  if (job && outcome.answer) followDelivery(job, outcome.answer, mine, (answer) => diagram.deliver(answer));
}

async function showJourney(outcome) {
  show(outcome);
  if (outcome.unsent) diagram.reset();
  else await diagram.travel(outcome);
}

/* The outcome of storing a letter: its id, as the endpoint takes it. */
function store({ json }, controller) {
  return ask(storeAddress(), json, { ...options.headers, "Content-Type": "application/json" }, controller, {});
}

const storeAddress = () => new URL(document.body.dataset.store.replace(/^\//, ""), document.baseURI);

async function send(name, address) {
  try {
    const json = await (await fetch(address)).text();
    pad.clear();
    setLetter({ name, json });
    read();
  } catch {
    show({ problem: `${name} cannot be fetched. Is the server running?` });
  }
}

function setLetter(chosenLetter) {
  letter = chosenLetter;
  element("draw-hint").textContent = letter ? letter.name.replace(/\.json$/, "").replaceAll("_", " ") : HINT;
  showCommand();
}

async function open(file) {
  if (!file) return;
  try {
    await pad.open(file);
  } catch {
    show({ problem: `${file.name} is no picture that this browser can open.` });
  }
}

showNothing();
showStart(element("start-choices"), document.body.dataset.pattern, JSON.parse(document.body.dataset.start));
diagram.services().then((services) => showBreak(element("break-card"), services));
showSamples(element("sample-pictures"), images ? JSON.parse(document.body.dataset.samples) : [], open, send);
element("read-now").addEventListener("click", read);
element("send-json").addEventListener("click", read);
element("undo-stroke").addEventListener("click", () => pad.undo());
element("clear-pad").addEventListener("click", () => pad.clear());
element("pick-file").addEventListener("change", ({ target }) => {
  open(target.files[0]);
  target.value = ""; // so that the same file can be picked again
});

const dropZone = element("drop-zone");
for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  dropZone.addEventListener(type, (event) => {
    event.preventDefault();
    dropZone.classList.toggle("dropping", type === "dragenter" || type === "dragover");
    if (type === "drop") open(event.dataTransfer.files[0]);
  });
}

function sizeDot() {
  const { style } = element("pen-dot");
  style.width = style.height = `${element("pen-width").value}px`;
}
element("pen-width").addEventListener("input", sizeDot);
sizeDot();

element("save-picture").addEventListener("click", async () => {
  const link = Object.assign(document.createElement("a"), { download: "drawing.png" });
  link.href = URL.createObjectURL(await pad.png());
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});

function showCommand() {
  const json = element("input-json").value.replace(/\s*\n\s*/g, " ");
  const address = options.address;
  const url = address.search ? `'${address.href}'` : address.href;
  const headers = Object.entries(options.headers).map(([name, value]) => `-H '${name}: ${value}' `).join("");
  if (letter) {
    const post = `-H 'Content-Type: application/json' --data-binary`;
    element("curl-command").textContent =
      `curl -s ${post} @common/samples/${letter.name} ${storeAddress().href} | curl ${headers}${post} @- ${url}`;
    return;
  }
  element("curl-command").textContent = images
    ? `curl ${headers}-H 'Content-Type: image/png' --data-binary @drawing.png ${url}`
    : `curl ${headers}-H 'Content-Type: application/json' -d '${json}' ${url}`;
}
element("input-json").addEventListener("input", showCommand);
showCommand();

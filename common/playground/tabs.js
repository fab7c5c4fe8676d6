/* Links to the pages of the other patterns, on the same machine; grey where none answers. Asked again when the reader
   comes back to this page, since a pattern may have been started meanwhile. */

async function showTabs(place) {
  const response = await fetch(new URL("patterns", import.meta.url), { cache: "no-store" }).catch(() => undefined);
  const patterns = response?.ok ? await response.json() : [];
  if (!patterns.length) return; // it is alone, or does not answer: what is shown stays
  place.hidden = false;
  place.replaceChildren(...patterns.map(tab));
}

function tab({ name, port, running, current }) {
  if (!running && !current) return Object.assign(document.createElement("span"), { textContent: name, title: `make ${name}` });
  const address = Object.assign(new URL(location.origin), { port }).href;
  const link = Object.assign(document.createElement("a"), { textContent: name, href: current ? "." : address });
  if (current) link.setAttribute("aria-current", "page");
  return link;
}

const place = document.getElementById("pattern-tabs");
showTabs(place);
document.addEventListener("visibilitychange", () => document.hidden || showTabs(place));

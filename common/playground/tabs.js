/* Links to the pages of the other patterns, on the same machine; grey where none answers. The page has their names from the
   start, so nothing moves. Asked again when the reader comes back, since a pattern may have been started meanwhile. */

async function showTabs(place) {
  const response = await fetch(new URL("patterns", import.meta.url), { cache: "no-store" }).catch(() => undefined);
  const patterns = response?.ok ? await response.json() : [];
  if (patterns.length) place.replaceChildren(...patterns.map(tab));
}

function tab({ name, port, running, current }) {
  const tag = Object.assign(document.createElement(running && !current ? "a" : "span"), { textContent: name });
  if (current) tag.setAttribute("aria-current", "page");
  else if (running) tag.href = Object.assign(new URL(location.origin), { port }).href;
  else tag.title = `It does not run: make ${name}`;
  return tag;
}

const place = document.getElementById("pattern-tabs");
showTabs(place);
document.addEventListener("visibilitychange", () => document.hidden || showTabs(place));

/* Links to the pages of the other patterns, on the same machine; grey where none answers. A container cannot ask the others
   (`running` is null): there all are links. The page has their names from the start, so nothing moves. Asked again when the
   reader comes back, since a pattern may have been started meanwhile. */

async function showTabs(place) {
  const response = await fetch(new URL("patterns", import.meta.url), { cache: "no-store" }).catch(() => undefined);
  const patterns = response?.ok ? await response.json() : [];
  if (patterns.length) place.replaceChildren(...patterns.map(tab));
}

function tab({ name, port, running, current }) {
  const isLink = running !== false && !current;
  const tag = Object.assign(document.createElement(isLink ? "a" : "span"), { textContent: name });
  if (current) tag.setAttribute("aria-current", "page");
  if (isLink) tag.href = Object.assign(new URL(location.origin), { port }).href;
  if (running === false) tag.title = `It does not run: make ${name}`;
  if (isLink && running === null) tag.title = `A container does not know whether it runs: docker compose up ${name}`;
  return tag;
}

const place = document.getElementById("pattern-tabs");
showTabs(place);
document.addEventListener("visibilitychange", () => document.hidden || showTabs(place));

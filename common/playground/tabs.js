/* Links to the pages of the other patterns, on the same machine; grey where none answers. A container cannot ask the others
   (`running` is null): there the page does. It has their names from the start, so nothing moves. Asked again when the
   reader comes back, since a pattern may have been started meanwhile. */

const PATIENCE_MS = 1000;

async function showTabs(place) {
  const response = await fetch(new URL("patterns", import.meta.url), { cache: "no-store" }).catch(() => undefined);
  const patterns = response?.ok ? await response.json() : [];
  if (patterns.length) place.replaceChildren(...(await Promise.all(patterns.map(tab))));
}

async function tab({ name, port, running, current }) {
  const url = Object.assign(new URL(location.origin), { port }).href;
  const isLink = !current && (running ?? (await showsItsIcon(url)));
  const tag = Object.assign(document.createElement(isLink ? "a" : "span"), { textContent: name });
  if (current) tag.setAttribute("aria-current", "page");
  else if (isLink) tag.href = url;
  else tag.title = `It does not run: ${running === null ? "docker compose up" : "make"} ${name}`;
  return tag;
}

function showsItsIcon(url) {
  return new Promise((resolve) => {
    const icon = new Image();
    icon.onload = () => resolve(true);
    icon.onerror = () => resolve(false);
    setTimeout(resolve, PATIENCE_MS, false);
    icon.src = `${url}docs/files/favicon.png?${Date.now()}`; // a new name each time: not from the browser's cache
  });
}

const place = document.getElementById("pattern-tabs");
showTabs(place);
document.addEventListener("visibilitychange", () => document.hidden || showTabs(place));

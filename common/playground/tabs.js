/* Links to the pages of the other patterns, on the same machine; grey where none answers: what starts it is a title for a
   mouse, and stands below the tabs once it has the focus, by a key or by a tap (base.css). A container cannot ask the others
   (`running` is null): there the page does. It has their names from the start, so nothing moves. Asked again when the
   reader comes back, since a pattern may have been started meanwhile. */

const PATIENCE_MS = 5_000; // a busy machine is slow to answer; a port where nothing listens refuses at once

let latest = 0; // of the rounds of questions: a late answer of an older one is dropped

/* Each as soon as it is known, so that one that does not answer keeps back no other. */
async function showTabs(place) {
  const round = (latest += 1);
  const response = await fetch(new URL("patterns", import.meta.url), { cache: "no-store" }).catch(() => undefined);
  const patterns = response?.ok ? await response.json() : [];
  patterns.forEach(async (pattern, index) => {
    const shown = await tab(pattern);
    if (round === latest && !shown.isEqualNode(place.children[index])) place.children[index].replaceWith(shown); // keeps the focus
  });
}

async function tab({ name, port, running, current }) {
  const url = Object.assign(new URL(location.origin), { port }).href;
  const isLink = !current && (running ?? (await showsItsIcon(url)));
  const tag = Object.assign(document.createElement(isLink ? "a" : "span"), { textContent: name });
  if (current) tag.setAttribute("aria-current", "page");
  else if (isLink) tag.href = url;
  else Object.assign(tag, { tabIndex: 0, role: "note", title: `It does not run: ${running === null ? "docker compose up" : "make"} ${name}` });
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

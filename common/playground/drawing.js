/* A pattern's diagram.svg, put into the page, where scripts find its parts and the page's colours reach them. */

/* Appends the drawing at `url` to `place` and returns its <svg>; null where there is none. */
export async function loadDrawing(place, url) {
  const response = await fetch(url);
  if (!response.ok) return null;
  const drawing = new DOMParser().parseFromString(await response.text(), "image/svg+xml");
  return place.appendChild(document.importNode(drawing.documentElement, true));
}

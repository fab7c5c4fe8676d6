/* Samples to click: pictures that the service has beside the page. */

/* A button for each of these files; `open` takes the picture, as if it had been picked. */
export function showSamples(place, names, open) {
  place.hidden = names.length === 0;
  for (const name of names) {
    const button = place.appendChild(document.createElement("button"));
    const picture = button.appendChild(document.createElement("img"));
    Object.assign(button, { type: "button", className: "sample", title: name });
    Object.assign(picture, { name, src: new URL(`playground/${name}`, document.baseURI).href, alt: name.replace(/\.\w+$/, "").replaceAll("_", " "), width: 40, height: 40 });
    button.addEventListener("click", () => open(picture)); // as it is shown: the service may hang by now
  }
}

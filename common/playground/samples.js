/* Samples to click: pictures that the service has beside the page, and letters of several scans, in JSON. */

/* A button for each of these files; `open` takes the picture, as if it had been picked, `send` the address of a letter. */
export function showSamples(place, names, open, send) {
  place.hidden = names.length === 0;
  for (const name of names) {
    const isLetter = name.endsWith(".json");
    const address = (file) => new URL(`playground/${file}`, document.baseURI).href;
    const button = place.appendChild(document.createElement("button"));
    const picture = button.appendChild(document.createElement("img"));
    Object.assign(button, { type: "button", className: "sample", title: name });
    const alt = name.replace(/\.\w+$/, "").replaceAll("_", " ");
    Object.assign(picture, { name, src: address(isLetter ? "letter.svg" : name), alt, width: 40, height: 40 });
    // The picture as it is shown: the service may hang by now.
    button.addEventListener("click", () => (isLetter ? send(name, address(name)) : open(picture)));
  }
}

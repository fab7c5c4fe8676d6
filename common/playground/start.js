/* What is chosen when the pattern is started, and so for all requests: the value that runs now, the others, and the commands
   that start the pattern with one of them, to copy into a terminal. */

const STARTS = ["make", "docker compose up"];

/* Fill the place with each choice; where there is none, it stays away. */
export function showStart(place, pattern, choices) {
  place.hidden = choices.length === 0;
  for (const choice of choices) {
    const select = selectOf(choice);
    const label = document.createElement("label");
    label.append(`${choice.name}: ${choice.description} `, select);
    const commands = STARTS.map(() => Object.assign(document.createElement("pre"), { tabIndex: 0, ariaLabel: "Command" }));
    const say = () => commands.forEach((pre, index) => (pre.textContent = `${choice.name}=${select.value} ${STARTS[index]} ${pattern}`));
    select.addEventListener("change", say);
    say();
    place.querySelector(".options").append(label);
    place.querySelector(".help").before(...commands);
  }
}

function selectOf({ values, current }) {
  const select = document.createElement("select");
  for (const value of values) select.add(new Option(value === current ? `${value}: runs now` : value, value));
  select.value = current;
  return select;
}

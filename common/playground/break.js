/* "Break it": the command that breaks, or heals, one of the services that the diagram names, to copy into a terminal. */

const HOWS = {
  kill: "It ends at once, without finishing anything; make starts it again, Docker does not.",
  hang: "It stands still, and keeps its connections open.",
  slow: "It stands still for most of each third of a second, until Ctrl-C.",
  heal: "It goes on; a killed container is started again.",
};

/* Fill the card; where the diagram names no service, it stays away. */
export function showBreak(card, services) {
  card.hidden = services.length === 0;
  const part = (name) => card.querySelector(name);
  for (const service of services) part("[name=service]").add(new Option(service));
  for (const how of Object.keys(HOWS)) part("[name=how]").add(new Option(how));
  const say = () => {
    const how = part("[name=how]").value;
    part("pre").textContent = `make break SERVICE=${part("[name=service]").value} HOW=${how}`;
    part("output").textContent = HOWS[how];
  };
  card.addEventListener("change", say);
  say();
}

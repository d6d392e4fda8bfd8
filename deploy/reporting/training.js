// A run as its folder tells of it (training.py): shown once or, where the page is served, again and again.

const EVERY = 2000; // milliseconds
const find = (id) => document.getElementById(id);
const made = (tag, text = "", className = "") => Object.assign(document.createElement(tag), { textContent: text, className });
const filled = (element, children) => { element.append(...children); return element; };

const LINES = { "within an epoch": { mode: "lines", line: { color: "#999999", width: 1 } }, validation: { line: { color: SERIES[1] } } };

function plotted({ unit, axis: along, lines }) {
  const data = lines.map(({ name, x, y }) => ({
    type: "scatter", mode: "lines+markers", line: { color: SERIES[0] }, name: plain(name), x, y, ...LINES[name],
  }));
  // uirevision: what was zoomed stays so
  return { data, layout: { uirevision: "kept", xaxis: axis(along), yaxis: axis(unit, { rangemode: "tozero" }) } };
}

class Page {
  constructor() { this.cards = new Map(); }

  show(state) {
    this.state = state;
    if (find("state").textContent !== state.state) find("state").textContent = state.state; // or it would be read aloud
    find("state").className = `badge ${{ stalled: "fail", unreadable: "fail", finished: "pass" }[state.state] ?? "quiet"}`;
    find("at").textContent = `as of ${state.at}`;
    find("said").textContent = state.said;
    if (!state.plots) return; // unreadable: what was last seen stays
    find("title").textContent = state.title;
    find("facts").replaceChildren(...state.facts.map((fact) => filled(made("div"), [made("dt", fact[0]), made("dd", fact[1])])));
    find("tables").replaceChildren(...state.tables.flatMap(({ title, head, rows }) => {
      const row = (cells, tag) => filled(made("tr"), cells.map((cell) => made(tag, cell)));
      const table = filled(made("table"), [filled(made("thead"), [row(head, "th")]), filled(made("tbody"), rows.map((cells) => row(cells, "td")))]);
      return [made("h2", title), filled(made("div", "", "card wide"), [table])];
    }));
    this.plots = state.plots;
    this.draw();
  }

  draw() {
    const titles = this.plots.map((plot) => plot.title);
    if (titles.join("\n") !== [...this.cards.keys()].join("\n")) {
      this.cards = new Map(titles.map((title) => [title, made("div", "", "plot")]));
      find("plots").replaceChildren(...[...this.cards].map(([title, plot]) => filled(made("div", "", "card"), [made("h3", title), plot])));
    }
    for (const plot of this.plots) draw(this.cards.get(plot.title), plotted(plot));
  }
}

async function open() {
  const { live, state } = await carried();
  const page = new Page();
  page.show(state);
  themed(() => page.draw());
  while (live) {
    await new Promise((done) => { setTimeout(done, EVERY); });
    try {
      page.show(await (await fetch("state.json", { cache: "no-store" })).json());
    } catch {
      find("state").textContent = "no answer";
      find("said").textContent = "spikestrip watch doesn't answer; what stands below was last seen.";
    }
  }
}

open();

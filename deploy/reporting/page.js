// Joins what the report's page carries to its controls.

function sortable(table) {
  const headers = [...table.querySelectorAll("thead th")];
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const down = header.getAttribute("aria-sort") === "ascending";
    headers.forEach((one) => one.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      const numbers = Number(x) - Number(y);
      return Number.isNaN(numbers) ? x.localeCompare(y) : numbers;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => (down ? compare(b, a) : compare(a, b))));
  }));
}

async function open() {
  document.querySelectorAll("table.sortable").forEach(sortable);
  const { folders, causes } = await carried();
  const sections = [...document.querySelectorAll(".folder")];
  const spikes = sections.map((section, index) => new Spikes(section, folders[index].drawn, causes));
  const show = (index) => {
    for (const element of sections[index].querySelectorAll("[data-plot]")) draw(element, PLOTS[element.dataset.plot](folders[index].facts));
    spikes[index].show();
  };
  let shown = 0;
  show(shown);
  const tabs = sections.map((section) => document.querySelector(`[aria-controls="${section.id}"]`));
  const select = (index) => {
    shown = index;
    sections.forEach((section, place) => { section.hidden = place !== index; tabs[place].setAttribute("aria-selected", String(place === index)); });
    show(index);
  };
  if (tabs[0]) tabs.forEach((tab, index) => tab.addEventListener("click", () => select(index)));
  themed(() => show(shown));
}

open();

// The page's own life: colours, models, tables that sort and filter, and the start of everything.
const FILTERED_FROM = 25;

// The number that a cell begins with, in the report's way of writing; null where it is text or missing.
function leading(text) {
  const found = /^([−-]?[\d,]*\.?\d+(?:e[−+-]?\d+)?)\s*(MiB|GiB|s|minutes?)?/.exec(text.trim());
  if (!found) return null;
  const unit = { MiB: 2 ** 20, GiB: 2 ** 30, minute: 60, minutes: 60 }[found[2]] ?? 1;
  return unit * Number(found[1].replaceAll("−", "-").replaceAll(",", ""));
}

function cellKey(row, column) {
  const text = row.cells[column]?.textContent ?? "";
  return text.trim() === "–" ? "" : leading(text) ?? text;
}

function makeSortable(table) {
  const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
  const body = table.tBodies[0];
  if (!body || body.rows.length < 2) return;
  for (const [column, head] of heads.entries()) {
    if (!head.textContent.trim()) continue; // a column of names: a button would have none
    const button = element("button", { type: "button" }, ...head.childNodes);
    if (head.style.textAlign === "right") head.classList.add("number");
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [cellKey(row, column), row]);
      rows.sort(([a], [b]) => compared(a, b, descending));
      body.append(...rows.map(([, row]) => row));
    });
  }
}

function makeFilterable(region) {
  const rows = [...region.querySelectorAll("tbody tr")];
  const failures = region.closest("section")?.querySelector("h2")?.id === "failures";
  if (!failures && rows.length < FILTERED_FROM) return;
  const status = element("span", { role: "status", class: "said" });
  const input = element("input", { type: "search", size: 16 });
  input.addEventListener("input", () => {
    let left = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(input.value.toLowerCase());
      left += !row.hidden;
    }
    status.textContent = input.value ? `${left} of ${rows.length} rows` : "";
  });
  region.before(element("div", { class: "controls" }, element("label", {}, "Rows that contain", input), status));
}

// Says so above a table or a drawing that is wider than its place, as long as it is.
function tellWidth(region) {
  const hint = element("p", { class: "said hint", hidden: true }, "Wider than the page: scroll it sideways, or choose it and use the arrow keys.");
  region.before(hint);
  const tell = () => {
    hint.hidden = region.scrollWidth <= region.clientWidth + 1;
    holdNames(region);
  };
  tell(); // before anything is shown
  const observer = new ResizeObserver(tell);
  for (const one of [region, ...region.children]) observer.observe(one);
}

// The first column of a table that scrolls stays (see page.css), and a second one of names where enough of the width is left.
function holdNames(region) {
  const [first, second] = region.querySelector("thead tr")?.cells ?? [];
  if (!second) return;
  const names = getComputedStyle(second).textAlign !== "right";
  region.classList.toggle("two-held", names && first.offsetWidth + second.offsetWidth <= 0.6 * region.clientWidth);
  region.style.setProperty("--first", `${first.offsetWidth}px`);
}

function darkNow() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function colour(data) {
  for (const model of data.models) model.color = model.colors[Number(darkNow())];
}

function makeTheme(redraw) {
  const button = document.getElementById("theme");
  const name = () => (button.textContent = darkNow() ? "Light colours" : "Dark colours");
  const changed = () => {
    name();
    redraw();
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = darkNow() ? "light" : "dark";
    changed();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  window.addEventListener("beforeprint", () => {
    const { theme } = document.documentElement.dataset;
    document.documentElement.dataset.theme = "light";
    redraw();
    window.addEventListener("afterprint", () => {
      if (theme) document.documentElement.dataset.theme = theme;
      else delete document.documentElement.dataset.theme;
      redraw();
    }, { once: true });
  });
  name();
  button.disabled = false;
}

function makeModels(page, redraw) {
  for (const [number, box] of document.querySelectorAll("#models input").entries()) {
    box.disabled = false;
    box.addEventListener("change", () => {
      page.models[box.checked ? "add" : "delete"](number);
      page.models = new Set([...page.models].sort((a, b) => a - b));
      redraw();
    });
  }
}

function makeAny(page, figures) {
  const { data } = page;
  const root = document.getElementById("quantity");
  const measures = new Map();
  for (const grid of data.grids) {
    const key = JSON.stringify([grid.probe, grid.metric]);
    if (!measures.has(key)) measures.set(key, new Set());
    measures.get(key).add(grid.component ?? "");
  }
  const show = (key, component) => {
    const [probe, metric] = JSON.parse(key);
    const layered = (page.grids.get(keyOf(probe, metric, component)) ?? []).some(({ width }) => width > 1);
    for (const figure of figures) {
      figure.node.hidden = figure.kind !== "trend" && !layered;
      if (!figure.node.hidden) figure.show({ probe, metric, component });
    }
  };
  const place = element("span", { class: "slot" });
  const pick = (key) => {
    const components = [...measures.get(key)].map((component) => [component, component || "none"]);
    place.replaceChildren();
    if (components.length > 1) place.append(choice("Component", components, (component) => show(key, component))[0]);
    show(key, components[0][0]);
  };
  const entries = [...measures.keys()].map((key) => [key, JSON.parse(key)[1], JSON.parse(key)[0]]);
  if (!entries.length) {
    for (const figure of figures) figure.node.hidden = true;
    return;
  }
  const [label, select] = choice("Measure", entries, pick, true);
  root.append(element("div", { class: "controls" }, label, place));
  pick(select.value);
}

async function start() {
  document.querySelectorAll(".table").forEach((region) => {
    makeSortable(region.querySelector("table"));
    makeFilterable(region);
    tellWidth(region);
  });
  document.querySelectorAll(".drawing").forEach(tellWidth);
  // On a telephone's width the words of a figure would fill the screen below it.
  if (window.matchMedia("(max-width: 40rem)").matches) for (const words of document.querySelectorAll(".words")) words.open = false;
  const data = await readData();
  const page = { data, grids: gridsByKey([...data.grids, ...data.derived]), models: new Set(data.models.keys()) };
  // Runs by its hash in the page's policy.
  document.head.append(element("script", {}, new TextDecoder().decode(await inflated("plotly"))));
  if (!window.Plotly) throw new Error("plotly did not start");
  const figures = [...document.querySelectorAll("figure[data-kind]")].map((node) => new Figure(page, node));
  const redraw = () => {
    colour(data);
    figures.forEach((figure) => figure.all && !figure.node.hidden && figure.draw());
  };
  colour(data);
  for (const figure of figures) if (!("any" in figure.node.dataset)) figure.show(figure.node.dataset);
  makeAny(page, figures.filter(({ node }) => "any" in node.dataset));
  new Numbers(page, document.getElementById("numbers"));
  makeTheme(redraw);
  makeModels(page, redraw);
  document.documentElement.dataset.ready = "";
}

start().catch((error) => {
  const problem = document.getElementById("problem");
  problem.textContent = `Figures and the table of every number cannot be shown (${error.message}); a browser of 2023 or newer can.`;
  problem.hidden = false;
  throw error;
});

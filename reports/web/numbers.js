// The table of every number: filtered, sorted and shown a page at a time, each with its origin.
const ROWS_A_PAGE = 50;
const COLUMNS = [
  ["model", false], ["checkpoint", false], ["measure", false], ["component", false], ["place", false],
  ["value", true], ["stderr", true], ["n", true], ["identity", false], ["origin", false],
];

class Numbers {
  constructor(page, root) {
    Object.assign(this, { page, at: 0, column: null, descending: false, filters: {} });
    const { data } = page;
    this.data = data;
    const measures = new Map(data.grids.map(({ probe, metric }) => [JSON.stringify([probe, metric]), [metric, probe]]));
    const places = new Map(data.grids.flatMap((grid) => grid.places).map((place) => [place, placeName(data, place)]));
    this.depths = new Map([...places.keys()].sort(byDepth(data)).map((place, rank) => [place, rank]));
    const any = ["", "all"];
    const filter = (name) => (value) => {
      this.filters[name] = value;
      this.find();
    };
    const sorted = [...places].filter(([, name]) => name).sort(([a], [b]) => byDepth(data)(a, b));
    const [model] = choice("Model", [any, ...data.models.map(({ name }, number) => [number, name])], filter("model"));
    const [measure] = choice("Measure", [[...any, "any probe"], ...[...measures].map(([key, [metric, probe]]) => [key, metric, probe])], filter("measure"), true);
    const [place] = choice("Place", [any, ...sorted], filter("place"));
    const contains = (name, label) => {
      const input = element("input", { type: "search", size: 12, oninput: () => filter(name)(input.value) });
      return element("label", {}, label, input);
    };
    this.status = element("p", { class: "said", role: "status" });
    this.body = element("tbody");
    const heads = COLUMNS.map(([name, numeric], column) => this.head(name, numeric, column));
    this.heads = heads;
    this.back = element("button", { type: "button", onclick: () => this.turn(-1) }, "Previous");
    this.next = element("button", { type: "button", onclick: () => this.turn(1) }, "Next");
    root.append(
      element("div", { class: "controls" }, model, measure, contains("component", "Component has"), place, contains("checkpoint", "Checkpoint has")),
      this.status,
      element("div", { class: "table", role: "region", tabindex: "0", "aria-label": "Table: every number" },
        element("table", {}, element("thead", {}, element("tr", {}, ...heads)), this.body)),
      element("div", { class: "controls" }, this.back, this.next),
    );
    this.find();
    tellWidth(root.querySelector(".table"));
  }

  head(name, numeric, column) {
    const head = element("th", { scope: "col", class: numeric ? "number" : "" });
    if (name === "origin") head.append(name);
    else head.append(element("button", { type: "button", onclick: () => this.sort(column) }, name));
    return head;
  }

  // A number is known by its grid and its place in it: one integer each, a million are light.
  find() {
    const { model, measure, component, place, checkpoint } = this.filters;
    const { data } = this;
    const has = (text, part) => !part || (text ?? "").toLowerCase().includes(part.toLowerCase());
    const most = data.grids.reduce((sum, grid) => sum + grid.rows.length * grid.width, 0);
    const [grids, cells] = [new Uint32Array(most), new Uint32Array(most)];
    let count = 0;
    for (const [number, grid] of data.grids.entries()) {
      if (model && grid.model !== Number(model)) continue;
      if (measure && measure !== JSON.stringify([grid.probe, grid.metric])) continue;
      if (!has(grid.component, component)) continue;
      for (const [row, which] of grid.rows.entries()) {
        const { whens, steps } = data.models[grid.model];
        if (!has(whens[which], checkpoint) && !has(`step ${steps[which]}`, checkpoint)) continue;
        for (let column = 0; column < grid.width; column++) {
          if (place && grid.places[column] !== Number(place)) continue;
          const cell = row * grid.width + column;
          if (Number.isNaN(valueAt(data, grid, row, column))) continue;
          grids[count] = number;
          cells[count++] = cell;
        }
      }
    }
    Object.assign(this, { grids: grids.subarray(0, count), cells, order: counted(count), at: 0 });
    this.arrange();
  }

  cell(index) {
    const grid = this.data.grids[this.grids[index]];
    const row = Math.floor(this.cells[index] / grid.width);
    return { grid, row, column: this.cells[index] - row * grid.width };
  }

  key(index) {
    const { grid, row, column } = this.cell(index);
    const { data } = this;
    const name = COLUMNS[this.column][0];
    if (COLUMNS[this.column][1]) return numberAt(data, grid, row, column)[name];
    const model = data.models[grid.model];
    const checkpoint = grid.rows[row];
    if (name === "checkpoint") return model.steps[checkpoint] ?? Infinity;
    if (name === "place") return this.depths.get(grid.places[column]);
    if (name === "identity") return model.identities[checkpoint] ?? "";
    return { model: model.name, measure: `${grid.probe} ${grid.metric}`, component: grid.component ?? "" }[name];
  }

  sort(column) {
    this.descending = this.column === column && !this.descending;
    this.column = column;
    this.at = 0;
    for (const [place, head] of this.heads.entries())
      if (place === column) head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    this.arrange();
  }

  arrange() {
    if (this.column !== null) {
      const keys = Array.from(this.grids, (_, index) => this.key(index));
      this.order = counted(this.grids.length).sort((a, b) => compared(keys[a], keys[b], this.descending) || a - b);
    }
    this.show();
  }

  turn(pages) {
    this.at += pages * ROWS_A_PAGE;
    this.show();
  }

  show() {
    const shownRows = Array.from(this.order.subarray(this.at, this.at + ROWS_A_PAGE), (index) => this.row(index));
    this.body.replaceChildren(...shownRows);
    const total = this.order.length;
    const range = total ? `${whole(this.at + 1)} to ${whole(Math.min(total, this.at + ROWS_A_PAGE))} of ` : "";
    this.status.textContent = `${range}${whole(total)} numbers`;
    this.back.disabled = this.at === 0;
    this.next.disabled = this.at + ROWS_A_PAGE >= total;
  }

  row(index) {
    const { grid, row, column } = this.cell(index);
    const { data } = this;
    const model = data.models[grid.model];
    const checkpoint = grid.rows[row];
    const { value, stderr, n } = numberAt(data, grid, row, column);
    const identity = model.identities[checkpoint];
    const cells = [
      model.name, model.whens[checkpoint], `${grid.probe}: ${grid.metric}`, grid.component ?? "", placeName(data, grid.places[column]),
      digits(value, VALUE), digits(stderr, ERROR), digits(n, VALUE),
      identity ? shortIdentity(identity) : "–",
    ];
    const made = cells.map((text, place) => element("td", { class: COLUMNS[place][1] ? "number" : "" }, ...breaking(text)));
    const name = `Origin of ${quantityName(grid)}, ${model.name}, ${model.whens[checkpoint]}`;
    const button = element("button", { type: "button", "aria-label": name, onclick: () => this.tell(index) }, "origin");
    return element("tr", {}, ...made, element("td", {}, button));
  }

  // Everything that is known of where a number comes from.
  tell(index) {
    const { grid, row, column } = this.cell(index);
    const { data } = this;
    const model = data.models[grid.model];
    const checkpoint = grid.rows[row];
    const number = numberAt(data, grid, row, column);
    const { value, stderr, n } = number;
    const origin = originOf(data, grid, row);
    const [layer, site] = data.places[grid.places[column]];
    const lines = [
      ["value", `${digits(value, VALUE)} (all digits are in its row)`],
      ["standard error", Number.isFinite(stderr) ? digits(stderr, ERROR) : "none stored"],
      ["95 % interval", Number.isFinite(number.low) ? intervalText(number) : "none"],
      ["n", Number.isFinite(n) ? digits(n, VALUE) : "none stored"],
      ["checkpoint", `${model.name}, ${model.whens[checkpoint]}`],
      ["identity", model.identities[checkpoint] ?? "–"],
    ];
    if (origin) {
      const where = [["metric", grid.metric], ["layer", layer < 0 ? null : layer], ["site", site || null], ["component", grid.component]];
      const sql = where.map(([name, is]) => `${name} IS ${is === null ? "NULL" : typeof is === "number" ? is : `'${is.replace(/'/g, "''")}'`}`);
      lines.push(
        ["row in the run store", `run.db of ${origin.run}, table vals: measurement = ${origin.id} AND ${sql.join(" AND ")}`],
        ["settings", `${origin.config_hash}: ${origin.config}`],
        ["versions", origin.versions],
        ["details", origin.details],
        ["dtype, device", `${origin.dtype || "–"}, ${origin.device || "–"}`],
        ["attention, seed", `${origin.attention || "–"}, ${origin.seed}`],
        ["seconds", `${shown(origin.seconds, 3)}, shared by what was measured in the same pass`],
        ["peak memory", `${shown(origin.peak_memory / 2 ** 20, 4)} MiB`],
      );
    }
    const dialog = document.getElementById("origin");
    const title = element("h2", { id: "origin-title" }, `${quantityName(grid)} ${placeName(data, grid.places[column])}`.trim());
    const list = element("dl", {}, ...lines.flatMap(([name, said]) => [element("dt", {}, name), element("dd", {}, said)]));
    dialog.replaceChildren(title, list, element("button", { type: "button", onclick: () => dialog.close() }, "Close"));
    dialog.showModal();
  }
}

// A name breaks after its lines where a narrow column may break it.
function breaking(text) {
  return text.split(/(?<=_)(?=[^_])/).flatMap((part, place) => (place ? [element("wbr", {}), part] : [part]));
}

function counted(count) {
  const numbers = new Uint32Array(count);
  for (let at = 0; at < count; at++) numbers[at] = at;
  return numbers;
}

// Missing values come last in both directions.
function compared(a, b, descending) {
  const missing = (key) => key === null || key === "" || Number.isNaN(key);
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return descending ? -order : order || 0;
}

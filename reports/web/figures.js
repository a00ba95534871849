// A figure with its controls. It is drawn again whenever a control, the models or the colours change.
const DRAWN = { trend, profile, models: modelsOver, map, spectrum, arms, gap };

function keyOf(probe, metric, component) {
  return JSON.stringify([probe, metric, component || null]);
}

function gridsByKey(grids) {
  const found = new Map();
  for (const grid of grids) {
    const key = keyOf(grid.probe, grid.metric, grid.component);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(grid);
  }
  return found;
}

// What a slider goes through: all steps of some grids in order; where there are none, their checkpoints by name.
function momentsOf(data, grids) {
  const found = new Map();
  for (const { model, rows } of grids)
    for (const checkpoint of rows) found.set(data.models[model].whens[checkpoint], data.models[model].steps[checkpoint]);
  const all = [...found].map(([when, step]) => ({ when, step }));
  const stepped = all.filter(({ step }) => step !== null).sort((a, b) => a.step - b.step);
  return stepped.length ? stepped : all;
}

// With which checkpoint each model stands at a moment: its last up to there. Without steps it is the one of that name,
// or the last. One for all grids of a model, so that what is drawn of it was measured together.
function standingAt(data, grids, moment) {
  const known = new Map();
  for (const { model, rows } of grids) known.set(model, [...(known.get(model) ?? []), ...rows]);
  const found = new Map();
  for (const [number, rows] of known) {
    const model = data.models[number];
    const at = checkpointAt(model, [...new Set(rows)].sort((a, b) => a - b), moment);
    if (at !== undefined) found.set(number, { at, ...namesOf(model, at, moment) });
  }
  return found;
}

function checkpointAt({ steps, whens }, known, { when, step }) {
  if (step === null) return known.find((one) => whens[one] === when) ?? known.at(-1);
  const stepped = known.filter((one) => steps[one] !== null);
  return stepped.length ? stepped.findLast((one) => steps[one] <= step) : known.at(-1);
}

// How a model and its checkpoint are called: a checkpoint of another moment says so.
function namesOf({ name, steps, whens }, at, { when, step }) {
  const own = whens[at];
  if (own === when || (step !== null && steps[at] === null)) return { name, checkpoint: own };
  return { name: `${name}, ${own}`, checkpoint: `${own} (its last${step === null ? `, without ${when}` : ` up to ${when}`})` };
}

class Figure {
  constructor(page, node) {
    Object.assign(this, { page, node, kind: node.dataset.kind, drawn: 1 });
    this.settings = { logX: false, logY: false, late: "late" in node.dataset, relative: this.kind === "models" || "relative" in node.dataset };
    for (const part of ["controls", "plot", "said"]) this[part] = node.querySelector(`.${part}`);
  }

  // Takes on what is to be shown; `probe`, `metric` and `component` as in the data.
  show({ probe, metric, component, label }) {
    const { data, grids } = this.page;
    this.question = data.counting.find((one) => one.kind === component && one.metric === metric);
    this.all = this.grids(probe, metric, component, grids);
    this.name = label ?? (component ? `${metric} (${component})` : metric);
    this.moments = momentsOf(data, this.all);
    this.settings.moment = this.moments.length - 1;
    this.over = this.kind === "trend" && this.moments.length > 1 && this.moments[0].step !== null; // over steps
    if (this.kind === "spectrum") {
      this.settings.logX = data.log_ranks;
      this.settings.logY = true;
    }
    this.settings.place = this.kind === "trend" && this.all.length ? lastPlace(data, this.all) : undefined;
    if (this.kind === "trend") this.suit();
    this.build();
    this.draw();
  }

  grids(probe, metric, component, known) {
    if (this.kind === "spectrum") return this.page.data.spectra;
    if (!this.question) return known.get(keyOf(probe, metric, component)) ?? [];
    return this.question.tasks.flatMap(([, task]) => known.get(keyOf(probe, metric, task)) ?? []);
  }

  // The axes that suit a part of training: late its steps are even and its values near one another.
  suit() {
    const { late } = this.settings;
    this.settings.logX = !late;
    this.settings.logY = !late && this.all.some(({ log }) => log);
  }

  build() {
    const { data } = this.page;
    const set = (name) => (value) => {
      this.settings[name] = value;
      this.whole();
    };
    this.controls.replaceChildren();
    const places = new Set(this.all.flatMap((grid) => grid.places ?? []));
    if (this.kind === "trend" && places.size > 1) {
      const entries = [...places].sort(byDepth(data)).map((place) => [place, placeName(data, place)]);
      const [label, select] = choice("Place", entries, (value) => set("place")(Number(value)));
      select.value = this.settings.place;
      this.controls.append(label);
    }
    if (this.kind === "map" && this.all.length > 1) {
      const [label, select] = choice("Model", this.all.map(({ model }) => [model, data.models[model].name]), (value) => set("model")(Number(value)));
      this.modelChoice = select;
      this.controls.append(label);
    }
    if (this.kind !== "trend" && this.kind !== "map" && this.moments.length > 1) this.controls.append(this.slider());
    const box = (label, name) => {
      const made = tick(label, this.settings[name], set(name));
      this.controls.append(made);
      return made.querySelector("input");
    };
    const boxes = {};
    const part = (late) => {
      this.settings.late = late;
      this.suit();
      for (const name of ["logX", "logY"]) boxes[name].checked = this.settings[name];
      this.whole();
    };
    if (this.over) this.controls.append(tick("last nine tenths only", this.settings.late, part));
    if (this.over || this.kind === "spectrum") boxes.logX = box(this.over ? "log steps" : "log ranks", "logX");
    if (this.kind === "profile" || this.kind === "models") box("relative depth", "relative");
    if (this.kind !== "map" && this.kind !== "gap") boxes.logY = box("log values", "logY");
    const title = this.plot.getAttribute("aria-label");
    const act = (name, onclick) => element("button", { type: "button", "aria-label": `${name}: ${title}`, onclick }, name);
    const save = () => window.Plotly.downloadImage(this.plot, { format: "png", scale: 2, filename: this.node.id });
    this.controls.append(element("span", { class: "tools" }, act("Whole range", () => this.whole()), act("Save as PNG", save)));
  }

  // Forgets what was zoomed into.
  whole() {
    this.drawn += 1;
    this.draw();
  }

  slider() {
    const out = element("output");
    const input = element("input", { type: "range", min: 0, max: this.moments.length - 1, step: 1 });
    input.value = this.settings.moment;
    const tell = () => {
      out.textContent = this.moments[input.value].when;
      input.setAttribute("aria-valuetext", out.textContent);
    };
    tell();
    input.addEventListener("input", () => {
      this.settings.moment = Number(input.value);
      tell();
      this.draw();
    });
    return element("label", { class: "slider" }, "Checkpoint", input, out);
  }

  view() {
    const { data, grids, models } = this.page;
    const standing = standingAt(data, this.all, this.moments[this.settings.moment]);
    const rowOf = ({ model, rows }) => {
      const found = rows.indexOf(standing.get(model)?.at);
      return found < 0 ? undefined : found;
    };
    const find = (metric, task, model) => (grids.get(keyOf("lm_eval", metric, task)) ?? []).find((grid) => grid.model === model);
    const shownGrids = this.all.filter(({ model }) => models.has(model));
    return { ...this.settings, over: this.over, grids: shownGrids, models: [...models], question: this.question, name: harmless(this.name), standing, rowOf, find };
  }

  draw() {
    const drawn = DRAWN[this.kind](this.page.data, this.view());
    const slides = this.moments.length > 1 && this.controls.querySelector(".slider");
    const when = slides ? `${this.moments[this.settings.moment].when}: ` : "";
    this.said.textContent = drawn.said ? `${when}${drawn.said}.` : `${when}nothing to show for the models chosen.`;
    window.Plotly.react(this.plot, drawn.traces, this.layout(drawn), {
      responsive: true,
      displayModeBar: false, // it lies over the drawing and has no keyboard: see `tools`
    });
  }

  // An axis says where it is logarithmic.
  named(axis) {
    return axis.type === "log" && axis.title ? { ...axis, title: { text: axis.title.text + this.page.data.log } } : axis;
  }

  // The same `uirevision` keeps what was zoomed into while a slider moves.
  layout({ traces, xaxis = {}, yaxis = {} }) {
    const style = getComputedStyle(document.documentElement);
    const [text, line, page] = ["--text", "--line", "--page"].map((name) => style.getPropertyValue(name).trim());
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true };
    const ticks = yaxis.type === "log" && !yaxis.dtick ? valueTicks(traces) : {};
    const named = traces.filter(({ showlegend, type }) => showlegend !== false && type !== "heatmap");
    return {
      uirevision: this.drawn,
      paper_bgcolor: page,
      plot_bgcolor: page,
      font: { color: text, family: "system-ui, sans-serif", size: 13 },
      margin: { l: 56, r: 12, t: 12, b: 48 },
      xaxis: this.named({ ...axis, ...xaxis }),
      yaxis: this.named({ ...axis, ...ticks, ...yaxis }),
      showlegend: named.length > 1,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", traceorder: "normal", itemclick: false, itemdoubleclick: false },
      hoverlabel: { bgcolor: page, bordercolor: text, font: { color: text }, align: "left" },
      hovermode: "closest",
      dragmode: window.matchMedia("(pointer: coarse)").matches ? false : "zoom",
    };
  }
}

function valueTicks(traces) {
  const all = traces.flatMap(({ y }) => y).filter((value) => value > 0);
  return logTicks(Math.log10(Math.max(...all) / Math.min(...all)));
}

// The place that stands for a model where one number is shown: its last.
function lastPlace(data, grids) {
  return grids.flatMap(({ places }) => places).reduce((a, b) => (byDepth(data)(a, b) < 0 ? b : a));
}

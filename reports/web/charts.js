// What each kind of figure draws: traces and axes for plotly, and one sentence for who does not see them.
// `view` holds the grids of the models that are shown, and the settings of the figure's controls.

// Plotly reads a few tags in its texts, and formulas between dollars; a name is neither.
function harmless(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "&#36;");
}

function hoverText(data, grid, row, column, checkpointName = data.models[grid.model].whens[grid.rows[row]]) {
  const model = data.models[grid.model];
  const checkpoint = grid.rows[row];
  const number = numberAt(data, grid, row, column);
  const { value, n } = number;
  const origin = originOf(data, grid, row);
  const place = placeName(data, grid.places[column]);
  const lines = [
    `${model.name}, ${checkpointName}`,
    quantityName(grid) + (place && `, ${place}`),
    `value ${shown(value)}`,
  ];
  if (Number.isFinite(number.low)) lines.push(`95 % interval ${intervalText(number)}`);
  if (Number.isFinite(n)) lines.push(`n = ${whole(n)}`);
  if (model.identities[checkpoint]) lines.push(`checkpoint ${shortIdentity(model.identities[checkpoint])}`);
  if (origin) lines.push(`measurement ${origin.id}${data.runs > 1 ? ` of ${origin.run}` : ""}`);
  if (grid.derived) lines.push("computed for the report from stored scores");
  return lines.map(harmless).join("<br>");
}

function shortIdentity(identity) {
  const colon = identity.lastIndexOf(":") + 1;
  return identity.slice(0, colon + 12);
}

function lineOf(model, more = {}) {
  return {
    type: "scatter",
    mode: "lines+markers",
    name: harmless(model.name),
    line: { color: model.color, dash: model.dash, width: 2 },
    marker: { color: model.color, symbol: model.symbol, size: 7, maxdisplayed: 40 },
    hovertemplate: "%{text}<extra></extra>",
    ...more,
  };
}

function faint(color) {
  return `${color}38`;
}

function stepAxis(data, log, late) {
  const { zero, ticks } = data.axis;
  const title = { text: data.names.step };
  if (late) return { title, tickformat: "~s", ...(log ? { type: "log", dtick: "D2" } : {}) }; // few of the ticks below are in it
  if (!log) return { title, rangemode: "tozero", tickformat: "~s" };
  const tickvals = ticks.map(([step]) => step || zero);
  return { title, type: "log", tickmode: "array", tickvals, ticktext: ticks.map(([, text]) => text) };
}

const MOST_BANDS = 6;
const LATE_CHECKPOINTS = 8;

// As late_from of _noise.py: the last nine tenths of training, but eight checkpoints at least.
function latePart(points) {
  const from = points.findIndex(({ step }) => step >= points.at(-1).step / 10);
  return points.slice(Math.max(0, Math.min(from, points.length - LATE_CHECKPOINTS)));
}

function trend(data, view) {
  const traces = [];
  const said = [];
  const single = []; // what is no point of a line
  for (const grid of view.grids) {
    const model = data.models[grid.model];
    const column = grid.places.indexOf(view.place ?? grid.places[0]);
    if (column < 0) continue;
    const points = grid.rows
      .map((checkpoint, row) => ({ row, step: model.steps[checkpoint], when: model.whens[checkpoint] }))
      .map((point) => ({ ...point, ...numberAt(data, grid, point.row, column) }))
      .filter((point) => Number.isFinite(point.value));
    const text = (some) => some.map(({ row }) => hoverText(data, grid, row, column));
    const all = view.over ? points.filter(({ step }) => step !== null) : [];
    const stepped = view.late && all.length ? latePart(all) : all;
    single.push(...points.filter((point) => !all.includes(point)).map((point) => ({ model, text: text([point]), ...point })));
    if (!stepped.length) continue;
    const x = stepped.map(({ step }) => (view.logX && step === 0 ? data.axis.zero : step));
    const sure = stepped.every(({ low }) => Number.isFinite(low));
    if (sure && stepped.length > 1 && view.grids.length <= MOST_BANDS) {
      const edge = { x, type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false, line: { width: 0 } };
      traces.push({ ...edge, y: stepped.map(({ low }) => low) });
      traces.push({ ...edge, y: stepped.map(({ high }) => high), fill: "tonexty", fillcolor: faint(model.color) });
    }
    const bars = sure && stepped.length === 1 ? barsOf(stepped) : undefined;
    traces.push(lineOf(model, { x, y: stepped.map(({ value }) => value), text: text(stepped), error_y: bars }));
    said.push(course(model.name, stepped));
  }
  const lines = traces.length > 0;
  const begin = view.late ? Math.min(...traces.flatMap(({ x }) => x)) : view.logX ? data.axis.zero : 0;
  const end = Math.max(1, ...view.grids.flatMap(({ model }) => data.models[model].steps));
  const names = single.map(({ model, when }) => (model.whens.length > 1 ? `${model.name} (${when})` : model.name));
  for (const [place, point] of single.entries()) {
    // Beside series a checkpoint without a step is a level; alone they stand side by side.
    const x = lines ? [begin, end] : [place];
    const level = lines ? { line: { color: point.model.color, dash: "dot", width: 2 } } : { mode: "markers" };
    const error_y = Number.isFinite(point.low) && !lines ? barsOf([point]) : undefined;
    const more = { name: harmless(names[place]), ...level, x, y: x.map(() => point.value), text: x.map(() => point.text[0]) };
    traces.push(lineOf(point.model, { ...more, error_y }));
    said.push(`${names[place]}: ${shown(point.value, 4)}`);
  }
  const beside = { tickmode: "array", tickvals: names.map((_, place) => place), ticktext: names.map(harmless) };
  const xaxis = lines || !single.length ? stepAxis(data, view.logX, view.late) : beside;
  const part = view.late && lines ? "Last nine tenths of training. " : "";
  return { traces, said: said.length ? part + said.join(". ") : "", xaxis, yaxis: { title: { text: view.name }, type: view.logY ? "log" : "linear" } };
}

function barsOf(points) {
  return {
    type: "data",
    symmetric: false,
    array: points.map(({ high, value }) => Math.max(0, high - value) || 0),
    arrayminus: points.map(({ low, value }) => Math.max(0, value - low) || 0),
  };
}

function course(name, points) {
  const least = points.reduce((a, b) => (b.value < a.value ? b : a));
  const most = points.reduce((a, b) => (b.value > a.value ? b : a));
  const at = ({ value, when }) => `${shown(value, 4)} at ${when}`;
  const last = points.at(-1);
  return `${name}: ${at(points[0])}, lowest ${at(least)}, highest ${at(most)}, last ${at(last)}`;
}

const FEW_LAYERS = 10;

function profile(data, view) {
  const traces = [];
  const said = [];
  for (const grid of view.grids) {
    const model = data.models[grid.model];
    const last = Math.max(1, ...grid.places.map((place) => data.places[place][0]));
    const columns = view.columnsOf?.(data, grid, last) ?? [...grid.places.keys()];
    const x = columns.map((column) => depthOf(data, grid.places[column]) / (view.relative ? last : 1));
    const valuesOf = (row) => columns.map((column) => valueAt(data, grid, row, column));
    const row = view.rowOf(grid);
    if (!view.columnsOf) traces.push(...ghosts(model, grid.rows.length, (one) => ({ x, y: valuesOf(one) })));
    if (row === undefined) continue;
    const { name, checkpoint } = view.standing.get(grid.model);
    const y = valuesOf(row);
    const bars = columns.map((column) => numberAt(data, grid, row, column));
    const error_y = bars.some(({ low }) => Number.isFinite(low)) ? { ...barsOf(bars), thickness: 1, width: 2 } : undefined;
    const line = lineOf(model, { x, y, error_y, text: columns.map((column) => hoverText(data, grid, row, column, checkpoint)) });
    const hollow = columns.map((column) => AFTER.includes(data.places[grid.places[column]][1]));
    line.marker.symbol = hollow.map((after) => (after ? `${model.symbol}-open` : model.symbol));
    line.marker.size = hollow.map((after) => (after ? 9 : 6));
    traces.push(line);
    const each = view.columnsOf && model.steps.length > 1; // beside one another all of them say which they are
    line.name = harmless(each ? `${model.name}, ${model.whens[grid.rows[row]]}` : name);
    const seen = y.map((value, at) => ({ value, when: placeName(data, grid.places[columns[at]]) }));
    const finite = seen.filter(({ value }) => Number.isFinite(value));
    if (finite.length) said.push(course(name, finite));
  }
  const title = { text: data.names[view.relative ? "relative" : "layer"] };
  const few = !view.relative && Math.max(...traces.flatMap(({ x }) => x)) < FEW_LAYERS;
  return {
    traces,
    said: said.join(". "),
    xaxis: { title, ...(few ? { dtick: 1 } : {}) }, // there is no layer 0.5
    yaxis: { title: { text: view.name }, ...fixedRange({ ...view, bars: true }, data) },
  };
}

// Models beside one another, with the layers of the literature.
function modelsOver(data, view) {
  return profile(data, { ...view, columnsOf: literatureColumns });
}

// As literature_layers of _layers.py: embedding, blocks 1 to L - 1, and the last site in the place of block L.
function literatureColumns(data, grid, last) {
  const at = (layer, site) => grid.places.findIndex((place) => data.places[place][0] === layer && data.places[place][1] === site);
  const blocks = Array.from({ length: last - 1 }, (_, place) => at(place + 1, "block"));
  const end = ["final_norm", "head_input", "block"].map((site) => at(last, site)).find((column) => column >= 0);
  return [at(0, "embedding"), ...blocks, end ?? -1].filter((column) => column >= 0);
}

// The first checkpoint dotted and the last one heavy, behind the one that is chosen.
function ghosts(model, count, draw) {
  if (count < 2) return [];
  const look = { type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false, opacity: 0.4 };
  return [
    { ...look, ...draw(0), line: { color: model.color, dash: "dot", width: 1.5 } },
    { ...look, ...draw(count - 1), line: { color: model.color, width: 4 } },
  ];
}

// The same axis at every step, so that what moves is the curve.
function fixedRange(view, data) {
  return rangeOf(...extent(view, data), view.logY);
}

// The lowest and the highest value of all checkpoints.
function extent(view, data) {
  let low = Infinity;
  let high = -Infinity;
  for (const grid of view.grids)
    for (let at = 0; at < grid.rows.length * grid.width; at++) {
      const one = numberAt(data, grid, at % grid.rows.length, Math.floor(at / grid.rows.length));
      for (const value of view.bars ? [one.value, one.low, one.high] : [one.value]) {
        if (!Number.isFinite(value) || (view.logY && value <= 0)) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
  return [low, high];
}

function rangeOf(low, high, log) {
  if (!(low <= high)) return { type: log ? "log" : "linear" };
  const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const margin = 0.05 * (to - from) || 0.05 * Math.abs(to) || 1;
  return { type: log ? "log" : "linear", range: [from - margin, to + margin], ...(log ? logTicks(to - from) : {}) };
}

// On a logarithmic axis every tick is a whole number: plotly would write a 5 for 0.005. Of 1, 2 and 5 less than a decade
// may have one: there plotly spaces them evenly.
function logTicks(decades) {
  const dtick = decades > 2 ? Math.ceil(decades / 8) : "D2";
  return { ...(decades > 0.9 ? { dtick } : {}), tickformat: "~g" };
}

function map(data, view) {
  const grid = view.grids.find(({ model }) => model === view.model) ?? view.grids[0];
  if (!grid) return { traces: [], said: "" };
  const model = data.models[grid.model];
  const names = grid.places.map((place) => placeName(data, place));
  const whens = grid.rows.map((checkpoint) => model.whens[checkpoint]);
  const stepped = grid.rows.every((checkpoint) => model.steps[checkpoint] !== null);
  const cells = names.map((_, column) => grid.rows.map((_, row) => valueAt(data, grid, row, column)));
  const [least, most] = extent(view, data);
  const around = least === most ? 0.5 : 0; // one value is in the middle of a scale
  const [low, high] = least <= most ? [least - around, most + around] : [0, 1];
  const text = names.map((_, column) => grid.rows.map((_, row) => hoverText(data, grid, row, column)));
  const look = { zmin: low, zmax: high, colorscale: "Viridis", hoverongaps: false, hovertemplate: "%{text}<extra></extra>" };
  const all = cells.flatMap((row, place) =>
    row.map((value, at) => ({ value, when: `${names[place]}, ${whens[at]}` })).filter(({ value }) => Number.isFinite(value)),
  );
  return {
    traces: [{ type: "heatmap", z: cells, text, ...look, colorbar: { thickness: 14, outlinewidth: 0, title: { text: view.name, side: "right" } } }],
    said: `${whens.length} checkpoints by ${names.length} places. ${all.length ? course(model.name, all) : "no value"}`,
    xaxis: { title: { text: data.names[stepped ? "columns" : "checkpoints"] }, showgrid: false, ...someTicks(grid.rows.map((checkpoint) => model.ticks[checkpoint]), 8) },
    yaxis: { showgrid: false, ...someTicks(names, 9) },
  };
}

function someTicks(names, most) {
  const last = names.length - 1;
  const stride = Math.max(1, Math.ceil(last / (most - 1)));
  // First and last always; what would touch the last goes.
  const tickvals = names.map((_, place) => place).filter((place) => place === last || (place % stride === 0 && last - place > stride / 2));
  return { tickmode: "array", tickvals, ticktext: tickvals.map((place) => harmless(names[place])) };
}

function spectrum(data, view) {
  const traces = [];
  const said = [];
  let low = 1;
  let last = 1;
  for (const one of view.grids) {
    const model = data.models[one.model];
    last = Math.max(last, one.ranks.at(-1));
    const size = one.ranks.length;
    const ratiosOf = (row) => data.errors.subarray(one.at + row * size, one.at + (row + 1) * size);
    for (let row = 0; row < one.rows.length; row++) for (const ratio of ratiosOf(row)) if (ratio > 0) low = Math.min(low, ratio);
    const row = view.rowOf(one);
    traces.push(...ghosts(model, one.rows.length, (which) => ({ x: one.ranks, y: Array.from(ratiosOf(which)) })));
    if (row === undefined) continue;
    const y = Array.from(ratiosOf(row));
    const { name, checkpoint } = view.standing.get(one.model);
    const head = harmless(`${model.name}, ${checkpoint}`);
    const text = y.map((ratio, place) => `${head}<br>rank ${whole(one.ranks[place])}<br>σ / σ₁ ${shown(ratio)}`);
    traces.push(lineOf(model, { x: one.ranks, y, text, name: harmless(name) }));
    const tenth = one.ranks[y.findIndex((ratio) => ratio < 0.1)];
    said.push(`${name}: ${tenth ? `below a tenth of the largest from rank ${whole(tenth)}` : "all above a tenth of the largest"}, ${shown(y.at(-1), 4)} at rank ${whole(one.ranks.at(-1))}`);
  }
  return {
    traces,
    said: said.join(". "),
    xaxis: { title: { text: data.names.rank }, ...rangeOf(1, last, view.logX) },
    yaxis: { title: { text: view.name }, ...rangeOf(view.logY ? Math.max(low, data.lowest_ratio) : 0, 1, view.logY) },
  };
}

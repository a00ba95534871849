// Counting over m: both arms and what a blind answer reaches in each, or the gap between the arms.
function counting(data, view, lines) {
  const traces = [];
  const said = [];
  const sizes = [...new Set(view.question.tasks.map(([m]) => m))].sort((a, b) => a - b);
  for (const model of view.models) {
    if (!view.standing.has(model)) continue;
    const { name: called, checkpoint } = view.standing.get(model);
    for (const [metricOf, name, look, blind] of lines) {
      const points = view.question.tasks.flatMap(([m, task]) => {
        const grid = view.find(metricOf(view.question), task, model);
        const row = grid && view.rowOf(grid);
        if (!grid || row === undefined) return [];
        return [{ m, text: hoverText(data, grid, row, 0, checkpoint), ...numberAt(data, grid, row, 0) }];
      });
      if (!points.length) continue;
      const style = data.models[model];
      const trace = lineOf(style, { cliponaxis: false, x: points.map(({ m }) => sizes.indexOf(m)), y: points.map(({ value }) => value) });
      Object.assign(trace, { name: harmless(`${called}, ${name}`), text: points.map(({ text }) => text) });
      trace.line = { ...trace.line, dash: look };
      if (look === "dash") trace.marker = { ...trace.marker, symbol: `${style.symbol}-open` };
      if (blind) Object.assign(trace, { mode: points.length > 1 ? "lines" : "markers", opacity: 0.6 }); // one point is no line
      if (blind) trace.marker = { ...trace.marker, symbol: "line-ew-open" };
      else if (points.some(({ low }) => Number.isFinite(low))) trace.error_y = { ...barsOf(points), thickness: 1.3, width: 3 };
      traces.push(trace);
      said.push(`${called}, ${name}: ${points.map(({ m, value }) => `${shown(value, 4)} at m = ${m}`).join(", ")}`);
    }
  }
  if (view.question.control_floor !== null && traces.length && lines.some(([, , , blind]) => blind)) {
    const [x, y] = [[0, sizes.length - 1], Array(2).fill(view.question.control_floor)];
    traces.push({ type: "scatter", mode: "lines", name: "blind, control", x, y, line: { color: "#888", dash: "dashdot", width: 1.5 }, hoverinfo: "y+name" });
    said.push(`a blind answer in the control: ${shown(y[0], 4)}`);
  }
  // A little aside, so that equal intervals do not cover each other.
  const barred = traces.filter(({ error_y }) => error_y);
  const apart = Math.min(0.05, 0.7 / barred.length);
  for (const [place, trace] of barred.entries()) trace.x = trace.x.map((x) => x + apart * (place - (barred.length - 1) / 2));
  const ticks = { tickmode: "array", tickvals: sizes.map((_, place) => place), ticktext: sizes.map(String) };
  const xaxis = { title: { text: data.names.m }, range: [-0.4, sizes.length - 0.6], ...ticks };
  return { traces, said: said.join(". "), xaxis, yaxis: { title: { text: view.name }, rangemode: "tozero", type: view.logY ? "log" : "linear" } };
}

const arms = (data, view) =>
  counting(data, view, [
    [({ metric }) => metric, "full list", "solid", false],
    [({ metric }) => `${metric}_binary`, "control", "dash", false],
    [({ floor }) => floor, "blind, full list", "dot", true],
    [({ floor }) => `${floor}_binary`, "blind, control", "dashdot", true],
  ]);
const gap = (data, view) => counting(data, view, [[({ metric }) => `${metric}_gap`, "full less control", "solid", false]]);

// The data block: index, exact values, and the places and origins of single numbers.
async function inflated(id) {
  const text = document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function numbersOf(bytes, start, count, width) {
  const joined = new Uint8Array(count * width);
  for (let plane = 0; plane < width; plane++)
    for (let place = 0, from = start + plane * count; place < count; place++)
      joined[place * width + plane] = bytes[from + place];
  return width === 8 ? new Float64Array(joined.buffer) : new Float32Array(joined.buffer);
}

async function readData() {
  const bytes = await inflated("data");
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const data = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const [exact, rough] = data.sizes;
  data.exact = numbersOf(bytes, 4 + length, exact, 8);
  data.rough = numbersOf(bytes, 4 + length + 8 * exact, rough, 4);
  for (const grid of data.grids) {
    grid.width = grid.places.length;
    grid.layered = data.places[grid.places[0]][0] >= 0;
  }
  return data;
}

// One number: a grid's row (a checkpoint) and column (a place). NaN where there is none.
function numberAt(data, grid, row, column) {
  const at = row * grid.width + column;
  const value = data.exact[grid.value + at];
  const stderr = grid.stderr === undefined ? NaN : data.rough[grid.stderr + at];
  const n = grid.n === null ? NaN : grid.n.same ?? data.exact[grid.n.at + at];
  const [low, high] =
    grid.low === undefined
      ? [value - data.z * stderr, value + data.z * stderr]
      : [data.rough[grid.low + at], data.rough[grid.high + at]];
  return { value, stderr, n, low, high };
}

const SITES = { embedding: "embedding", final_norm: "final norm", head_input: "head input" };

function placeName(data, place) {
  const [layer, site] = data.places[place];
  if (layer < 0) return "";
  return site === "block" ? `block ${layer}` : SITES[site] ?? `${site} ${layer}`;
}

// Where a place stands among layers: what follows the last block stands one further.
function depthOf(data, place) {
  const [layer, site] = data.places[place];
  return site === "final_norm" ? layer + 1 : site === "head_input" ? layer + 2 : layer;
}

function quantityName(grid) {
  return `${grid.metric}${grid.component ? ` (${grid.component})` : ""}`;
}

function originOf(data, grid, row) {
  const place = data.sets[grid.made][row];
  if (place < 0) return null;
  const said = Object.entries(data.made).map(([name, column]) => [name, data.texts[column[place]]]);
  const numbers = Object.entries(data.made_numbers).map(([name, column]) => [name, column[place]]);
  return Object.fromEntries([...said, ...numbers]);
}

// 0.1234, 12,345 or 1.2e-7, for reading; the table of every number has all digits.
function shown(value, digits = 6) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(digits - 1);
  return value.toLocaleString("en", { maximumSignificantDigits: digits });
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (typeof value === "boolean") made.toggleAttribute(key, value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function choice(label, entries, onchange, grouped = false) {
  const select = element("select", { onchange: () => onchange(select.value) });
  const groups = new Map();
  for (const [value, text, group] of entries) {
    let parent = select;
    if (grouped) {
      if (!groups.has(group)) groups.set(group, select.appendChild(element("optgroup", { label: group })));
      parent = groups.get(group);
    }
    parent.append(element("option", { value }, text));
  }
  return [element("label", {}, label, select), select];
}

function tick(label, checked, onchange) {
  const box = element("input", { type: "checkbox", onchange: () => onchange(box.checked) });
  box.checked = checked;
  return element("label", {}, box, label);
}

// The data block: index, numbers, and the places and origins of single numbers.
async function inflated(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Undoes Pack of _web_pack.py: differences, then whole numbers, then the upper halves of float64.
function numbersOf(bytes, start, count, dropped) {
  const words = new Uint32Array(2 * count);
  for (let at = 0, sum = 0; at < count; at++) {
    let folded = 0;
    for (let plane = 3; plane >= 0; plane--) folded = (folded << 8) | bytes[start + plane * count + at];
    sum = (sum + ((folded >>> 1) ^ -(folded & 1))) | 0;
    const ordered = (sum << dropped) >>> 0;
    words[2 * at + 1] = ordered === 0 ? NAN : ordered >= ZERO ? ordered - ZERO : ZERO + (ZERO - ordered);
  }
  return new Float64Array(words.buffer);
}

const ZERO = 2 ** 31;
const NAN = 0x7ff80000;

async function readData() {
  const bytes = await inflated("data");
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const data = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let start = 4 + length;
  for (const [kind, count, dropped] of data.packed) {
    data[kind] = numbersOf(bytes, start, count, dropped);
    start += 4 * count;
  }
  for (const grid of [...data.grids, ...data.derived]) grid.width = grid.places.length;
  return data;
}

function valueAt(data, grid, row, column) {
  return data.values[grid.value + column * grid.rows.length + row];
}

// One number: a grid's row (a checkpoint) and column (a place). NaN where there is none.
function numberAt(data, grid, row, column) {
  const at = column * grid.rows.length + row;
  const value = valueAt(data, grid, row, column);
  const stderr = grid.stderr === undefined ? NaN : data.errors[grid.stderr + at];
  const n = grid.n === null ? NaN : grid.n.same ?? data.values[grid.n.at + at];
  const [low, high] =
    grid.low === undefined
      ? [value - data.z * stderr, value + data.z * stderr]
      : [data.values[grid.low + at], data.values[grid.high + at]];
  return { value, stderr, n, low, high, stored: grid.low !== undefined };
}

// As place_name of _layers.py has it.
function placeName(data, place) {
  return data.places[place][2];
}

const AFTER = ["final_norm", "head_input"];

// The layer of a place: what follows the last block L is at L too.
function depthOf(data, place) {
  return data.places[place][0];
}

// In the order of a forward pass.
function byDepth(data) {
  const after = (place) => AFTER.indexOf(data.places[place][1]);
  return (a, b) => depthOf(data, a) - depthOf(data, b) || after(a) - after(b);
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

const [VALUE, ERROR] = [6, 4]; // digits
const WHOLE = { [VALUE]: 2 ** 21, [ERROR]: 2 ** 14 }; // below it whole numbers have all their digits in the pack

// As many digits as the page has, without a comma that a calculation would trip over. Whole numbers beyond them come
// out exact where they are the same throughout (see `same` in numberAt).
function digits(value, many) {
  if (Number.isInteger(value) && Math.abs(value) < WHOLE[many]) return String(value);
  return Number.isFinite(value) ? String(Number(value.toPrecision(many))) : "–";
}

const WRITERS = new Map(); // to make one takes longer than to write a number

// With so many decimals, thousands separated.
function fixed(value, decimals) {
  if (!WRITERS.has(decimals)) {
    const places = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    WRITERS.set(decimals, new Intl.NumberFormat("en", { ...places, signDisplay: "negative" })); // no -0.00
  }
  return WRITERS.get(decimals).format(value).replace("-", "−");
}

// A whole number: 12,345.
function whole(value) {
  return fixed(value, 0);
}

// For reading, as number of _markdown.py writes it: 0.1230, 12,345 or 1.200e−07.
function shown(value, digits = 6) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const [head, exponent] = value.toExponential(digits - 1).split("e");
  if (exponent >= -4 && exponent < 6) return fixed(value, Math.max(digits - 1 - exponent, 0));
  return `${head}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`.replaceAll("-", "−");
}

const MOST_DECIMALS = 9;

// To the decimal place of the standard error's last digit: what is beyond it was made up by the calculation.
function intervalText({ low, high, stderr, stored }) {
  const decimals = stored || !(stderr > 0) ? NaN : ERROR - 1 - Math.floor(Math.log10(stderr));
  const unit = 10 ** -decimals;
  const [from, to] = [low, high].map((end) => {
    if (Number.isNaN(decimals)) return shown(end);
    const rounded = Math.round(end / unit) * unit;
    return decimals <= MOST_DECIMALS && Math.abs(end) < 1e9 ? fixed(rounded, Math.max(decimals, 0)) : shown(rounded);
  });
  return `${from} to ${to}`;
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

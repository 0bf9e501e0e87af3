// The view: columns of pictures, answers and costs, drawn from the document in `props.value`.
// It runs inside gr.HTML's `js_on_load`, which gives element, props, watch and trigger.

const LIGHT = @LIGHT@, COLOUR = @COLOUR@; // what is left of a dropped token's light and colour
const CELL_LEAST = 8, SIDE = 576;

const here = new URLSearchParams(location.search);
const local = { at: here.has("at") ? Number(here.get("at")) : null, heat: here.get("heat") === "1" };
let shown = null, pictures = new Map(), cursor = null;

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    if (key === "text") node.textContent = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
};
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const bytes = (count) => {
  const units = ["B", "kB", "MB", "GB"];
  let at = 0;
  while (count >= 1000 && at < 3) { count /= 1000; at += 1; }
  return `${count.toFixed(at ? 1 : 0)} ${units[at]}`;
};
const short = (score) => (score === null ? "none" : Number(score).toPrecision(3));
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// What a column holds at a place of the slider: 0 is the picture, n is decoder layer n - 1.
function held(column, at) {
  const passed = column.stages.filter((stage) => at > 0 && stage.layer < at - 1);
  const last = passed[passed.length - 1];
  return last ? new Set(last.cells) : null; // null: all of them
}
// The stage whose scores belong to that place: the one that decides there, else the last before it.
function scoring(column, at) {
  const scored = column.stages.filter((stage) => stage.scores && at > 0 && stage.layer <= at - 1);
  return scored[scored.length - 1] || null;
}
function deciding(column, at) {
  return column.stages.find((stage) => stage.layer === at - 1 && at > 0) || null;
}
const stageName = (stage) =>
  stage.layer < 0 ? `${stage.name}, before the decoder` : `${stage.name} at layer ${stage.layer}`;

// --- the picture ------------------------------------------------------------------------------

// Blue to yellow, even in lightness (viridis at five places).
const HEAT = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
function colour(share) {
  const place = clamp(share, 0, 1) * (HEAT.length - 1), low = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[low].map((value, i) => value + (place - low) * (HEAT[low + 1][i] - value));
}

function draw(canvas, column) {
  const picture = shown.prompt.picture, [rows, columns] = picture.grid;
  const cell = Math.max(CELL_LEAST, Math.floor(SIDE / Math.max(rows, columns)));
  const width = columns * cell, height = rows * cell;
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(pictures.get(picture.source), 0, 0, width, height);
  if (column && !column.error) {
    const kept = held(column, local.at), heat = local.heat ? heatOf(column) : null;
    const frame = context.getImageData(0, 0, width, height), data = frame.data;
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const index = Math.floor(y / cell) * columns + Math.floor(x / cell), k = 4 * (y * width + x);
        const grey = (data[k] + data[k + 1] + data[k + 2]) / 3;
        if (kept && !kept.has(index)) {
          for (let c = 0; c < 3; c += 1) data[k + c] = LIGHT * (grey + COLOUR * (data[k + c] - grey));
        } else if (heat && heat.has(index)) {
          const over = heat.get(index);
          for (let c = 0; c < 3; c += 1) data[k + c] = 0.25 * data[k + c] + 0.15 * grey + 0.6 * over[c];
        }
      }
    }
    context.putImageData(frame, 0, 0);
    if (kept) outline(context, kept, rows, columns, cell);
  }
  if (cursor !== null) {
    const x = (cursor % columns) * cell, y = Math.floor(cursor / columns) * cell;
    context.lineWidth = Math.max(2, cell / 12);
    context.strokeStyle = "#000"; context.strokeRect(x - 1, y - 1, cell + 2, cell + 2);
    context.strokeStyle = "#ffd400"; context.strokeRect(x + 1, y + 1, cell - 2, cell - 2);
  }
}
function outline(context, kept, rows, columns, cell) {
  const wide = Math.max(1, Math.floor(cell / 24));
  context.fillStyle = "#fff";
  for (const index of kept) {
    const row = Math.floor(index / columns), column = index % columns, x = column * cell, y = row * cell;
    if (row > 0 && !kept.has(index - columns)) context.fillRect(x, y, cell, wide);
    if (row < rows - 1 && !kept.has(index + columns)) context.fillRect(x, y + cell - wide, cell, wide);
    if (column > 0 && !kept.has(index - 1)) context.fillRect(x, y, wide, cell);
    if (column < columns - 1 && !kept.has(index + 1)) context.fillRect(x + cell - wide, y, wide, cell);
  }
}
function range(stage) {
  const known = stage.scores.filter((score) => score !== null);
  return [Math.min(...known), Math.max(...known)];
}
function heatOf(column) {
  const stage = scoring(column, local.at);
  if (!stage) return null;
  const [low, high] = range(stage);
  return new Map(stage.scored.map((cell, i) => {
    const score = stage.scores[i];
    return [cell, colour(score === null ? 0 : (score - low) / (high - low || 1))];
  }));
}

// --- the token under the pointer ----------------------------------------------------------------

function tokenText(column, index) {
  const columns = shown.prompt.picture.grid[1];
  const place = `Token in row ${Math.floor(index / columns) + 1}, column ${(index % columns) + 1}: `;
  const dropper = column.stages.find((stage) => !stage.cells.includes(index));
  const kept = held(column, local.at);
  const now = local.at === 0 ? "part of the picture" :
    `${!kept || kept.has(index) ? "held" : "gone"} at layer ${local.at - 1}`;
  const stage = scoring(column, local.at), at = stage ? stage.scored.indexOf(index) : -1;
  let score = stage ? "; not scored, it was gone before" : "; no stage has scored it yet";
  if (at >= 0) {
    const value = stage.scores[at];
    const better = stage.scores.filter((other) => other !== null && (value === null || other > value)).length;
    score = `; score ${short(value)}, number ${better + 1} of ${stage.from} (${stageName(stage)})`;
  }
  const end = dropper ? `; dropped by ${stageName(dropper)}` : "; kept to the last layer";
  return `${place}${now}${score}${end}.`;
}

function point(index) {
  cursor = index;
  redraw();
}

// --- the page -------------------------------------------------------------------------------------

function layerText() {
  if (local.at === 0) return "before pruning";
  return `decoder layer ${local.at - 1} (0 to ${shown.model.layers - 1})`;
}
function columnText(column) {
  const total = shown.prompt.tokens;
  if (local.at === 0) return `All ${total} tokens.`;
  const count = column.per_layer[local.at - 1], stage = deciding(column, local.at);
  const says = `Holds ${count} of ${total} tokens (${percent(count / total)}).`;
  if (stage) return `${says} Here ${stage.name} keeps ${stage.kept}${column.merges ? ", others are merged into them" : ""}.`;
  const first = column.stages.find((one) => one.layer < 0);
  return local.at === 1 && first ? `${says} The ${first.name} stage chose them before the decoder.` : says;
}

function bars(column) {
  const total = shown.prompt.tokens;
  const box = make("div", { class: "bars" }), figure = make("figure", { "aria-hidden": "true" }, box,
    make("figcaption", { class: "note", text: `Tokens before pruning, then at decoder layers 0 to ${column.per_layer.length - 1}` }));
  const counts = [total, ...column.per_layer];
  counts.forEach((count, at) => {
    const bar = make("div", { class: at === local.at ? "bar now" : "bar", title: at ? `layer ${at - 1}: ${count} tokens` : `${count} tokens` });
    bar.append(make("span", { style: `height:${Math.max(2, (100 * count) / total)}%` }));
    bar.addEventListener("click", () => { local.at = at; moved(); });
    box.append(bar);
  });
  return figure;
}

function changesTable(column) {
  const box = make("div", { class: "changes" });
  const rows = column.changes.filter((one) => one.moved >= 0.005);
  const quiet = column.answer_tokens - rows.length;
  const told = rows.length === 0
    ? `No probability in the answer's ${column.answer_tokens} token${column.answer_tokens === 1 ? "" : "s"} moved by 0.5 % or more.`
    : quiet > 0 ? `${quiet} of ${column.answer_tokens} tokens of the unpruned answer moved by less than 0.5 % or are not listed.` : "";
  if (rows.length) {
    const table = make("table", {}, make("caption", { text: "Token probabilities that changed, at each token of the unpruned answer" }));
    table.append(make("thead", {}, make("tr", {},
      ...["token", "unpruned", "pruned", "change"].map((text) => make("th", { scope: "col", text })))));
    const body = make("tbody");
    for (const one of rows) {
      one.candidates.forEach((candidate, i) => {
        const change = candidate.after - candidate.before;
        body.append(make("tr", { class: i ? "" : "answer" },
          make("th", { scope: "row", text: i ? candidate.token : `${one.place + 1}. ${candidate.token}` }),
          make("td", { text: percent(candidate.before) }), make("td", { text: percent(candidate.after) }),
          make("td", { class: change < -0.005 ? "down" : change > 0.005 ? "up" : "", text: `${change < 0 ? "−" : "+"}${percent(Math.abs(change))}` })));
      });
    }
    table.append(body);
    box.append(table);
  }
  if (told) box.append(make("p", { class: "note", text: told }));
  return box;
}

function costTable(column) {
  const plain = shown.prompt;
  const rows = [
    ["visual tokens per layer", plain.tokens.toFixed(0), column.average.toFixed(1), column.token_ratio],
    ["prefill", `${column.unpruned_ms.toFixed(1)} ms`, `${column.prefill_ms.toFixed(1)} ms`, column.prefill_ratio],
    ["KV cache", bytes(plain.kv_bytes), bytes(column.kv_bytes), column.kv_ratio],
  ];
  const table = make("table", { class: "cost" }, make("caption", { text: "Cost on this machine" }));
  table.append(make("thead", {}, make("tr", {},
    make("th", { scope: "col", text: "what" }), make("th", { scope: "col", text: "unpruned" }),
    make("th", { scope: "col", text: "pruned" }), make("th", { scope: "col", text: "ratio" }))));
  table.append(make("tbody", {}, ...rows.map(([name, before, after, ratio]) => make("tr", {},
    make("th", { scope: "row", text: name }), make("td", { text: before }), make("td", { text: after }),
    make("td", { text: percent(ratio) })))));
  return table;
}

function answerBox(column) {
  const truth = shown.prompt.truth;
  const mark = (answer) => (truth === null ? "" : answer === truth ? " ✓" : " ✗");
  const box = make("dl", { class: "answers" });
  const add = (name, value, kind) => box.append(make("div", { class: kind },
    make("dt", { text: name }), make("dd", { text: value })));
  add("pruned", `${column.answer || "(nothing)"}${mark(column.answer)}`, column.same ? "same" : "differs");
  add("unpruned", `${shown.prompt.answer || "(nothing)"}${mark(shown.prompt.answer)}`, "plain");
  if (truth !== null) add("truth", truth, "plain");
  return box;
}

function columnBox(column, number) {
  const head = `${column.method}, budget ${column.budget}`;
  const box = make("section", { class: "side", "data-method": column.method, "data-budget": column.budget,
    "aria-label": `Column ${number + 1}: ${head}` });
  box.append(make("h2", { text: head }));
  if (column.error) {
    box.append(make("p", { class: "wrong", role: "alert", text: column.error }));
    return box;
  }
  const canvas = make("canvas", { tabindex: "0", role: "img", class: "picture", "aria-describedby": `token-${number}`,
    "aria-label": `${shown.prompt.picture.name} with the tokens that ${column.method} holds. Arrow keys move between tokens.` });
  box.append(
    make("div", { class: "looks" }, make("div", { class: "frame" }, canvas), make("p", { class: "holds" }),
      make("p", { class: "token", id: `token-${number}` }), make("div", { class: "legend" })),
    make("div", { class: "facts" }, answerBox(column), bars(column), costTable(column), changesTable(column)));
  const at = (event) => {
    const [rows, columns] = shown.prompt.picture.grid, frame = canvas.getBoundingClientRect();
    const x = clamp(Math.floor(((event.clientX - frame.left) / frame.width) * columns), 0, columns - 1);
    const y = clamp(Math.floor(((event.clientY - frame.top) / frame.height) * rows), 0, rows - 1);
    return y * columns + x;
  };
  canvas.addEventListener("pointermove", (event) => { const index = at(event); if (index !== cursor) point(index); });
  canvas.addEventListener("pointerdown", (event) => point(at(event)));
  canvas.addEventListener("pointerleave", () => { if (document.activeElement !== canvas) point(null); });
  canvas.addEventListener("focus", () => { if (cursor === null && canvas.matches(":focus-visible")) point(0); });
  canvas.addEventListener("blur", () => point(null));
  canvas.addEventListener("keydown", (event) => {
    const [rows, columns] = shown.prompt.picture.grid;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = (cursor === null ? 0 : cursor) + step;
    const inRow = Math.abs(step) > 1 || Math.floor(next / columns) === Math.floor((cursor || 0) / columns);
    if (next >= 0 && next < rows * columns && inRow) point(next);
  });
  return box;
}

function legend(column) {
  const box = document.createDocumentFragment();
  if (!local.heat) return box;
  const stage = scoring(column, local.at);
  if (!stage) {
    box.append(make("p", { class: "note", text: "No scores here: " + (local.at > 0 && column.stages.some((one) => one.layer < 0)
      ? "the structure stage chooses a set and gives none." : "no stage has scored up to here.") }));
    return box;
  }
  const [low, high] = range(stage);
  const ramp = HEAT.map((one) => `rgb(${one.join(",")})`).join(",");
  box.append(make("span", { text: short(low) }), make("span", { class: "ramp", style: `background:linear-gradient(90deg,${ramp})` }),
    make("span", { text: short(high) }),
    make("span", { text: `scores of ${stageName(stage)}${column.ranks ? " (places in an order)" : ""}` }));
  return box;
}

// Redraw what depends on the slider, the heat map and the pointer; nothing is built anew.
function redraw() {
  if (!shown) return;
  element.querySelector(".where").textContent = layerText();
  element.querySelectorAll(".side").forEach((box, number) => {
    const column = shown.columns[number];
    if (column.error) return;
    draw(box.querySelector("canvas"), column);
    box.querySelector(".holds").textContent = columnText(column);
    box.querySelector(".token").textContent = cursor === null
      ? "Point at a token, or focus the picture and use the arrow keys." : tokenText(column, cursor);
    box.querySelector(".legend").replaceChildren(legend(column));
    box.querySelectorAll(".bar").forEach((bar, at) => bar.classList.toggle("now", at === local.at));
  });
}

function moved() {
  const slider = element.querySelector(".layers");
  slider.value = local.at;
  slider.setAttribute("aria-valuetext", layerText());
  redraw();
  address();
}

function address() {
  const query = new URLSearchParams(shown.state);
  query.set("at", local.at);
  if (local.heat) query.set("heat", "1");
  history.replaceState(history.state, "", `${location.pathname}?${query}`);
}

function build() {
  const depth = shown.model.layers;
  if (local.at === null || !Number.isInteger(local.at)) local.at = Math.min(1, depth);
  local.at = clamp(local.at, 0, depth);
  const slider = make("input", { type: "range", class: "layers", id: "layers", min: "0", max: String(depth), step: "1" });
  slider.value = local.at;
  slider.setAttribute("aria-valuetext", layerText());
  slider.addEventListener("input", () => { local.at = Number(slider.value); moved(); });
  const heat = make("input", { type: "checkbox", id: "heat" });
  heat.checked = local.heat;
  heat.addEventListener("change", () => { local.heat = heat.checked; redraw(); address(); });
  const head = make("div", { class: "head" },
    make("p", { class: "asked" }, make("strong", { text: shown.prompt.question }),
      make("span", { text: ` about ${shown.prompt.picture.name}` })),
    make("div", { class: "stage" },
      make("label", { for: "layers", text: "Stage and decoder layer" }),
      make("output", { class: "where", for: "layers" }), slider),
    make("div", { class: "switch" }, heat, make("label", { for: "heat", text: "Scores as a heat map" })));
  const columns = make("div", { class: shown.columns.length > 1 ? "sides" : "sides single" }, ...shown.columns.map(columnBox));
  const parts = [head, columns];
  const extra = shown.prompt.picture.planes.length;
  if (extra > 1) parts.push(make("p", { class: "note", text: `The model sees the picture on ${extra} grids; the finest one is drawn, counts are of all.` }));
  const focused = document.activeElement && element.contains(document.activeElement) ? document.activeElement.id : "";
  const view = element.querySelector(".view");
  view.replaceChildren(...parts);
  view.dataset.ready = shown.serial;
  if (focused) element.querySelector(`#${focused}`)?.focus();
  redraw();
  address();
}

async function update() {
  const value = props.value;
  if (!value || typeof value !== "object" || !value.prompt) return;
  const source = value.prompt.picture.source;
  if (!pictures.has(source)) {
    const image = new Image();
    image.src = source;
    await image.decode();
    if (pictures.size > 8) pictures.clear();
    pictures.set(source, image);
  }
  if (props.value !== value) return; // a newer one came meanwhile
  const before = shown;
  shown = value;
  const content = (view) => JSON.stringify([view.prompt, view.columns, view.state]);
  if (before && content(before) === content(value)) { // nothing new: keep what is focused
    element.querySelector(".view").dataset.ready = shown.serial;
    return;
  }
  cursor = null;
  build();
}

watch("value", update);
update();

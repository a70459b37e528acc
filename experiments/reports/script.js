"use strict";
// Draws the page's plots from the numbers embedded in it. The sweep's come when they are about to be seen, since parallel
// coordinates need WebGL, which takes seconds to start without a graphics card. `data-state` of the body tells how far
// the page is: interactive, drawn (all of it), failed.
window.addEventListener("error", (event) => fail(event.message));
window.addEventListener("unhandledrejection", (event) => fail(String(event.reason)));

function fail(message) {
  const errors = document.getElementById("errors");
  errors.hidden = false;
  errors.textContent += `This page could not be drawn: ${message} `;
  document.body.dataset.state = "failed";
}

const report = JSON.parse(document.getElementById("numbers").textContent);
const COLORS = ["#1f77b4", "#d9601a", "#2a9d55", "#c2304a", "#7d55b5", "#8c6146", "#d16aad", "#5f6b7a", "#a8a41d", "#159db0"];
const CONFIG = { responsive: true, displayModeBar: false };
const FONT = { family: "system-ui, sans-serif", size: 13, color: "#1c2330" };
const AXIS = { gridcolor: "#eceff3", linecolor: "#c3c9d2", zeroline: false, automargin: true };

const at = (id) => document.getElementById(id);
const words = (name) => name.replaceAll("_", " ");
const digits = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
const faded = (color, alpha) => color + Math.round(alpha * 255).toString(16).padStart(2, "0");

/** Base64 of little-endian floats as an array; typed arrays are little-endian on every machine browsers run on. */
function unpacked(text, Kind) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i); // ten times as fast as Uint8Array.from
  return new Kind(bytes.buffer);
}

/** Decodes a run's curves, once. */
function curvesOf(run) {
  if (!run.decoded) {
    const { axes, band, lines } = run.curves;
    const all = (group, Kind) => Object.fromEntries(Object.entries(group).map(([k, v]) => [k, unpacked(v, Kind)]));
    run.decoded = { axes: all(axes, Float64Array), band: all(band, Float32Array), lines: unpacked(lines.values, Float32Array) };
  }
  return run.decoded;
}

function options(id, entries, chosen) {
  const select = at(id);
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value, false, String(value) === String(chosen))));
  return select;
}

function layout(extra) {
  return { font: FONT, margin: { l: 60, r: 20, t: 10, b: 45 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff", hovermode: "closest", ...extra };
}

// --- summary

function drawIntervals() {
  if (report.summary.length < 2) return null;
  const rows = report.summary.slice().reverse();
  const trace = {
    type: "scatter", mode: "markers", x: rows.map((r) => r.value), y: rows.map((r) => `${r.run}, ${r.what}`),
    error_x: { type: "data", symmetric: false, array: rows.map((r) => r.high - r.value), arrayminus: rows.map((r) => r.value - r.low), thickness: 3, width: 0 },
    marker: { size: 10, color: "#1f5fbf" }, hovertemplate: "%{x:.5g}<extra>%{y}</extra>",
  };
  return Plotly.react("intervals", [trace], layout({
    height: 70 + 34 * rows.length, xaxis: { ...AXIS, title: { text: words(report.metric) } }, yaxis: { ...AXIS, range: [-0.7, rows.length - 0.3] },
  }), CONFIG);
}

// --- learning curves

/** The curves to draw: [run, place of the config in its arrays, name]. */
function chosenCurves() {
  const scope = at("scope").value;
  if (scope === "runs") {
    return report.runs.filter((run) => run.curves).map((run) => [run, 0, run.curves.configs.length > 1 ? `${run.name}, ${run.curves.labels[0]}` : run.name]);
  }
  const run = report.runs[Number(scope)];
  return run.curves.configs.slice(0, Number(at("many").value)).map((_, place) => [run, place, run.curves.labels[place]]);
}

function drawCurves() {
  if (!report.metrics.length) return null;
  const metric = at("metric").value, axis = at("axis").value;
  const curves = chosenCurves(), faint = [], bands = [], means = [];
  at("many-label").hidden = at("scope").value === "runs";
  curves.forEach(([run, place, name], index) => {
    const m = run.curves.metrics.indexOf(metric);
    if (m < 0) return;
    const { axes, band, lines } = curvesOf(run), E = run.curves.evaluations, M = run.curves.metrics.length;
    const color = COLORS[index % COLORS.length], legendgroup = `curve ${index}`;
    const x = axes[axis].slice(place * E, (place + 1) * E);
    const pick = (array, row) => Float32Array.from({ length: E }, (_, e) => array[(row * E + e) * M + m]);
    if (at("members").checked) {
      const xs = [], ys = [], count = run.curves.lines.place.filter((p) => p === place).length * curves.length;
      run.curves.lines.place.forEach((p, line) => {
        if (p !== place) return;
        for (let e = 0; e < E; e++) { xs.push(x[e]); ys.push(lines[(line * E + e) * M + m]); }
        xs.push(null); ys.push(null);
      });
      faint.push({ type: "scatter", mode: "lines", x: xs, y: ys, legendgroup, showlegend: false, hoverinfo: "skip", line: { color: faded(color, Math.min(0.22, Math.max(0.07, 8 / count))), width: 1 } });
    }
    const mean = pick(band.value, place), low = pick(band.low, place), high = pick(band.high, place);
    if (at("bands").checked) {
      const there = Array.from(x.keys()).filter((e) => !Number.isNaN(low[e])), back = there.slice().reverse();
      bands.push({
        type: "scatter", mode: "lines", fill: "toself", legendgroup, showlegend: false, hoverinfo: "skip", line: { width: 0 }, fillcolor: faded(color, 0.25),
        x: [...there.map((e) => x[e]), ...back.map((e) => x[e])], y: [...there.map((e) => high[e]), ...back.map((e) => low[e])],
      });
    }
    means.push({
      type: "scatter", mode: E > 1 ? "lines" : "markers", x, y: mean, name, legendgroup, line: { color, width: 2.5 }, marker: { color, size: 8 },
      customdata: Array.from(low, (value, e) => [value, high[e]]),
      hovertemplate: `%{y:.5g} [%{customdata[0]:.5g}, %{customdata[1]:.5g}]<br>%{x:,.6~g} ${words(axis)}<extra>%{fullData.name}</extra>`,
    });
  });
  const levels = [...new Set(curves.map(([run]) => run.levels[metric]).filter((level) => level !== undefined))];
  return Plotly.react("curve-plot", [...faint, ...bands, ...means], layout({
    shapes: levels.map((y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: "#777", width: 1.5, dash: "dot" } })),
    height: 520 + 12 * Math.max(0, means.length - 6),
    xaxis: { ...AXIS, title: { text: axis === "wall_seconds" ? "seconds since the start" : `${words(axis)} of a member` } },
    yaxis: { ...AXIS, title: { text: words(metric) } },
    showlegend: true, legend: { orientation: "h", yanchor: "bottom", y: 1.02, x: 0, font: { size: 12 } }, margin: { l: 60, r: 20, t: 30, b: 45 },
    uirevision: `${metric} ${axis}`,
  }), { ...CONFIG, displayModeBar: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] });
}

function setUpCurves() {
  if (!report.metrics.length) return;
  options("metric", report.metrics.map((name) => [name, words(name)]), report.metric);
  options("axis", report.axes.map((name) => [name, words(name)]), report.axes[0]);
  const sweeps = report.runs.map((run, index) => [index, run]).filter(([, run]) => run.curves && run.curves.configs.length > 1);
  const first = report.runs.length === 1 && sweeps.length ? 0 : "runs";
  options("scope", [["runs", sweeps.length ? "best config of each run" : "every run"], ...sweeps.map(([index, run]) => [index, `configs of ${run.name}`])], first);
  const most = Math.max(0, ...sweeps.map(([, run]) => run.curves.configs.length));
  options("many", [3, 5, 10, 20, 50, most].filter((n, i, all) => n <= most && all.indexOf(n) === i).map((n) => [n, n]), Math.min(5, most));
  for (const id of ["metric", "axis", "scope", "many", "members", "bands"]) at(id).addEventListener("change", drawCurves);
}

// --- sweeps

const sweptRun = () => report.runs[Number(at("sweep-run").value)];

/** An axis of the parallel coordinates: numbers as they are, on a log scale where they span decades, else categories. */
function dimension(name, values) {
  if (values.some((value) => typeof value !== "number")) {
    const kinds = [...new Set(values.map(String))].sort();
    return { label: words(name), values: values.map((v) => kinds.indexOf(String(v))), tickvals: kinds.map((_, i) => i), ticktext: kinds };
  }
  const distinct = [...new Set(values)].sort((a, b) => a - b), low = distinct[0], high = distinct.at(-1);
  const logarithmic = low > 0 && high / low >= 20, scale = logarithmic ? Math.log10 : (v) => v;
  const marks = distinct.length <= 12 ? distinct : Array.from({ length: 6 }, (_, i) => (logarithmic ? low * (high / low) ** (i / 5) : low + ((high - low) * i) / 5));
  return { label: words(name), values: values.map(scale), tickvals: marks.map(scale), ticktext: marks.map((v) => String(Number(v.toPrecision(3)))) };
}

function drawParallel() {
  const run = sweptRun(), configs = run.configs.slice(0, Number(at("sweep-many").value));
  const value = configs.map((c) => c.value);
  const trace = {
    type: "parcoords", labelfont: FONT, tickfont: { ...FONT, size: 11 }, rangefont: { ...FONT, size: 11, color: "rgba(0,0,0,0)" },
    line: { color: value, colorscale: "Viridis", showscale: true, cmin: Math.min(...value), cmax: Math.max(...value), colorbar: { thickness: 12 } },
    dimensions: [...run.swept.map((name) => dimension(name, configs.map((c) => c.hyperparameters[name]))), { label: words(report.metric), values: value }],
  };
  return Plotly.react("parallel", [trace], layout({ height: 340, margin: { l: 70, r: 60, t: 45, b: 25 } }), CONFIG);
}

function drawTwoWay() {
  const run = sweptRun(), across = at("across").value, up = at("up").value;
  const straight = run.two_way.find((t) => t.x === across && t.y === up), turned = run.two_way.find((t) => t.x === up && t.y === across);
  const table = straight || turned;
  if (!table) { // one hyperparameter, or the same twice
    Plotly.purge("two-way");
    at("two-way").textContent = "Choose two different hyperparameters, of a sweep over several.";
    return null;
  }
  if (!at("two-way").data) at("two-way").textContent = "";
  const transposed = table.columns.map((_, c) => table.values.map((row) => row[c]));
  const [x, y, z] = straight ? [table.columns, table.rows, table.values] : [table.rows, table.columns, transposed];
  const cells = x.length * y.length;
  const trace = {
    type: "heatmap", x, y, z, colorscale: "Viridis", xgap: 2, ygap: 2, colorbar: { thickness: 12 }, hoverongaps: false,
    text: z.map((row) => row.map((value) => (value === null ? "" : digits(value)))), texttemplate: cells <= 64 ? "%{text}" : "", hovertemplate: `${across}=%{x}<br>${up}=%{y}<br>%{z:.5g}<extra></extra>`,
  };
  return Plotly.react("two-way", [trace], layout({
    height: 380, xaxis: { ...AXIS, type: "category", title: { text: words(across) } }, yaxis: { ...AXIS, type: "category", title: { text: words(up) } },
  }), CONFIG);
}

function drawImportance() {
  const { names, values } = sweptRun().importance;
  const trace = {
    type: "bar", orientation: "h", x: values.slice().reverse(), y: names.map(words).reverse(), hovertemplate: "%{x:.3f}<extra>%{y}</extra>",
    marker: { color: names.map((name) => (name.startsWith("(") ? "#b9c0ca" : "#1f5fbf")).reverse() },
  };
  return Plotly.react("importance", [trace], layout({ height: 380, xaxis: { ...AXIS, title: { text: "drop of R²" }, rangemode: "tozero" }, yaxis: AXIS }), CONFIG);
}

function fillBest() {
  const run = sweptRun(), table = document.createElement("table"), head = table.insertRow();
  const shown = run.configs.slice(0, Number(at("sweep-many").value)).slice(0, 200);
  for (const name of ["config", ...run.swept.map(words), "IQM", "95% interval", "members"]) {
    const cell = document.createElement("th");
    cell.className = "n"; cell.textContent = name; head.append(cell);
  }
  for (const c of shown) {
    const row = table.insertRow();
    for (const text of [c.config, ...run.swept.map((name) => c.hyperparameters[name]), digits(c.value), `${digits(c.low)} to ${digits(c.high)}`, c.members]) {
      const cell = row.insertCell();
      cell.className = "n"; cell.textContent = text;
    }
  }
  at("best").replaceChildren(table);
}

function drawSweep() {
  const run = sweptRun();
  at("given-up").textContent = run.given_up ? `${run.given_up} configs have no final value: given up, not finished or all members non-finite` : "";
  const names = run.importance.names.filter((name) => run.two_way.some((t) => t.x === name || t.y === name));
  options("across", names.map((name) => [name, words(name)]), names[0]);
  options("up", names.map((name) => [name, words(name)]), names[1]);
  const most = run.configs.length;
  options("sweep-many", [10, 20, 50, 100, 500].filter((n) => n < most).map((n) => [n, `best ${n}`]).concat([[most, `all ${most}`]]), most <= 500 ? most : 500);
  fillBest();
  drawTwoWay();
  drawImportance();
  return drawParallel();
}

/** Whether there is a sweep to draw. */
function setUpSweep() {
  const sweeps = report.runs.map((run, index) => [index, run]).filter(([, run]) => run.importance);
  if (!at("sweep") || !sweeps.length) {
    at("sweep")?.setAttribute("hidden", "");
    return false;
  }
  options("sweep-run", sweeps.map(([index, run]) => [index, run.name]), sweeps[0][0]);
  at("sweep-run").addEventListener("change", drawSweep);
  at("sweep-many").addEventListener("change", () => { drawParallel(); fillBest(); });
  for (const id of ["across", "up"]) at(id).addEventListener("change", drawTwoWay);
  return true;
}

// --- everything

/** Notes the time once the browser has shown what is drawn, unless something has failed. */
function reached(state, text) {
  requestAnimationFrame(() => setTimeout(() => {
    const milliseconds = Math.round(performance.now());
    at("drawn").textContent += ` ${text} after ${milliseconds} ms.`;
    at("drawn").dataset[state] = milliseconds;
    if (document.body.dataset.state !== "failed") document.body.dataset.state = state;
    if (state === "interactive") drawRest();
  }, 0));
}

function drawRest() {
  if (!setUpSweep()) return reached("drawn", "All of it was drawn");
  const events = ["scroll", "resize"];
  const look = () => {
    if (at("sweep").getBoundingClientRect().top > window.innerHeight + 300) return;
    for (const name of events) window.removeEventListener(name, look);
    Promise.resolve(drawSweep()).then(() => reached("drawn", "All of it was drawn"), (error) => fail(String(error)));
  };
  for (const name of events) window.addEventListener(name, look, { passive: true });
  look();
}

setUpCurves();
Promise.all([drawIntervals(), drawCurves()]).then(
  () => reached("interactive", "The page could be used"), (error) => fail(String(error)));

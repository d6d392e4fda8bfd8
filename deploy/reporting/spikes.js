// The raster of one sequence and layer, the differences on it, and what is known of the one that was picked.

const floats = (text) => new Float32Array(bytes(text).buffer);
const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
const MOST = 512; // neurons of a layer that are drawn

class Spikes {
  constructor(section, drawn, causes) {
    this.drawn = drawn;
    this.causes = causes;
    const find = (name) => section.querySelector(`.${name}`);
    this.parts = Object.fromEntries(["sample", "layer", "run", "answers", "raster", "previous", "next", "count", "pick", "around", "root"].map((name) => [name, find(name)]));
    const { sample, layer, run, previous, next, root } = this.parts;
    sample.replaceChildren(...drawn.samples.map((one, place) => option(place, one.sample)));
    layer.replaceChildren(...Object.keys(drawn.neurons).map((name) => option(name, name)));
    run.replaceChildren(...Object.keys(drawn.runs).map((name) => option(name, name)));
    run.disabled = !Object.keys(drawn.runs).length;
    const most = (run) => Math.max(...run.map((one) => one.all));
    const [worst, found] = Object.entries(drawn.runs).sort(([, a], [, b]) => most(b) - most(a))[0] ?? [];
    if (found) { // begin where most differs
      run.value = worst;
      sample.value = found.findIndex((one) => one.all === most(found));
      layer.value = this.layers()[this.differences().layer[0]];
    }
    for (const control of [sample, layer, run]) control.addEventListener("change", () => { this.picked = null; this.show(); });
    previous.addEventListener("click", () => this.step(-1));
    next.addEventListener("click", () => this.step(1));
    root.addEventListener("click", () => this.pick(this.differences().root[this.picked]));
    this.picked = null;
  }

  layers() { return Object.keys(this.drawn.neurons); }
  sample() { return this.drawn.samples[this.parts.sample.value]; }
  differences() { return this.drawn.runs[this.parts.run.value]?.[this.parts.sample.value]; }

  // Indices of the differences in the layer that is shown.
  here() {
    const found = this.differences();
    const layer = this.layers().indexOf(this.parts.layer.value);
    return found ? found.layer.flatMap((one, index) => (one === layer ? [index] : [])) : [];
  }

  // neuron -> step -> 0 or 1
  spikes(layer) {
    const packed = bytes(this.sample().spikes[layer]);
    const [steps, neurons] = [this.drawn.steps, this.drawn.neurons[layer]];
    const rows = Array.from({ length: Math.min(neurons, MOST) }, () => new Uint8Array(steps));
    for (let step = 0; step < steps; step++)
      for (let neuron = 0; neuron < rows.length; neuron++) {
        const bit = step * neurons + neuron;
        rows[neuron][step] = (packed[bit >> 3] >> (7 - (bit & 7))) & 1;
      }
    return rows;
  }

  // The next difference of the sequence in the order of steps, in whatever layer.
  step(by) {
    const size = this.differences().step.length;
    this.pick(this.picked === null ? (by > 0 ? 0 : size - 1) : (this.picked + by + size) % size);
  }

  pick(index) {
    this.picked = index;
    this.parts.layer.value = this.layers()[this.differences().layer[index]];
    this.show();
  }

  show() {
    const [name, found, here] = [this.parts.layer.value, this.differences(), this.here()];
    const { label, answers } = this.sample();
    const told = Object.entries(answers).map(([run, answer]) => `${run} ${answer}`);
    this.parts.answers.textContent = (label === null ? "" : `label ${label}; `) + (told.length ? `answers: ${told.join(", ")}` : "");
    const neurons = this.drawn.neurons[name];
    const data = [{
      type: "heatmap", z: this.spikes(name).map((row) => Array.from(row)), zmin: 0, zmax: 1, showscale: false, hoverinfo: "x+y",
      colorscale: [[0, "rgba(0,0,0,0)"], [1, color("quiet")]],
    }];
    const byCause = new Map();
    for (const index of here) if (found.neuron[index] < MOST) byCause.set(found.cause[index], [...(byCause.get(found.cause[index]) ?? []), index]);
    for (const [cause, indices] of byCause)
      data.push({
        type: "scatter", mode: "markers", name: plain(cause), customdata: indices, hovertemplate: "step %{x}, neuron %{y}<extra></extra>",
        marker: { color: causeColor(cause), size: 6, symbol: indices.map((index) => (found.fired[index] > found.others[index] ? "square" : "square-open")) },
        x: indices.map((index) => found.step[index]), y: indices.map((index) => found.neuron[index]),
      });
    if (this.picked !== null)
      data.push({ type: "scatter", mode: "markers", name: "picked", showlegend: false, hoverinfo: "skip", x: [found.step[this.picked]], y: [found.neuron[this.picked]], marker: { size: 18, symbol: "circle-open", line: { width: 2 }, color: color("ink") } });
    const raster = this.parts.raster;
    draw(raster, {
      data,
      layout: { height: 420, showlegend: byCause.size > 0, dragmode: "zoom", uirevision: `${name} ${this.sample().sample}`, xaxis: axis("step"), yaxis: axis(neurons > MOST ? `the first ${MOST} of ${neurons} neurons` : "neuron") },
    }, "hover");
    if (!this.listening) {
      raster.on("plotly_click", ({ points }) => { const index = points.find((point) => point.customdata !== undefined)?.customdata; if (index !== undefined) this.pick(index); });
      this.listening = true;
    }
    const drawnAll = found ? found.step.length : 0;
    const all = found && found.all > drawnAll ? `; the first ${drawnAll} of this sequence's ${found.all} are drawn` : "";
    this.parts.count.textContent = (found ? `${here.length} differences in this layer, ${drawnAll} in this sequence` : "no run differs") + (this.picked === null ? "" : `, number ${this.picked + 1} picked`) + all;
    for (const button of [this.parts.previous, this.parts.next]) button.disabled = !drawnAll;
    this.explain(found);
  }

  explain(found) {
    const { pick, around, root } = this.parts;
    pick.hidden = this.picked === null;
    if (pick.hidden) return;
    const [index, run] = [this.picked, this.parts.run.value];
    const [cause, step, neuron] = [found.cause[index], found.step[index], found.neuron[index]];
    pick.querySelector("h3").textContent = `${this.parts.layer.value}, neuron ${neuron}, step ${step}`;
    const rows = [
      ["fired", `${run} ${found.fired[index]}, iterative ${found.others[index]}`],
      ["cause", `${cause}. ${this.causes[cause] ?? ""}`],
    ];
    if (cause === "carried")
      rows.push(["root", found.root[index] < 0 ? "not among the differences that are drawn" :
        `the latest of ${found.roots[index]} that can have reached it: ${this.where(found, found.root[index])}`]);
    const known = found.run_margins !== undefined && index < found.run_margins.length;
    if (known) rows.push(["u' - threshold", `${run} ${found.run_margins[index].toPrecision(6)}, iterative ${found.reference_margins[index].toPrecision(6)}, each on its own history, in float64`]);
    else rows.push(["u'", found.run_margins === undefined ? "needs model.nir" : `the page holds it for the first ${found.run_margins.length} differences of this sequence`]);
    pick.querySelector("dl").replaceChildren(...rows.flatMap(([term, text]) => [
      Object.assign(document.createElement("dt"), { textContent: term }), Object.assign(document.createElement("dd"), { textContent: text }),
    ]));
    root.hidden = found.root[index] < 0;
    around.hidden = !known;
    if (known) this.around(found, index, run);
  }

  where(found, index) {
    return `${this.layers()[found.layer[index]]}, neuron ${found.neuron[index]}, step ${found.step[index]} (${found.cause[index]})`;
  }

  around(found, index, run) {
    const width = 2 * this.drawn.around + 1;
    const window = (name) => Array.from(floats(found[name]).subarray(index * width, (index + 1) * width));
    const steps = Array.from({ length: width }, (_, place) => found.step[index] - this.drawn.around + place);
    const line = (name, y, ink, more) => ({ type: "scatter", name: plain(name), x: steps, y, line: { color: ink }, mode: "lines", ...more });
    const [mine, theirs] = [window("run_potentials"), window("reference_potentials")];
    const edges = [window("run_thresholds"), window("reference_thresholds")];
    const fired = (potentials, thresholds, side) => steps.map((step, place) => (this.fired(found, index, side, step) ? potentials[place] : null));
    const same = edges[0].every((edge, place) => edge === edges[1][place] || Number.isNaN(edge));
    const data = [
      line(`u' ${run}`, mine, color("warm")), line("u' iterative", theirs, color("strong")),
      line("threshold", edges[1], color("quiet"), { line: { color: color("quiet"), dash: "dash" } }),
      line(`${run} fires`, fired(mine, edges[0], "run"), color("warm"), { mode: "markers", marker: { size: 10, symbol: "triangle-up", color: color("warm") } }),
      line("iterative fires", fired(theirs, edges[1], "reference"), color("strong"), { mode: "markers", marker: { size: 10, symbol: "triangle-down", color: color("strong") } }),
    ];
    if (!same) data.push(line(`threshold ${run}`, edges[0], color("warm"), { line: { color: color("warm"), dash: "dash" } }));
    draw(this.parts.around, { data, layout: { xaxis: axis("step"), yaxis: axis("u'"), shapes: [{ type: "line", x0: found.step[index], x1: found.step[index], yref: "paper", y0: 0, y1: 1, line: { color: color("line"), width: 2 }, layer: "below" }] } });
  }

  // What a side fired there: the reference's bit, or the difference's where there is one.
  fired(found, picked, side, step) {
    const [layer, neuron] = [found.layer[picked], found.neuron[picked]];
    const index = found.step.findIndex((one, place) => one === step && found.layer[place] === layer && found.neuron[place] === neuron);
    if (index >= 0) return (side === "run" ? found.fired : found.others)[index] > 0;
    if (step < 0 || step >= this.drawn.steps) return false;
    const name = this.layers()[layer];
    const bit = step * this.drawn.neurons[name] + neuron;
    const packed = (this.packed ??= {})[`${this.sample().sample} ${name}`] ??= bytes(this.sample().spikes[name]);
    return ((packed[bit >> 3] >> (7 - (bit & 7))) & 1) === 1;
  }
}

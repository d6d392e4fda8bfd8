// The plots of a run folder's facts (report.schema.json), each as Plotly takes it: {data, layout}.

// Names come from files; Plotly reads markup in text.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const SERIES = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#ee8866"];
const CAUSE_COLORS = {
  carried: "#4aa3df", tie: "#9b7fd1", rounding: "#2aa876", surrogate: "#e8862e", undecided: "#c9a227",
  quantisation: "#d45d9f", saturation: "#a0522d",
};
const causeColor = (cause) => CAUSE_COLORS[cause] ?? "#e0312d"; // a fault

const axis = (title, more = {}) => ({ title: { text: title }, automargin: true, ...more });
const bars = (entries, more = {}) => entries.map(([name, x, y], index) => ({
  type: "bar", name: plain(name), x, y, marker: { color: SERIES[index % SERIES.length] }, ...more,
}));
const words = (counter) => counter.replaceAll("_", " ");

const PLOTS = {
  differences(facts) {
    const entries = [];
    for (const [run, found] of Object.entries(facts.differences))
      for (const [layer, counts] of Object.entries(found.by_step.layers))
        if (counts.some((count) => count)) entries.push([`${run}: ${layer}`, found.by_step.edges.slice(0, -1), counts]);
    return { data: bars(entries), layout: { barmode: "stack", bargap: 0, xaxis: axis("step"), yaxis: axis("spikes that differ") } };
  },
  stretches(facts) {
    const entries = Object.entries(facts.differences).filter(([, found]) => found.stretches.number).map(([run, found]) => [
      run, found.stretches.edges.slice(0, -1).map((edge, index) => {
        const last = found.stretches.edges[index + 1] - 1;
        return edge === last ? `${edge}` : `${edge}–${last}`;
      }), found.stretches.counts,
    ]);
    return { data: bars(entries), layout: { xaxis: axis("steps from first to last difference", { type: "category" }), yaxis: axis("stretches") } };
  },
  margins(facts) {
    const data = [];
    const shapes = [];
    Object.entries(facts.certificate?.arithmetics ?? {}).forEach(([name, said], index) => {
      const sums = new Map();
      let bound = 0;
      for (const layer of Object.values(said.layers)) {
        bound = Math.max(bound, layer.largest_bound);
        for (const [power, count] of Object.entries(layer.histogram))
          if (power !== "zero") sums.set(Number(power), (sums.get(Number(power)) ?? 0) + count);
      }
      const powers = [...sums.keys()].sort((a, b) => a - b);
      const line = SERIES[index % SERIES.length];
      data.push({ type: "scatter", mode: "lines", line: { shape: "hvh", color: line }, name: plain(name), x: powers.map((power) => 2 ** (power - 0.5)), y: powers.map((power) => sums.get(power)) });
      if (bound > 0) {
        shapes.push({ type: "line", x0: bound, x1: bound, yref: "paper", y0: 0, y1: 1, line: { color: line, dash: "dot" } });
        data.push({ type: "scatter", mode: "lines", line: { color: line, dash: "dot" }, name: `${plain(name)}: largest bound`, x: [bound], y: [1] });
      }
    });
    return { data, layout: { shapes, xaxis: axis("|u' - threshold|", { type: "log", dtick: 1, exponentformat: "power" }), yaxis: axis("decisions", { type: "log", dtick: 1, exponentformat: "power" }) } };
  },
  rates(facts) {
    const shown = Object.entries(facts.rates).filter(([run]) => ["parallel", "iterative"].includes(run));
    const entries = (shown.length ? shown : Object.entries(facts.rates).slice(0, 1)).map(([run, rates]) => [
      run, Object.keys(rates).map(plain), Object.values(rates).map((rate) => 100 * rate),
    ]);
    return { data: bars(entries), layout: { barmode: "group", xaxis: axis("", { type: "category" }), yaxis: axis("neurons that fire in a step, %") } };
  },
  events(facts) {
    const layers = Object.keys(facts.events);
    const counters = ["synaptic_acs", "effective_macs", "state_macs"];
    const entries = counters.map((counter) => [words(counter), layers.map(plain), layers.map((layer) => facts.events[layer][counter] || null)]);
    return { data: bars(entries), layout: { barmode: "group", xaxis: axis("", { type: "category" }), yaxis: axis("events of one sequence", { type: "log", dtick: 1, exponentformat: "power" }) } };
  },
  events_by_step(facts) {
    const { edges, counters } = facts.events_by_step;
    const data = Object.entries(counters).filter(([, values]) => values.some((value) => value)).map(([counter, values], index) => ({
      type: "scatter", mode: "lines", name: words(counter), line: { color: SERIES[index % SERIES.length], shape: "hv" },
      x: edges.slice(0, -1), y: values.map((value, piece) => value / (edges[piece + 1] - edges[piece])),
    }));
    return { data, layout: { xaxis: axis("step"), yaxis: axis("events of one step", { type: "log", dtick: 1, exponentformat: "power" }) } };
  },
  anytime(facts) {
    return {
      data: [{ type: "scatter", mode: "lines", line: { color: SERIES[0] }, name: "right", x: facts.anytime.steps, y: facts.anytime.right.map((share) => 100 * share) }],
      layout: { showlegend: false, xaxis: axis("steps seen"), yaxis: axis("right answers, %", { rangemode: "tozero" }) },
    };
  },
  anytime_events(facts) {
    const data = Object.entries(facts.anytime.events).map(([counter, events], index) => ({
      type: "scatter", mode: "lines", name: words(counter), line: { color: SERIES[index] }, x: events, y: facts.anytime.right.map((share) => 100 * share),
    }));
    return { data, layout: { xaxis: axis("events of one sequence by then"), yaxis: axis("right answers, %", { rangemode: "tozero" }) } };
  },
  modes(facts) {
    const data = Object.entries(facts.modes).map(([layer, { decay, turn }], index) => ({
      type: "scatter", mode: "markers", name: plain(layer), marker: { size: 4, opacity: 0.6, color: SERIES[index % SERIES.length] },
      x: decay.map((value) => -1 / Math.log(value)), y: turn.map((value) => Math.abs(value)),
    }));
    return { data, layout: { xaxis: axis("time constant, steps", { type: "log", dtick: 1, exponentformat: "power" }), yaxis: axis("turn in a step, radians", { type: "log", dtick: 1, exponentformat: "power" }) } };
  },
  thresholds(facts) {
    const data = Object.entries(facts.thresholds).map(([layer, values], index) => ({
      type: "histogram", name: plain(layer), x: values, opacity: 0.7, marker: { color: SERIES[index % SERIES.length] },
    }));
    return { data, layout: { barmode: "overlay", xaxis: axis("threshold"), yaxis: axis("neurons") } };
  },
  training(facts) {
    const line = (key, name, scale, index) => ({
      type: "scatter", mode: "lines+markers", name, line: { color: SERIES[index] },
      x: facts.training.map((epoch, place) => epoch.epoch ?? place + 1), y: facts.training.map((epoch) => epoch[key] == null ? null : scale * epoch[key]),
    });
    return { data: [line("accuracy", "accuracy, %", 100, 0), line("spiking_rate", "spiking rate, %", 100, 1)], layout: { xaxis: axis("epoch"), yaxis: axis("%", { rangemode: "tozero" }) } };
  },
};

// Draw into an element, in the colours of the page; again when these change.
function draw(element, { data, layout }, bar = false) {
  const line = color("line");
  const look = { gridcolor: line, zerolinecolor: line, linecolor: line };
  const whole = {
    margin: { l: 56, r: 12, t: 8, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("ink"), size: 12, family: "system-ui, sans-serif" }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    showlegend: data.length > 1, hovermode: "closest", ...layout,
  };
  whole.xaxis = { ...look, ...whole.xaxis };
  whole.yaxis = { ...look, ...whole.yaxis };
  return Plotly.react(element, data, whole, { responsive: true, displaylogo: false, displayModeBar: bar, modeBarButtonsToRemove: ["lasso2d", "select2d", "toImage"] });
}

// Draws what a service does under load into the tab "Server" of locust's web UI, as long as that is the one shown.
// Locust's page is React's: this keeps to one element of its own, and puts that in place again whenever it is gone.
(() => {
  "use strict";

  const TITLE = "Server";
  const PERIOD = 1000; // milliseconds between two questions
  const SETTLING = 15; // seconds in which earlier points may still change: workers report late
  const SHOWN = 3600; // points
  const HEIGHT = 190; // pixels of a chart

  // Column, what the server calls it, and whether it is rounded.
  const COLUMNS = [
    ["Connections", "connections"],
    ["Accepted", "accepted"],
    ["Messages in/s", "messages_read_per_s"],
    ["Messages out/s", "messages_written_per_s"],
    ["Messages in", "messages_read"],
    ["Messages out", "messages_written"],
    ["Bytes buffered", "buffered"],
    ["at most", "buffered_peak"],
    ["Drains", "drains"],
    ["Slow consumers", "slow_consumers"],
    ["Timeouts", "timeouts"],
    ["Errors", "errors"],
  ];
  const CHARTS = [
    ["Messages per second", [
      ["server, in", "messages_read_per_s", "#1976d2"],
      ["server, out", "messages_written_per_s", "#00b0a0"],
      ["clients", "client_messages_per_s", "#ef6c00"],
    ]],
    ["Connections", [["open", "connections", "#1976d2"]]],
    ["Bytes buffered by the server", [["bytes", "buffered", "#8e44ad"]]],
    ["Since the test began", [
      ["drains", "drains", "#1976d2"],
      ["slow consumers", "slow_consumers", "#ef6c00"],
      ["errors", "errors", "#d32f2f"],
    ]],
  ];
  const NAMES = ["time", ...new Set(CHARTS.flatMap(([, lines]) => lines.map(([, name]) => name)))];

  const points = Object.fromEntries(NAMES.map((name) => [name, []]));
  const number = (value) => (value === null || value === undefined ? "" : Math.round(value).toLocaleString("en"));

  const short = new Intl.NumberFormat("en", { notation: "compact" }).format;

  function element(tag, parent, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    parent?.append(made);
    return made;
  }

  const section = element("section");
  section.id = "greensock";
  const state = element("p", section, "state");
  const table = element("table", element("div", section, "table"));
  const heading = element("tr", element("thead", table));
  element("th", heading, "", "Server");
  for (const [title] of COLUMNS) element("th", heading, "", title);
  const body = element("tbody", table);
  const charts = element("div", section, "charts");
  const plots = [];

  // -- numbers ------------------------------------------------------------------------------------------

  function keep(fresh) {
    const first = fresh.time.length ? fresh.time[0] : Infinity;
    const kept = points.time.findIndex((time) => time >= first);
    for (const name of NAMES) {
      if (kept >= 0) points[name].length = kept;
      points[name].push(...fresh[name]);
      if (points[name].length > SHOWN) points[name].splice(0, points[name].length - SHOWN);
    }
  }

  function row(cells) {
    const line = element("tr", body);
    for (const cell of cells) element("td", line, "", cell);
  }

  function show(data) {
    state.className = data.problem ? "state problem" : "state";
    state.textContent = data.problem ?? `Asked every second at ${data.endpoint}. Totals are since the test began.`;
    body.replaceChildren();
    for (const server of data.servers) row([server.url, ...COLUMNS.map(([, name]) => number(server[name]))]);
    const clients = { messages_read_per_s: data.client_messages_per_s };
    row(["clients, by locust's count", ...COLUMNS.map(([, name]) => number(clients[name]))]);
    for (const [plot, lines] of plots) plot.setData([points.time, ...lines.map(([, name]) => points[name])]);
  }

  async function ask() {
    const last = points.time.length ? points.time[points.time.length - 1] - SETTLING : 0;
    try {
      const response = await fetch(`./greensock/data?since=${last}`);
      if (!response.ok) throw new Error(`locust answers ${response.status}`);
      const data = await response.json();
      keep(data.points);
      if (section.isConnected) show(data);
    } catch (error) {
      state.className = "state problem";
      state.textContent = `No numbers: ${error.message}`;
    }
    setTimeout(ask, PERIOD);
  }

  // -- charts -------------------------------------------------------------------------------------------

  const ink = () => getComputedStyle(section).color;
  const grid = { stroke: "rgba(128, 128, 128, 0.2)", width: 1 };

  function width() {
    return charts.firstElementChild?.clientWidth || 600;
  }

  function draw() {
    for (const [title, lines] of CHARTS) {
      const place = element("div", charts, "chart");
      const options = {
        title,
        width: width(),
        height: HEIGHT,
        legend: { live: true },
        scales: { y: { range: (plot, least, most) => [0, Math.max(most * 1.1, 1)] } },
        axes: [
          { stroke: ink, grid, space: 90, values: "{HH}:{mm}:{ss}" },
          { stroke: ink, grid, size: 60, values: (plot, ticks) => ticks.map(short) },
        ],
        series: [
          { value: "{HH}:{mm}:{ss}" },
          ...lines.map(([label, , stroke]) => ({
            label,
            stroke,
            width: 2,
            spanGaps: false,
            value: (plot, value) => (value === null ? "--" : number(value)),
          })),
        ],
      };
      plots.push([new uPlot(options, [points.time, ...lines.map(([, name]) => points[name])], place), lines]);
    }
  }

  function fit() {
    for (const [plot] of plots) plot.setSize({ width: width(), height: HEIGHT });
  }

  // -- the tab ------------------------------------------------------------------------------------------

  function place() {
    const tab = document.querySelector('[role="tab"][aria-selected="true"]');
    if (tab?.textContent.trim() !== TITLE) {
      section.remove();
      return;
    }
    const container = tab.closest(".MuiContainer-root") ?? document.body;
    if (section.parentElement === container) return;
    container.append(section);
    if (plots.length === 0) draw();
    fit();
  }

  setInterval(place, 200);
  document.addEventListener("click", () => setTimeout(place));
  window.addEventListener("resize", fit);
  ask();
})();

(() => {
  "use strict";
  const BUTTONS = ["zoomIn2d", "zoomOut2d", "resetScale2d"];
  const CONFIG = { responsive: true, displayModeBar: true, displaylogo: false, showTips: false, displayNotifier: false, modeBarButtons: [BUTTONS] };
  const coarse = matchMedia("(pointer: coarse)"), dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new WeakMap(); // figure -> what it shows: address, tag, JSON text
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // "var(--ink)" is a colour of the page, light or dark
  function paint(part) {
    for (const [key, value] of Object.entries(part)) {
      if (typeof value === "string" && key.endsWith("color") && value.startsWith("var(")) part[key] = css(value.slice(4, -1));
      else if (value && typeof value === "object" && !(Array.isArray(value) && typeof value[0] !== "object")) paint(value);
    }
  }
  // what cells of a map say, put together here of the number of a word and a value: the answer stays small
  function say(trace) {
    const { words, values } = trace.meta ?? {};
    if (!words) return;
    const cell = (z, value) => (z === null ? "" : value === null ? words[z] : `${words[z]}, ${value}`);
    trace.text = trace.z.map((row, r) => row.map((z, c) => cell(z, values[r][c])));
  }
  function themed(layout) {
    const quiet = css("--quiet"), grid = css("--grid"), clear = "rgba(0, 0, 0, 0)";
    const axes = Object.fromEntries(
      Object.keys({ xaxis: 0, yaxis: 0, ...layout }).filter((key) => /^[xy]axis\d*$/.test(key)).map((key) => [
        key,
        // other forms of exponents are drawn with style attributes, which our policy forbids
        { gridcolor: grid, zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true, exponentformat: "e", ...layout[key] },
      ]),
    );
    return {
      autosize: true, height: 320, paper_bgcolor: clear, plot_bgcolor: clear, dragmode: coarse.matches ? false : "zoom",
      font: { color: css("--ink"), family: getComputedStyle(document.body).fontFamily, size: 12 },
      hoverlabel: { bgcolor: css("--card"), bordercolor: quiet, font: { color: css("--ink") }, align: "left" },
      modebar: { bgcolor: clear, color: quiet, activecolor: css("--link") },
      margin: { l: 10, r: 16, t: 32, b: 10 },
      ...layout, ...axes,
      legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", ...layout.legend },
    };
  }
  async function put(figure, text) {
    const { data, layout, words } = JSON.parse(text), said = figure.querySelector("p");
    let place = figure.querySelector(".drawn");
    if (data.length) {
      if (!place) {
        place = document.createElement("div");
        place.className = "drawn";
        said.before(place);
        const opened = (event) => {
          const [point] = event.points, opens = point.data.meta?.opens;
          if (opens && typeof point.customdata === "string") location.href = opens + encodeURIComponent(point.customdata);
        };
        await Plotly.newPlot(place, [], {}, CONFIG);
        place.on("plotly_click", opened);
      }
      data.forEach(say);
      paint(data);
      paint(layout);
      await Plotly.react(place, data, themed(layout), CONFIG);
    } else if (place) {
      Plotly.purge(place);
      place.remove();
    }
    said.textContent = words ?? "";
    said.hidden = !words;
  }
  async function fetched(figure) {
    const address = figure.dataset.figure, known = drawn.get(figure);
    const tag = known?.address === address ? known.tag : null;
    const answer = await fetch(address, tag ? { headers: { "If-None-Match": tag } } : {});
    if (!answer.ok) return; // what is drawn stays; the page itself says what is wrong
    const text = await answer.text();
    drawn.set(figure, { address, tag: answer.headers.get("ETag"), text });
    await put(figure, text);
  }
  const busy = new Map(); // figure -> whether it is asked for again meanwhile
  async function draw(figure) {
    if (busy.has(figure)) return void busy.set(figure, true);
    do {
      busy.set(figure, false);
      try {
        await fetched(figure);
      } catch {
        // the server is away, which page.js says
      }
    } while (busy.get(figure));
    busy.delete(figure);
  }
  const all = () => document.querySelectorAll("[data-figure]");
  const anew = () => all().forEach((figure) => drawn.has(figure) && put(figure, drawn.get(figure).text));
  if (!window.Plotly) return;
  all().forEach(draw);
  document.addEventListener("fresh", () => all().forEach(draw));
  for (const query of [coarse, dark]) query.addEventListener("change", anew);
})();

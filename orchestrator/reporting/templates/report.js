(() => {
  "use strict";
  const documents = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const [ink, grid, card] = ["--ink", "--grid", "--card"].map((name) => style.getPropertyValue(name).trim());
    return { ink, grid, card };
  }

  function themed(layout) {
    const { ink, grid, card } = colours();
    const result = structuredClone(layout);
    Object.assign(result, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" });
    result.font = { color: ink, size: 12, family: getComputedStyle(document.body).fontFamily };
    for (const axis of ["xaxis", "yaxis"]) {
      result[axis] = { gridcolor: grid, linecolor: grid, ...result[axis] };
    }
    for (const shape of result.shapes || []) {
      if (shape.type === "line") shape.line = { color: ink, width: 1 };
    }
    for (const label of result.annotations || []) label.bgcolor = card; // readable across the zero line
    if (touch) result.dragmode = false;
    return result;
  }

  function open(event) {
    const target = event.points[0] && event.points[0].customdata;
    if (typeof target === "string") location.href = target;
  }

  for (const place of document.querySelectorAll(".chart")) {
    const { data, layout } = documents[place.id];
    Plotly.newPlot(place, data, themed(layout), { responsive: true, displaylogo: false, displayModeBar: false });
    place.on("plotly_click", open);
  }
  dark.addEventListener("change", () => {
    for (const place of document.querySelectorAll(".chart")) {
      Plotly.react(place, documents[place.id].data, themed(documents[place.id].layout));
    }
  });
})();

"use strict";
// Text of a figure takes the colour of the page by its style sheet, so that light and dark need no drawing again.
const drawn = JSON.parse(document.getElementById("figures").textContent).map(({ name, data, layout }) => {
  const plot = document.getElementById(name);
  Plotly.newPlot(plot, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  return plot;
});
// A sheet of paper is narrower than most screens.
addEventListener("beforeprint", () => drawn.forEach((plot) => Plotly.relayout(plot, { width: 660 })));
addEventListener("afterprint", () => drawn.forEach((plot) => Plotly.relayout(plot, { width: null, autosize: true })));

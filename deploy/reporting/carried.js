// What every page does first: unpack what it carries, and take the colours of the system.

const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

async function unpacked(id) {
  const packed = bytes(document.getElementById(id).textContent);
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// Plotly is there when this resolves, to the payload.
async function carried() {
  if (matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.dataset.theme = "dark";
  const script = document.createElement("script");
  script.textContent = await unpacked("plotly");
  document.head.append(script);
  return JSON.parse(await unpacked("payload"));
}

// The page has been drawn; ``redraw`` when its colours change.
function themed(redraw) {
  const { dataset } = document.documentElement;
  document.getElementById("theme").addEventListener("click", () => {
    dataset.theme = dataset.theme === "dark" ? "light" : "dark";
    redraw();
  });
  dataset.ready = "yes";
}

// A slice with a mask on it. One byte a pixel goes to and from the kernel, after each stroke.

const EDGE = 560; // pixels of the screen, about
const COLOUR = [213, 94, 0, 120];
const HELP =
  "Draw with the mouse, a pen or a finger. By keyboard: arrows move the brush (with Shift by ten), " +
  "Space draws, E changes between drawing and erasing, + and - change the brush, U takes the last stroke back.";

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function render({ model, el }) {
  const width = model.get("width");
  const height = model.get("height");
  const zoom = Math.max(1, Math.round(EDGE / Math.max(width, height)));
  let mask = read();
  let past = [];
  let erasing = false;
  let radius = Math.max(1, Math.round(Math.max(width, height) / 60));
  let cursor = [width >> 1, height >> 1];
  let last = null;

  const canvas = element("canvas", { width: width * zoom, height: height * zoom, tabIndex: 0 });
  canvas.style.cssText = "touch-action: none; cursor: crosshair; max-width: 100%; image-rendering: pixelated";
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `Slice to draw a mask on. ${HELP}`);
  const tool = element("button", { type: "button" });
  const undo = element("button", { type: "button", textContent: "Undo" });
  const size = element("input", { type: "range", min: 0, max: 30, value: radius });
  const state = element("span", { role: "status" });
  const bar = element("div", {}, tool, element("label", {}, "Brush ", size), undo, state);
  bar.style.cssText = "display: flex; gap: 0.8em; align-items: center; flex-wrap: wrap; margin: 0.4em 0";
  el.append(
    element("div", { textContent: model.get("title") }),
    bar,
    canvas,
    element("div", { textContent: HELP, style: "font-size: smaller; max-width: 50em" }),
  );

  const context = canvas.getContext("2d");
  const layer = new OffscreenCanvas(width, height);
  const picture = new Image();
  picture.onload = paint;
  picture.src = URL.createObjectURL(new Blob([model.get("_picture")], { type: "image/png" }));

  function read() {
    const view = model.get("_drawn");
    return new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  }

  function paint() {
    const pixels = new ImageData(width, height);
    mask.forEach((value, place) => value && pixels.data.set(COLOUR, 4 * place));
    layer.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    context.drawImage(layer, 0, 0, canvas.width, canvas.height);
    context.strokeStyle = erasing ? "#56b4e9" : "#ffffff";
    context.beginPath();
    context.arc((cursor[0] + 0.5) * zoom, (cursor[1] + 0.5) * zoom, (radius + 0.5) * zoom, 0, 2 * Math.PI);
    context.stroke();
    const area = mask.reduce((sum, value) => sum + value, 0);
    tool.textContent = erasing ? "Erasing" : "Drawing";
    tool.setAttribute("aria-label", erasing ? "Erasing; change to drawing" : "Drawing; change to erasing");
    state.textContent = `${area} pixels drawn, brush at ${cursor[0]}, ${cursor[1]}`;
    undo.disabled = past.length === 0;
  }

  function dab([x, y]) {
    for (let j = Math.max(0, y - radius); j <= Math.min(height - 1, y + radius); j++)
      for (let i = Math.max(0, x - radius); i <= Math.min(width - 1, x + radius); i++)
        if ((i - x) ** 2 + (j - y) ** 2 <= (radius + 0.5) ** 2) mask[j * width + i] = erasing ? 0 : 1;
  }

  function line(from, to) {
    const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
    for (let step = 0; step <= steps; step++)
      dab(from.map((start, axis) => Math.round(start + ((to[axis] - start) * step) / steps)));
  }

  function remember() {
    past = [...past.slice(-49), mask.slice()];
  }

  function send() {
    model.set("_drawn", new DataView(mask.slice().buffer));
    model.save_changes();
    paint();
  }

  function change() {
    erasing = !erasing;
    paint();
  }

  function back() {
    if (past.length === 0) return;
    mask = past.pop();
    send();
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * height);
    return [Math.min(Math.max(x, 0), width - 1), Math.min(Math.max(y, 0), height - 1)];
  }

  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    remember();
    cursor = last = place(event);
    dab(cursor);
    paint();
  };
  canvas.onpointermove = (event) => {
    cursor = place(event);
    if (last) {
      line(last, cursor);
      last = cursor;
    }
    paint();
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (last) send();
    last = null;
  };
  canvas.onkeydown = (event) => {
    const far = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    const brushes = { "+": 1, "-": -1 };
    if (moves[event.key]) {
      const limit = [width - 1, height - 1];
      cursor = cursor.map((one, axis) => Math.min(Math.max(one + moves[event.key][axis], 0), limit[axis]));
    } else if (brushes[event.key]) {
      radius = Math.min(Math.max(radius + brushes[event.key], 0), 30);
      size.value = radius;
    } else if (event.key === " ") {
      remember();
      dab(cursor);
      send();
    } else if (event.key === "e" || event.key === "E") change();
    else if (event.key === "u" || event.key === "U") back();
    else return;
    event.preventDefault();
    event.stopPropagation(); // these keys mean something else to the notebook
    paint();
  };
  tool.onclick = change;
  undo.onclick = back;
  size.oninput = () => {
    radius = Number(size.value);
    paint();
  };
  const renew = () => {
    mask = read();
    paint();
  };
  model.on("change:_drawn", renew);
  return () => model.off("change:_drawn", renew);
}

export default { render };

// The raster of a report: zoomed with wheel, drag and keys, filtered by layer, class and task. It needs nothing but the
// page that it stands in; raster.py writes the elements and data it starts from.
(() => {
  "use strict";
  const MARGIN = { left: 190, right: 12, top: 40, bottom: 40 };
  const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#767676"];
  const INK = "#1c2127";
  const SOFT = "#767676";
  const FEWEST_ROWS = 4;

  const root = document.getElementById("raster");
  const data = JSON.parse(document.getElementById("raster-data").textContent);
  const canvas = root.querySelector("canvas");
  const status = root.querySelector("output");
  const pointed = root.querySelector(".pointed");
  // Images without classes are not chosen by them.
  const filters = ["layer", "class", "task"].map((n) => [n, document.getElementById(`raster-${n}`)]);
  const choice = Object.fromEntries(filters.filter(([, element]) => element));
  const context = canvas.getContext("2d");
  const spikes = decode(data);
  let shown; // what the filters leave: columns of steps, rows of neurons
  let view; // what part of it is seen: { x0, x1 } in steps, { y0, y1 } in rows
  let drag = null;

  // The spikes' places among all steps and neurons, rising; each is given as the distance from the one before it, in
  // groups of seven bits with the lowest first, the eighth bit saying that another group follows.
  function decode({ gaps, neurons, spikes: count }) {
    const bytes = atob(gaps);
    const slot = new Uint32Array(count);
    const unit = new Uint32Array(count);
    let place = -1;
    for (let k = 0, at = 0; k < count; k++) {
      let gap = 0;
      for (let scale = 1, more = true; more; scale *= 128) {
        const byte = bytes.charCodeAt(at++);
        gap += (byte & 127) * scale;
        more = byte > 127;
      }
      place += gap + 1;
      slot[k] = Math.floor(place / neurons);
      unit[k] = place - slot[k] * neurons;
    }
    return { slot, unit, count };
  }

  // Column of every step and row of every neuron, -1 where a filter leaves it out.
  function filter() {
    const chosen = Object.fromEntries(Object.entries(choice).map(([n, e]) => [n, e.value]));
    const { layer, class: label = "", task = "" } = chosen;
    const columns = new Int32Array(data.images.length * data.steps).fill(-1);
    const rows = new Int32Array(data.neurons).fill(-1);
    const images = [];
    const layers = [];
    data.images.forEach((image, k) => {
      if ((label !== "" && String(image.label) !== label) || (task !== "" && String(image.task) !== task)) return;
      for (let t = 0; t < data.steps; t++) columns[k * data.steps + t] = images.length * data.steps + t;
      images.push(image);
    });
    let first = 0;
    let height = 0;
    data.layers.forEach((each, k) => {
      if (layer === "" || layer === String(k)) {
        for (let n = 0; n < each.neurons; n++) rows[first + n] = height + n;
        layers.push({ ...each, start: height, colour: COLOURS[k % COLOURS.length] });
        height += each.neurons;
      }
      first += each.neurons;
    });
    shown = { columns, rows, images, layers, width: images.length * data.steps, height };
    everything();
  }

  function everything() {
    view = { x0: 0, x1: shown.width, y0: 0, y1: shown.height };
    draw();
  }

  // A range of `length`, at least `least` and at most `all` long, moved to lie between 0 and `all`.
  function within(start, length, least, all) {
    const size = Math.min(Math.max(length, Math.min(least, all)), all);
    const from = Math.min(Math.max(start, 0), all - size);
    return [from, from + size];
  }

  function look(x0, width, y0, height) {
    [view.x0, view.x1] = within(x0, width, 1, shown.width);
    [view.y0, view.y1] = within(y0, height, FEWEST_ROWS, shown.height);
    draw();
  }

  // Shrink what is seen by the factors fx and fy around the point (x, y), each from 0 to 1 over the plot.
  function zoom(fx, fy, x = 0.5, y = 0.5) {
    const [width, height] = [view.x1 - view.x0, view.y1 - view.y0];
    look(view.x0 + x * width * (1 - fx), width * fx, view.y0 + y * height * (1 - fy), height * fy);
  }

  function pan(dx, dy) {
    const [width, height] = [view.x1 - view.x0, view.y1 - view.y0];
    look(view.x0 + dx * width, width, view.y0 + dy * height, height);
  }

  function area() {
    const { width, height } = canvas.getBoundingClientRect();
    return { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  }

  function draw() {
    const box = canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, box.width, box.height);
    const { width, height } = area();
    const scale = { x: width / (view.x1 - view.x0), y: height / (view.y1 - view.y0) };
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, MARGIN.top, width, height);
    context.clip();
    const marks = drawMarks(scale);
    context.restore();
    drawLayers(scale, height);
    drawImages(scale, width, height);
    drawTime(scale, width, height);
    context.strokeStyle = INK;
    context.strokeRect(MARGIN.left + 0.5, MARGIN.top + 0.5, width - 1, height - 1);
    if (drag) drawDrag();
    say(marks);
  }

  function drawMarks(scale) {
    const mark = { width: Math.max(1, Math.min(0.5 * scale.x, 4)), height: Math.max(1, 0.85 * scale.y) };
    let marks = 0;
    let colour = null;
    // Where many neurons share a pixel, marks let through what lies under them: darker is more.
    context.globalAlpha = Math.min(1, Math.max(0.1, 4 * scale.y));
    const ofRow = new Uint8Array(shown.height);
    shown.layers.forEach((each, k) => ofRow.fill(k, each.start, each.start + each.neurons));
    for (let k = 0; k < spikes.count; k++) {
      const column = shown.columns[spikes.slot[k]];
      const row = shown.rows[spikes.unit[k]];
      // A mark stands in the middle of its step and of its row.
      if (column < 0 || row < 0 || column + 0.5 < view.x0 || column + 0.5 > view.x1) continue;
      if (row + 0.5 < view.y0 || row + 0.5 > view.y1) continue;
      marks++;
      if (colour !== shown.layers[ofRow[row]].colour) {
        colour = shown.layers[ofRow[row]].colour;
        context.fillStyle = colour;
      }
      const x = MARGIN.left + (column + 0.5 - view.x0) * scale.x;
      const y = MARGIN.top + (row + 0.5 - view.y0) * scale.y;
      context.fillRect(x - mark.width / 2, y - mark.height / 2, mark.width, mark.height);
    }
    return marks;
  }

  function line(x0, y0, x1, y1, colour, dash = []) {
    context.strokeStyle = colour;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
    context.setLineDash([]);
  }

  function write(text, x, y, align, colour = INK, size = 12, room = undefined) {
    context.font = `${size}px system-ui, sans-serif`;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.fillStyle = colour;
    context.fillText(text, x, y, room);
  }

  function drawLayers(scale, height) {
    for (const each of shown.layers) {
      const top = Math.max(each.start, view.y0);
      const bottom = Math.min(each.start + each.neurons, view.y1);
      if (bottom <= top) continue;
      const [from, to] = [top, bottom].map((row) => MARGIN.top + (row - view.y0) * scale.y);
      context.fillStyle = each.colour;
      context.fillRect(MARGIN.left - 6, from, 5, to - from);
      if (each.start > view.y0) line(MARGIN.left - 6, from, MARGIN.left + area().width, from, SOFT);
      if (to - from < 13) continue;
      write(each.name, MARGIN.left - 12, (from + to) / 2, "right", INK, 12, MARGIN.left - 16);
      if (to - from < 60) continue;
      const [first, last] = [Math.ceil(top) - each.start, Math.floor(bottom) - each.start - 1];
      write(`neuron ${first * each.every}`, MARGIN.left - 12, from + 8, "right", SOFT, 10);
      write(`neuron ${last * each.every}`, MARGIN.left - 12, to - 8, "right", SOFT, 10);
    }
  }

  function drawImages(scale, width, height) {
    shown.images.forEach((image, k) => {
      const [from, to] = [k * data.steps, (k + 1) * data.steps].map((s) => MARGIN.left + (s - view.x0) * scale.x);
      const [left, right] = [Math.max(from, MARGIN.left), Math.min(to, MARGIN.left + width)];
      if (right <= left) return;
      if (from > MARGIN.left) line(from, MARGIN.top - 30, from, MARGIN.top + height, "#BBBBBB", [2, 2]);
      const room = right - left - 4;
      if (room < 24) return;
      const text = room > 110 ? `class ${image.class} (task ${image.task})` : image.class;
      if (image.class !== undefined) write(text, (left + right) / 2, MARGIN.top - 22, "center", INK, 11, room);
      if (room > 60) write(`image ${image.number}`, (left + right) / 2, MARGIN.top - 9, "center", SOFT, 10, room);
    });
  }

  function drawTime(scale, width, height) {
    const span = view.x1 - view.x0;
    const raw = Math.max(1, span / 10);
    const power = 10 ** Math.floor(Math.log10(raw));
    const every = Math.max(1, [1, 2, 5, 10].find((f) => f * power >= raw) * power);
    for (let step = Math.ceil(view.x0 / every) * every; step < view.x1; step += every) {
      const x = MARGIN.left + (step + 0.5 - view.x0) * scale.x;
      if (x > MARGIN.left + width) break;
      line(x, MARGIN.top + height, x, MARGIN.top + height + 5, INK);
      write(ms(step), x, MARGIN.top + height + 13, "center", INK, 11);
    }
    write("time (ms)", MARGIN.left + width / 2, MARGIN.top + height + 29, "center");
  }

  function ms(step, digits = 6) {
    return String(Number((step * data.dt_ms).toPrecision(digits)));
  }

  function drawDrag() {
    context.fillStyle = "rgba(0, 114, 178, 0.15)";
    context.strokeStyle = "#0072B2";
    const [x, y, w, h] = [drag.x, drag.y, drag.toX - drag.x, drag.toY - drag.y];
    context.fillRect(x, y, w, h);
    context.strokeRect(x, y, w, h);
  }

  function say(marks) {
    const images = Math.ceil(view.x1 / data.steps) - Math.floor(view.x0 / data.steps);
    const rows = Math.round(view.y1) - Math.round(view.y0);
    status.textContent =
      `${marks.toLocaleString("en")} of ${spikes.count.toLocaleString("en")} spikes, ${rows.toLocaleString("en")} ` +
      `neurons, ${images.toLocaleString("en")} images, ${ms(view.x0, 4)} to ${ms(view.x1, 4)} ms`;
    const state = { marks, x0: view.x0 * data.dt_ms, x1: view.x1 * data.dt_ms, y0: view.y0, y1: view.y1 };
    for (const [name, value] of Object.entries(state)) root.dataset[name] = value;
  }

  // The pointer's place: in pixels of the canvas, and from 0 to 1 over the plot.
  function place(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const { width, height } = area();
    const part = (v, margin, size) => Math.min(Math.max((v - margin) / size, 0), 1);
    return { x, y, u: part(x, MARGIN.left, width), v: part(y, MARGIN.top, height) };
  }

  function name(event) {
    const { u, v } = place(event);
    const step = Math.floor(view.x0 + u * (view.x1 - view.x0));
    const row = Math.floor(view.y0 + v * (view.y1 - view.y0));
    const image = shown.images[Math.floor(step / data.steps)];
    const layer = shown.layers.find((each) => row >= each.start && row < each.start + each.neurons);
    if (!image || !layer) return;
    pointed.textContent =
      `${layer.name}, neuron ${(row - layer.start) * layer.every}; image ${image.number}` +
      `${image.class === undefined ? "" : ` (class ${image.class}, answer ${image.answer})`}, step ${step % data.steps}`;
  }

  canvas.addEventListener("wheel", (event) => {
    // The page scrolls on until the raster was clicked into.
    if (document.activeElement !== canvas) return;
    event.preventDefault();
    const { u, v } = place(event);
    const factor = event.deltaY < 0 ? 0.8 : 1.25;
    zoom(factor, event.shiftKey ? 1 : factor, u, v);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    const { x, y, u, v } = place(event);
    drag = { x, y, u, v, toX: x, toY: y };
  });
  canvas.addEventListener("pointermove", (event) => {
    name(event);
    if (!drag) return;
    ({ x: drag.toX, y: drag.toY } = place(event));
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { x, y, u, v } = drag;
    const end = place(event);
    drag = null;
    // A stroke along one axis zooms this axis alone.
    const [alongX, alongY] = [Math.abs(end.x - x) > 8, Math.abs(end.y - y) > 8];
    if (!alongX && !alongY) return draw();
    const [width, height] = [view.x1 - view.x0, view.y1 - view.y0];
    const [u0, u1] = alongX ? [Math.min(u, end.u), Math.max(u, end.u)] : [0, 1];
    const [v0, v1] = alongY ? [Math.min(v, end.v), Math.max(v, end.v)] : [0, 1];
    look(view.x0 + u0 * width, (u1 - u0) * width, view.y0 + v0 * height, (v1 - v0) * height);
  });
  canvas.addEventListener("pointercancel", () => {
    drag = null;
    draw();
  });
  canvas.addEventListener("dblclick", everything);
  const keys = {
    "+": () => zoom(0.8, 0.8), "=": () => zoom(0.8, 0.8), "-": () => zoom(1.25, 1.25), 0: everything,
    Home: everything, Escape: everything, ArrowLeft: () => pan(-0.2, 0), ArrowRight: () => pan(0.2, 0),
    ArrowUp: () => pan(0, -0.2), ArrowDown: () => pan(0, 0.2),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  const buttons = { in: () => zoom(0.5, 0.5), out: () => zoom(2, 2), all: everything };
  for (const [name, act] of Object.entries(buttons)) {
    document.getElementById(`raster-${name}`).addEventListener("click", act);
  }
  for (const element of Object.values(choice)) element.addEventListener("change", filter);
  window.addEventListener("resize", draw);
  root.hidden = false;
  filter();
})();

// The interactive gallery of a report: a grid of images that is drawn where it is visible, and a dialog with one image.
(async () => {
  const root = document.getElementById("browser");
  if (!root) return;
  const status = root.querySelector(".status");
  if (typeof DecompressionStream === "undefined") { status.textContent = "This browser cannot unpack the images; a newer one can."; return; }
  const { sets, colours, vmax, signed, unit } = JSON.parse(document.getElementById("browser-data").textContent);

  const unpack = async ({ n, shape, step, data }) => {
    const packed = Uint8Array.from(atob(data), c => c.charCodeAt(0));
    const buffer = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).arrayBuffer();
    const counts = new Uint32Array(buffer, 0, n), total = counts.reduce((a, b) => a + b, 0);
    const places = new Uint32Array(buffer, 4 * n, total), levels = new Int16Array(buffer, 4 * (n + total), total);
    const starts = [0];
    for (const count of counts) starts.push(starts.at(-1) + count);
    const [planes, height, width] = shape;
    return { n, planes, height, width, image: k => {
      const charge = new Float32Array(planes * height * width);
      for (let i = starts[k]; i < starts[k + 1]; i++) charge[places[i]] = levels[i] * step;
      return charge;
    } };
  };
  const unpacked = new Map();
  const open = (set, key) => {
    const id = `${set}/${key}`;
    if (!unpacked.has(id)) unpacked.set(id, unpack(sets[set][key]));
    return unpacked.get(id);
  };

  // An image as pixels of at most `most` per side of a plane; the largest |charge| of a block is drawn, so that thin tracks remain.
  const draw = (context, source, charge, left, top, w, h) => {
    const { planes, height, width } = source;
    const pool = Math.max(1, Math.ceil(planes * width / w), Math.ceil(height / h));
    const rows = Math.ceil(height / pool), columns = Math.ceil(width / pool);
    const small = new OffscreenCanvas(planes * columns, rows), pixels = new ImageData(planes * columns, rows);
    const best = new Float32Array(planes * columns * rows);
    for (let p = 0, i = 0; p < planes; p++) for (let r = 0; r < height; r++) for (let c = 0; c < width; c++, i++) {
      const j = Math.floor(r / pool) * planes * columns + p * columns + Math.floor(c / pool);
      if (Math.abs(charge[i]) > Math.abs(best[j])) best[j] = charge[i];
    }
    best.forEach((q, j) => {
      const root = Math.sign(q) * Math.sqrt(Math.min(1, Math.abs(q) / vmax)), place = signed ? (root + 1) / 2 : Math.max(0, root);
      const [red, green, blue] = colours[Math.round(place * (colours.length - 1))];
      pixels.data.set([red, green, blue, 255], 4 * j);
    });
    small.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, left, top, w, h);
    context.strokeStyle = "#8888";
    for (let p = 1; p < planes; p++) context.strokeRect(left + p * w / planes, top, 0, h);
  };

  const choice = root.querySelector("[name=set]"), key = root.querySelector("[name=sort]"), flip = root.querySelector("[name=flip]");
  const frame = root.querySelector(".frame"), spacer = root.querySelector(".spacer"), canvas = root.querySelector(".grid");
  const dialog = document.getElementById("image-dialog"), hover = dialog.querySelector("output");
  sets.forEach(({ name }, number) => choice.add(new Option(name, number)));
  let order = [], source = null, across = 1, tile = [96, 96], current = 0, columns = {};
  const gap = 6, ratio = Math.min(2, window.devicePixelRatio || 1);

  const arrange = () => {
    const values = columns[key.value];
    order = Array.from({ length: source.n }, (_, k) => k);
    const direction = flip.getAttribute("aria-pressed") === "true" ? -1 : 1;
    if (values) order.sort((a, b) => (values[a] === null) - (values[b] === null) || direction * (values[a] - values[b]) || a - b);
    else if (direction < 0) order.reverse();
    root.dataset.order = order.slice(0, 20).join(" ");
    layout();
  };
  const layout = () => {
    const side = 96, wide = Math.min(frame.clientWidth - gap, side * source.planes * Math.max(1, source.width / source.height));
    tile = [wide, wide / source.planes * source.height / source.width];
    across = Math.max(1, Math.floor((frame.clientWidth - gap) / (tile[0] + gap)));
    spacer.style.height = `${Math.max(0, Math.ceil(order.length / across) * (tile[1] + gap) + gap - frame.clientHeight)}px`;
    canvas.width = frame.clientWidth * ratio; canvas.height = frame.clientHeight * ratio;
    canvas.style.width = `${frame.clientWidth}px`; canvas.style.height = `${frame.clientHeight}px`;
    paint();
  };
  const place = k => [gap + (k % across) * (tile[0] + gap), gap + Math.floor(k / across) * (tile[1] + gap)];
  const paint = () => {
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, frame.clientWidth, frame.clientHeight);
    const first = Math.max(0, Math.floor((frame.scrollTop - gap) / (tile[1] + gap))) * across;
    for (let k = first; k < order.length; k++) {
      const [x, y] = place(k), top = y - frame.scrollTop;
      if (top > frame.clientHeight) break;
      draw(context, source, source.image(order[k]), x, top, ...tile);
      if (k === current) { context.strokeStyle = "#3b82f6"; context.lineWidth = 3; context.strokeRect(x - 2, top - 2, tile[0] + 4, tile[1] + 4); context.lineWidth = 1; }
    }
    status.textContent = `${order.length} images; image ${sets[choice.value].indices[order[current]]} is selected`;
  };
  const select = k => {
    current = Math.min(order.length - 1, Math.max(0, k));
    const [, y] = place(current);
    if (y < frame.scrollTop) frame.scrollTop = y - gap;
    if (y + tile[1] > frame.scrollTop + frame.clientHeight) frame.scrollTop = y + tile[1] + gap - frame.clientHeight;
    paint();
  };
  const show = async () => {
    source = await open(choice.value, "images");
    columns = sets[choice.value].columns;
    const chosen = key.value;
    key.replaceChildren(new Option("order in the set", ""), ...Object.keys(columns).map(name => new Option(name, name)));
    key.value = chosen in columns ? chosen : "";
    current = 0; frame.scrollTop = 0;
    arrange();
  };

  const zoom = async () => {
    const k = order[current], set = sets[choice.value];
    const beside = set.nearest ? await open(choice.value, "nearest") : null;
    const panels = [["image", source], ["nearest", beside]];
    for (const [name, of] of panels) {
      const panel = dialog.querySelector(`[data-panel=${name}]`);
      panel.hidden = !of;
      if (!of) continue;
      const charge = of.image(k), big = panel.querySelector("canvas");
      const scale = Math.max(1, Math.floor(Math.min(0.85 * window.innerWidth / (of.planes * of.width), 0.6 * window.innerHeight / of.height, 512 / of.height)));
      big.width = of.planes * of.width * scale; big.height = of.height * scale;
      draw(big.getContext("2d"), of, charge, 0, 0, big.width, big.height);
      big.onpointermove = event => {
        const box = big.getBoundingClientRect();
        const x = Math.floor((event.clientX - box.left) / box.width * of.planes * of.width), row = Math.floor((event.clientY - box.top) / box.height * of.height);
        const plane = Math.floor(x / of.width), column = x % of.width, q = charge[(plane * of.height + row) * of.width + column];
        if (q !== undefined) hover.textContent = `${of.planes > 1 ? `plane ${plane}, ` : ""}tick ${row}, wire ${column}: ${Number(q.toPrecision(4))} ${unit}`;
      };
    }
    const facts = Object.entries(columns).filter(([, values]) => values[k] !== null).map(([name, values]) => `${name}: ${values[k]}`);
    dialog.querySelector("h3").textContent = `${set.name}, image ${set.indices[k]}`;
    dialog.querySelector(".facts").textContent = facts.join(" · ");
    hover.textContent = "Point at a pixel to read its charge.";
    if (!dialog.open) dialog.showModal();
  };
  const step = { ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: () => across, ArrowUp: () => -across, PageDown: () => 5 * across, PageUp: () => -5 * across };
  frame.addEventListener("keydown", event => {
    if (event.key in step) { event.preventDefault(); select(current + step[event.key]()); }
    if (event.key === "Enter") { event.preventDefault(); zoom(); }
  });
  dialog.addEventListener("keydown", event => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") { event.preventDefault(); select(current + step[event.key]()); zoom(); }
  });
  canvas.addEventListener("click", event => {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left - gap, y = event.clientY - box.top + frame.scrollTop - gap;
    const column = Math.floor(x / (tile[0] + gap)), k = Math.floor(y / (tile[1] + gap)) * across + column;
    if (column >= 0 && column < across && k >= 0 && k < order.length) { select(k); zoom(); }
  });
  dialog.querySelector("button").addEventListener("click", () => dialog.close());
  choice.addEventListener("change", show);
  key.addEventListener("change", () => { current = 0; frame.scrollTop = 0; arrange(); });
  flip.addEventListener("click", () => { flip.setAttribute("aria-pressed", flip.getAttribute("aria-pressed") !== "true"); arrange(); });
  let waiting = false;
  frame.addEventListener("scroll", () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; paint(); }); } });
  window.addEventListener("resize", layout);
  await show();
  root.dataset.ready = "yes";
})();

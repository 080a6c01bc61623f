// What can be seen of the operations, on a canvas. Cost follows the pixels, not the operations.

const GUTTER = 84, RULER = 22, FAULT_ROW = 17;
const COLOURS = ['paper', 'ink', 'muted', 'line', 'ok', 'read', 'fail', 'info', 'mismatch', 'bad', 'fault', 'point', 'order', 'select'];
// Bars narrower than this are drawn together.
const BAR = 2.5;

class Drawing {
  constructor(canvas, map, ops) {
    this.canvas = canvas;
    this.map = map;
    this.ops = ops;
    this.pen = canvas.getContext('2d', { alpha: false });
    this.kinds = [...new Set(ops.meta.faults.map((fault) => fault.kind))];
    this.view = { from: ops.meta.reach[0], to: ops.meta.reach[1], top: 0, row: 24 };
    this.selected = null;
    this.pointed = null;
    this.box = null;
    this.edges = ops.meta.cycle;
    this.frames = 0;
    this.filter({ key: null, apart: false });
    this.restyle();
  }

  // Colours are the style sheet's.
  restyle() {
    const style = getComputedStyle(document.documentElement);
    this.ink = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.sketch = null;
  }

  filter(filter) {
    this.shown = filter;
    this.lanes = new Lanes(this.ops, filter);
    this.sketch = null;
    const one = filter.key !== null || !this.ops.key.some((key) => key !== this.ops.key[0]);
    // The order of one key is a line; those of many at once would be a thicket.
    this.order = null;
    if (one) {
      const placed = [];
      for (const lane of this.lanes.all) for (const op of lane.ops) if (this.ops.place[op] && !Number.isNaN(this.ops.point[op])) placed.push(op);
      this.order = placed.sort((a, b) => this.ops.place[a] - this.ops.place[b]);
    }
  }

  size(width, height, scale) {
    if (this.width === width && this.height === height && this.scale === scale) return;
    Object.assign(this, { width, height, scale });
    for (const [canvas, tall] of [[this.canvas, height], [this.map, 40]]) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(tall * scale);
      canvas.style.height = `${tall}px`;
    }
    this.sketch = null;
  }

  get head() { return RULER + this.kinds.length * FAULT_ROW; }
  get wide() { return this.width - GUTTER; }
  x(at) { return GUTTER + (at - this.view.from) / (this.view.to - this.view.from) * this.wide; }
  at(x) { return this.view.from + (x - GUTTER) / this.wide * (this.view.to - this.view.from); }
  y(row) { return this.head + row * this.view.row - this.view.top; }
  get tall() { return Math.max(0, this.height - this.head); }

  // Keeps the view within what there is.
  clamp() {
    const { view } = this, [first, last] = this.ops.meta.reach;
    const margin = (last - first) * 0.02;
    let span = Math.min(view.to - view.from, last - first + 2 * margin);
    span = Math.max(span, this.ops.events ? 4 : 200);
    const from = Math.min(Math.max(view.from, first - margin), last + margin - span);
    view.from = from;
    view.to = from + span;
    view.row = Math.min(Math.max(view.row, 3), 60);
    view.top = Math.min(Math.max(view.top, 0), Math.max(0, this.lanes.count * view.row - this.tall));
  }

  draw() {
    const began = performance.now();
    this.clamp();
    const { pen, ink } = this;
    pen.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    this.drew = { bars: 0, columns: 0, points: 0, edges: 0, core: 0, rows: 0 };
    pen.fillStyle = ink.paper;
    pen.fillRect(0, 0, this.width, this.height);
    this.faultBands();
    this.ruler();
    pen.save();
    pen.beginPath();
    pen.rect(GUTTER, this.head, this.wide, this.tall);
    pen.clip();
    this.rows();
    this.orderLine();
    this.illegalFrom();
    this.core();
    this.cycle();
    this.marks();
    pen.restore();
    this.faultNames();
    this.gutter();
    this.overview();
    this.frames++;
    this.took = performance.now() - began;
  }

  faultBands() {
    const { pen } = this;
    for (const fault of this.ops.meta.faults) {
      const from = Math.max(this.x(fault.from), GUTTER), to = Math.min(this.x(fault.to ?? this.view.to), this.width);
      if (to < GUTTER || from > this.width) continue;
      pen.globalAlpha = fault.moment ? 0.5 : 0.09;
      pen.fillStyle = this.ink.fault;
      if (fault.moment) pen.fillRect(from, this.head, 1, this.tall);
      else pen.fillRect(from, this.head, Math.max(1, to - from), this.tall);
    }
    pen.globalAlpha = 1;
  }

  faultNames() {
    const { pen, ink } = this;
    pen.font = '11px system-ui, sans-serif';
    pen.textBaseline = 'middle';
    this.kinds.forEach((kind, row) => {
      const y = RULER + row * FAULT_ROW;
      pen.fillStyle = ink.paper;
      pen.fillRect(0, y, this.width, FAULT_ROW);
      // Moments closer than their texts are told once.
      let free = GUTTER;
      for (const fault of this.ops.meta.faults) {
        if (fault.kind !== kind) continue;
        const from = Math.max(this.x(fault.from), GUTTER), to = Math.min(this.x(fault.to ?? this.view.to), this.width);
        if (to < GUTTER || from > this.width) continue;
        pen.globalAlpha = 0.35;
        pen.fillStyle = ink.fault;
        pen.fillRect(from, y + 2, Math.max(2, to - from), FAULT_ROW - 4);
        pen.globalAlpha = 1;
        const room = fault.moment ? 160 : to - from - 6;
        if (room < 30 || from < free) continue;
        const text = this.fit(fault.said, room, 6.2);
        pen.fillStyle = ink.ink;
        pen.fillText(text, from + 5, y + FAULT_ROW / 2);
        free = fault.moment ? from + 5 + text.length * 6.2 : free;
      }
      pen.fillStyle = ink.paper;
      pen.fillRect(0, y, GUTTER, FAULT_ROW);
      pen.fillStyle = ink.muted;
      pen.textAlign = 'right';
      pen.fillText(this.fit(kind, GUTTER - 10, 6.2), GUTTER - 8, y + FAULT_ROW / 2);
      pen.textAlign = 'left';
    });
  }

  ruler() {
    const { pen, ink, view } = this;
    const unit = this.ops.events ? 1 : 1e9;
    const rough = (view.to - view.from) / unit / Math.max(2, this.wide / 110);
    const power = 10 ** Math.floor(Math.log10(rough));
    let step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    if (this.ops.events) step = Math.max(1, Math.round(step));
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    pen.font = '11px system-ui, sans-serif';
    pen.textBaseline = 'middle';
    pen.textAlign = 'center';
    for (let i = Math.ceil(view.from / unit / step); i * step * unit <= view.to; i++) {
      const x = Math.round(this.x(i * step * unit));
      if (x < GUTTER) continue;
      pen.fillStyle = ink.line;
      pen.fillRect(x, RULER - 4, 1, this.height);
      pen.fillStyle = ink.muted;
      if (x > GUTTER + 10) pen.fillText((i * step).toFixed(digits) + (this.ops.events ? '' : ' s'), x, RULER / 2 - 1);
    }
    pen.textAlign = 'left';
  }

  // The colour of a bar: a read is the light of an ok.
  tone(op) {
    const { ops, ink } = this;
    return [ops.reads[ops.f[op]] ? ink.read : ink.ok, ink.fail, ink.info, ink.mismatch][ops.outcome[op]];
  }

  rows() {
    const { pen, ops, view } = this;
    const first = Math.max(0, Math.floor(view.top / view.row));
    const last = Math.min(this.lanes.count, Math.ceil((view.top + this.tall) / view.row));
    this.drew.rows = Math.max(0, last - first);
    const gap = view.row > 8 ? Math.min(4, Math.round(view.row / 6)) : view.row > 4 ? 1 : 0;
    const bars = [];
    for (let row = first; row < last; row++) this.row(this.lanes.all[row], this.y(row) + gap, view.row - 2 * gap, bars);
    // Texts and moments lie above all bars.
    pen.font = '11px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace';
    pen.textBaseline = 'middle';
    for (const [op, x, width, y, tall] of bars) {
      const room = width - 8;
      if (tall >= 12 && room > 14) {
        pen.fillStyle = this.ink.ink;
        pen.fillText(this.fit(ops.label(op), room, 6.7), Math.max(x, GUTTER) + 4, y + tall / 2 + 0.5);
      }
      const point = ops.point[op];
      if (!Number.isNaN(point)) {
        const px = this.x(point);
        pen.fillStyle = this.ink.point;
        pen.fillRect(px - 0.75, y, 1.5, tall);
        if (tall >= 7) { pen.beginPath(); pen.arc(px, y + tall - 2.5, 2.5, 0, 7); pen.fill(); }
        this.drew.points++;
      }
    }
  }

  row(lane, y, tall, bars) {
    const { pen, ops, view } = this;
    const scale = this.wide / (view.to - view.from);
    // The one before the first that begins within may reach into the view.
    let i = Math.max(0, Lanes.after(ops, lane, view.from) - 1);
    let run = null;
    const flush = () => { if (run) this.column(run, y, tall); run = null; };
    while (i < lane.size) {
      const op = lane.ops[i];
      const x = this.x(ops.start[op]);
      if (x > this.width) break;
      const width = (ops.end[op] - ops.start[op]) * scale;
      if (x + width < GUTTER && ops.outcome[op] !== INFO) { i++; continue; }
      if (width >= BAR) {
        flush();
        this.bar(op, x, width, y, tall);
        if (width > 6) bars.push([op, x, Math.min(x + width, this.width) - Math.max(x, GUTTER), y, tall]);
        if (ops.outcome[op] === INFO) this.tail(lane, i, x + width, y, tall);
        i++;
        continue;
      }
      // Everything that begins within this pixel, told by its outcomes.
      const pixel = Math.floor(x);
      const next = Math.max(i + 1, Lanes.after(ops, lane, this.at(pixel + 1), i + 1));
      let kinds = 0;
      for (let o = 0; o < 4; o++) if (lane.upTo[o][next] > lane.upTo[o][i]) kinds |= 1 << o;
      this.drew.columns++;
      if (run && run.kinds === kinds && pixel <= run.to + 1) run.to = pixel;
      else { flush(); run = { from: pixel, to: pixel, kinds }; }
      i = next;
    }
    flush();
  }

  bar(op, x, width, y, tall) {
    const { pen } = this;
    const from = Math.max(x, GUTTER - 4), to = Math.min(x + width, this.width + 4);
    pen.fillStyle = this.tone(op);
    // Neighbours of one colour are two operations: a hair of paper parts them.
    const hair = width > 4 ? 1 : 0;
    pen.fillRect(from + hair, y, Math.max(1, to - from - hair), tall);
    this.drew.bars++;
  }

  // An operation of unknown outcome may take effect after something came back: until the lane goes on.
  tail(lane, i, x, y, tall) {
    const { pen, ops } = this;
    const next = i + 1 < lane.size ? this.x(ops.start[lane.ops[i + 1]]) : this.width;
    const to = Math.min(next, x + 90, this.width);
    if (to - x < 4 || to < GUTTER) return;
    pen.fillStyle = this.ink.info;
    for (let at = Math.max(x, GUTTER) + 3; at < to; at += 6) pen.fillRect(at, y + tall / 2 - 0.75, 3, 1.5);
  }

  // Operations of one pixel and more: what happened often as the ground, what is rare as an edge that shows.
  column({ from, to, kinds }, y, tall) {
    const { pen, ink } = this;
    const wide = to - from + 1;
    pen.fillStyle = kinds & 1 ? ink.ok : kinds & 8 ? ink.mismatch : kinds & 4 ? ink.info : ink.fail;
    pen.fillRect(from, y, wide, tall);
    if (kinds & 4 && kinds & 11) { pen.fillStyle = ink.info; pen.fillRect(from, y + tall * 0.7, wide, tall * 0.3); }
    if (kinds & 2 && kinds & 9) { pen.fillStyle = ink.fail; pen.fillRect(from, y, wide, tall * 0.2); }
  }

  // The witness as a line through its moments, where there are few enough to follow.
  orderLine() {
    if (!this.order) return;
    const { pen, ops, view } = this;
    let low = 0, high = this.order.length;
    while (low < high) { const m = (low + high) >> 1; if (ops.point[this.order[m]] < view.from) low = m + 1; else high = m; }
    const seen = [];
    for (let i = Math.max(0, low - 1); i < this.order.length && seen.length < 400; i++) {
      seen.push(this.order[i]);
      if (ops.point[this.order[i]] > view.to) break;
    }
    if (seen.length < 2 || seen.length >= 400) return;
    pen.strokeStyle = this.ink.order;
    pen.globalAlpha = 0.55;
    pen.lineWidth = 1.2;
    pen.beginPath();
    seen.forEach((op, i) => {
      const x = this.x(ops.point[op]), y = this.y(this.lanes.row(op)) + view.row / 2;
      if (i) pen.lineTo(x, y); else pen.moveTo(x, y);
    });
    pen.stroke();
    pen.globalAlpha = 1;
  }

  illegalFrom() {
    const { pen, ink } = this;
    if (this.ops.meta.illegal_from === null) return;
    const x = this.x(this.ops.meta.illegal_from);
    if (x < GUTTER || x > this.width) return;
    pen.fillStyle = ink.bad;
    for (let y = this.head; y < this.height; y += 8) pen.fillRect(x, y, 1.5, 4);
  }

  // Where an operation is drawn, wide enough to be seen; null if a filter hides it.
  place(op) {
    const row = this.lanes.row(op);
    if (row === undefined || (this.shown.key !== null && this.ops.key[op] !== this.shown.key)) return null;
    const from = this.x(this.ops.start[op]), to = this.x(this.ops.end[op]);
    const width = Math.max(5, to - from);
    return { x: from, width, y: this.y(row), tall: this.view.row, middle: (Math.max(from, GUTTER) + Math.min(from + width, this.width)) / 2 };
  }

  core() {
    const { pen, ink } = this;
    for (const [op, { weakened }] of this.ops.core) {
      const place = this.place(op);
      if (!place) continue;
      pen.fillStyle = this.tone(op);
      if (this.x(this.ops.end[op]) - place.x < 5) pen.fillRect(place.x, place.y + 2, place.width, place.tall - 4);
      pen.strokeStyle = ink.bad;
      pen.lineWidth = weakened ? 1.2 : 2.4;
      pen.setLineDash(weakened ? [3, 3] : []);
      pen.strokeRect(place.x - 1, place.y + 1, place.width + 2, Math.max(3, place.tall - 2));
      this.drew.core++;
    }
    pen.setLineDash([]);
    // What is too narrow for its text tells it beside itself.
    pen.font = '11px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace';
    for (const [op, { weakened }] of this.ops.core) {
      const place = this.place(op);
      if (!place || weakened || place.width > 60 || place.tall < 10) continue;
      const text = this.fit(this.ops.label(op), 260, 6.7), wide = text.length * 6.7 + 6;
      const x = place.x + place.width + 4 + wide > this.width ? place.x - 4 - wide : place.x + place.width + 4;
      pen.fillStyle = ink.paper;
      pen.globalAlpha = 0.85;
      pen.fillRect(x, place.y + place.tall / 2 - 8, wide, 16);
      pen.globalAlpha = 1;
      pen.fillStyle = ink.bad;
      pen.fillText(text, x + 3, place.y + place.tall / 2 + 0.5);
    }
  }

  cycle() {
    const { pen, ink } = this;
    pen.strokeStyle = pen.fillStyle = ink.bad;
    pen.font = '11px system-ui, sans-serif';
    this.edges.forEach(([from, to, because], i) => {
      const a = this.place(from), b = this.place(to);
      if (!a || !b) return;
      const ay = a.y + a.tall / 2, by = b.y + b.tall / 2;
      const bend = ay === by ? -1.5 * a.tall : 0;
      const mx = (a.middle + b.middle) / 2, my = (ay + by) / 2 + bend + (i % 2 ? 10 : -10);
      pen.lineWidth = 1.6;
      pen.beginPath();
      pen.moveTo(a.middle, ay);
      pen.quadraticCurveTo(mx, my, b.middle, by);
      pen.stroke();
      const angle = Math.atan2(by - my, b.middle - mx);
      pen.beginPath();
      pen.moveTo(b.middle, by);
      pen.lineTo(b.middle - 9 * Math.cos(angle - 0.4), by - 9 * Math.sin(angle - 0.4));
      pen.lineTo(b.middle - 9 * Math.cos(angle + 0.4), by - 9 * Math.sin(angle + 0.4));
      pen.fill();
      if (because && Math.hypot(b.middle - a.middle, by - ay) > 60) {
        const text = this.fit(because, 320, 6.2);
        pen.fillStyle = ink.paper;
        pen.globalAlpha = 0.85;
        pen.fillRect(mx - text.length * 3.1 - 2, (ay + by) / 4 + my / 2 - 8, text.length * 6.2 + 4, 15);
        pen.globalAlpha = 1;
        pen.fillStyle = ink.bad;
        pen.textAlign = 'center';
        pen.fillText(text, mx, (ay + by) / 4 + my / 2);
        pen.textAlign = 'left';
      }
      this.drew.edges++;
    });
  }

  marks() {
    const { pen, ink } = this;
    for (const [op, colour, wide] of [[this.pointed, ink.ink, 1.2], [this.selected, ink.select, 2.4]]) {
      const place = op === null ? null : this.place(op);
      if (!place) continue;
      pen.strokeStyle = colour;
      pen.lineWidth = wide;
      pen.strokeRect(place.x - 1.5, place.y + 0.5, place.width + 3, place.tall - 1);
    }
    if (this.box) {
      pen.fillStyle = ink.select;
      pen.globalAlpha = 0.2;
      pen.fillRect(Math.min(this.box.from, this.box.to), this.head, Math.abs(this.box.to - this.box.from), this.tall);
      pen.globalAlpha = 1;
    }
  }

  // Which processes the lanes show just now.
  gutter() {
    const { pen, ops, ink, view } = this;
    pen.fillStyle = ink.paper;
    pen.fillRect(0, this.head, GUTTER, this.tall);
    pen.fillStyle = ink.line;
    pen.fillRect(GUTTER - 1, RULER, 1, this.height);
    pen.fillRect(0, this.head - 1, this.width, 1);
    pen.fillStyle = ink.muted;
    pen.font = '11px system-ui, sans-serif';
    pen.textAlign = 'right';
    pen.textBaseline = 'middle';
    const every = Math.max(1, Math.ceil(11 / view.row));
    const first = Math.max(0, Math.floor(view.top / view.row));
    for (let row = first - first % every; row < this.lanes.count && this.y(row) < this.height; row += every) {
      const lane = this.lanes.all[row], y = this.y(row) + view.row * every / 2;
      if (y < this.head + 4) continue;
      const from = Math.max(0, Lanes.after(ops, lane, view.from) - 1);
      const to = Math.max(from, Lanes.after(ops, lane, view.to) - 1);
      const one = ops.processOf(lane.ops[from]), other = ops.processOf(lane.ops[to]);
      pen.fillText(this.fit(one === other ? `p ${one}` : `p ${one}–${other}`, GUTTER - 10, 6), GUTTER - 8, y);
    }
    pen.textAlign = 'left';
  }

  // The whole history in a strip, with the view on it. The strip is sketched once.
  overview() {
    const pen = this.map.getContext('2d', { alpha: false });
    const [first, last] = this.ops.meta.reach, { ops, ink } = this;
    const x = (at) => GUTTER + (at - first) / (last - first) * this.wide;
    if (!this.sketch) {
      this.sketch = document.createElement('canvas');
      this.sketch.width = this.map.width;
      this.sketch.height = this.map.height;
      const sketch = this.sketch.getContext('2d', { alpha: false });
      sketch.setTransform(this.scale, 0, 0, this.scale, 0, 0);
      sketch.fillStyle = ink.paper;
      sketch.fillRect(0, 0, this.width, 40);
      const counts = [OK, FAIL, INFO, MISMATCH].map(() => new Uint32Array(Math.max(1, Math.ceil(this.wide))));
      for (const lane of this.lanes.all) for (const op of lane.ops) counts[ops.outcome[op]][Math.min(counts[0].length - 1, Math.floor(x(ops.start[op]) - GUTTER))]++;
      let most = 1;
      for (let i = 0; i < counts[0].length; i++) most = Math.max(most, counts[0][i] + counts[1][i] + counts[2][i] + counts[3][i]);
      for (let i = 0; i < counts[0].length; i++) {
        let y = 34;
        for (const [o, colour] of [[OK, ink.ok], [MISMATCH, ink.mismatch], [FAIL, ink.fail], [INFO, ink.info]]) {
          const tall = counts[o][i] ? Math.max(1, counts[o][i] / most * 28) : 0;
          sketch.fillStyle = colour;
          sketch.fillRect(GUTTER + i, y -= tall, 1, tall);
        }
      }
      sketch.fillStyle = ink.fault;
      for (const fault of ops.meta.faults) if (!fault.moment) sketch.fillRect(x(fault.from), 36, Math.max(2, x(fault.to ?? last) - x(fault.from)), 3);
      sketch.fillStyle = ink.bad;
      for (const op of ops.core.keys()) sketch.fillRect(x(ops.start[op]) - 1, 0, 2.5, 36);
    }
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(this.sketch, 0, 0);
    pen.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    pen.fillStyle = ink.ink;
    pen.globalAlpha = 0.12;
    const from = Math.max(GUTTER, x(this.view.from)), to = Math.min(this.width, x(this.view.to));
    pen.fillRect(GUTTER, 0, from - GUTTER, 40);
    pen.fillRect(to, 0, this.width - to, 40);
    pen.globalAlpha = 1;
    pen.strokeStyle = ink.muted;
    pen.lineWidth = 1;
    pen.strokeRect(from + 0.5, 0.5, Math.max(3, to - from - 1), 39);
  }

  fit(text, room, each) {
    const fits = Math.floor(room / each);
    return text.length <= fits ? text : fits < 2 ? '' : `${text.slice(0, fits - 1)}…`;
  }

  // The operation under the pointer, or near it.
  hit(x, y) {
    if (x < GUTTER || y < this.head) return null;
    const lane = this.lanes.all[Math.floor((y - this.head + this.view.top) / this.view.row)];
    if (!lane) return null;
    const { ops } = this, at = this.at(x), reach = 4 / this.wide * (this.view.to - this.view.from);
    let best = null, distance = reach;
    const next = Lanes.after(ops, lane, at);
    for (const i of [next - 1, next]) {
      if (i < 0 || i >= lane.size) continue;
      const op = lane.ops[i];
      const away = Math.max(0, ops.start[op] - at, at - ops.end[op]);
      if (away <= distance) { best = op; distance = away; }
    }
    return best;
  }

  fault(x, y) {
    const kind = this.kinds[Math.floor((y - RULER) / FAULT_ROW)];
    if (y < RULER || kind === undefined) return null;
    return this.ops.meta.faults.findLast((fault) => fault.kind === kind && x >= this.x(fault.from) - 3 && x <= this.x(fault.to ?? this.view.to) + 3) ?? null;
  }
}

// What the reader does.

const $ = (id) => document.getElementById(id);
const root = document.documentElement;
const ops = new Operations(JSON.parse($('meta').textContent), $('rows').textContent);
const drawing = new Drawing($('drawing'), $('map'), ops);
const { view } = drawing;

let asked = false;
const redraw = () => {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; paint(); });
};
const paint = (scale = devicePixelRatio || 1) => {
  const main = drawing.canvas.parentElement;
  const wanted = drawing.head + drawing.lanes.count * view.row + 8;
  const room = Math.max(240, innerHeight - drawing.canvas.getBoundingClientRect().top - scrollY - 64);
  drawing.size(main.clientWidth, Math.max(drawing.head + 60, Math.min(room, wanted)), scale);
  drawing.draw();
  Object.assign(drawing.canvas.dataset, drawing.drew, { operations: ops.count, lanes: drawing.lanes.count, frames: drawing.frames, from: view.from, to: view.to });
};

// Where to look.
const show = (from, to) => { view.from = from; view.to = to; redraw(); };
const all = () => show(...ops.meta.reach);
const zoom = (factor, at = (view.from + view.to) / 2) => show(at - (at - view.from) * factor, at + (view.to - at) * factor);
const pan = (share) => { const by = (view.to - view.from) * share; show(view.from + by, view.to + by); };
const scroll = (pixels) => { view.top += pixels; redraw(); };
const core = [...ops.core.keys()].sort((a, b) => ops.start[a] - ops.start[b]);
const violation = () => {
  const needed = core.filter((op) => !ops.core.get(op).weakened);
  const shown = needed.length ? needed : core;
  if (!shown.length) return all();
  const from = Math.min(...shown.map((op) => ops.start[op])), to = Math.max(...shown.map((op) => ops.end[op]), ops.meta.illegal_from ?? 0);
  const margin = Math.max((to - from) * 0.12, ops.events ? 2 : 1000);
  view.top = 0;
  show(from - margin, to + margin);
};

const tell = (op) => { $('said').textContent = op === null ? '' : `${ops.label(op)} · ${ops.details(op).map(([what, is]) => `${what} ${is}`).join(' · ')}`; };
const select = (op, seek = true) => {
  drawing.selected = op;
  for (const row of document.querySelectorAll('[data-op]')) row.classList.toggle('lit', op !== null && row.dataset.op === String(op));
  tell(op);
  if (op !== null && seek) {
    if (drawing.shown.key !== null && ops.key[op] !== drawing.shown.key) filter(null);
    const { start, end } = ops;
    const span = view.to - view.from;
    if (start[op] < view.from || end[op] > view.to) {
      const wide = Math.max(span, (end[op] - start[op]) * 1.2);
      view.from = (start[op] + end[op] - wide) / 2;
      view.to = view.from + wide;
    }
    const y = drawing.y(drawing.lanes.row(op)) - drawing.head;
    if (y < 0 || y > drawing.tall - view.row) view.top += y - drawing.tall / 2;
  }
  redraw();
};

const filter = (key, apart = drawing.shown.apart) => {
  drawing.filter({ key, apart });
  $('key').value = key === null ? '' : ops.value(key);
  $('key').classList.toggle('on', key !== null);
  view.top = 0;
  redraw();
};

// Found operations, and which of them is looked at.
let found = [], looked = -1;
const find = () => {
  const text = $('find').value.trim();
  found = text ? ops.find(text) : [];
  looked = -1;
  $('hits').textContent = text ? `${found.length} found` : '';
};
const look = (by) => {
  if (!found.length) return;
  looked = (looked + by + found.length) % found.length;
  $('hits').textContent = `${looked + 1} of ${found.length}`;
  select(found[looked]);
};
const along = (list, by) => {
  if (!list.length) return;
  const at = list.indexOf(drawing.selected);
  select(list[at < 0 ? (by > 0 ? 0 : list.length - 1) : (at + by + list.length) % list.length]);
};
const lane = (by) => {
  const row = drawing.selected === null ? Math.floor(view.top / view.row) : drawing.lanes.row(drawing.selected);
  const its = drawing.lanes.all[row];
  if (!its) return;
  const at = drawing.selected === null ? Lanes.after(ops, its, view.from) : its.ops.indexOf(drawing.selected) + by;
  if (at >= 0 && at < its.size) select(its.ops[at]);
};

// Light, dark, or what the system says.
const dark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches);
const theme = () => { root.dataset.theme = dark() ? 'light' : 'dark'; drawing.restyle(); redraw(); };
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { drawing.restyle(); redraw(); });
const help = () => ($('help').open ? $('help').close() : $('help').showModal());

const canvas = drawing.canvas;
const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
canvas.addEventListener('wheel', (event) => {
  const [x] = place(event);
  const by = event.deltaMode ? event.deltaY * 30 : event.deltaY;
  event.preventDefault();
  if (event.altKey || x < GUTTER) return scroll(by);
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return pan((event.deltaX || by) / drawing.wide);
  zoom(1.0018 ** Math.max(-400, Math.min(400, by)), drawing.at(x));
}, { passive: false });

let drag = null;
canvas.addEventListener('pointerdown', (event) => {
  const [x, y] = place(event);
  canvas.setPointerCapture(event.pointerId);
  drag = { x, y, from: view.from, top: view.top, moved: false, box: event.shiftKey };
});
canvas.addEventListener('pointermove', (event) => {
  const [x, y] = place(event);
  if (!drag) return point(x, y);
  drag.moved ||= Math.hypot(x - drag.x, y - drag.y) > 3;
  if (!drag.moved) return;
  $('tip').hidden = true;
  if (drag.box) drawing.box = { from: drag.x, to: x };
  else {
    const by = (drag.x - x) / drawing.wide * (view.to - view.from), span = view.to - view.from;
    view.from = drag.from + by;
    view.to = view.from + span;
    view.top = drag.top + drag.y - y;
  }
  redraw();
});
canvas.addEventListener('pointerup', (event) => {
  const [x, y] = place(event);
  if (drag && !drag.moved) select(drawing.hit(x, y), false);
  if (drag?.box && drag.moved) show(drawing.at(Math.min(drag.x, x)), drawing.at(Math.max(drag.x, x)));
  drawing.box = drag = null;
  redraw();
});
canvas.addEventListener('pointerleave', () => { drawing.pointed = null; $('tip').hidden = true; redraw(); });
canvas.addEventListener('dblclick', (event) => zoom(0.25, drawing.at(place(event)[0])));

const line = (what, is) => {
  const row = document.createElement('tr');
  for (const text of [what, is]) row.append(Object.assign(document.createElement('td'), { textContent: text }));
  return row;
};
const point = (x, y) => {
  const op = drawing.hit(x, y), fault = op === null ? drawing.fault(x, y) : null, tip = $('tip');
  if (op !== drawing.pointed) { drawing.pointed = op; redraw(); }
  tip.hidden = op === null && fault === null;
  if (tip.hidden) return;
  const table = document.createElement('table');
  const head = Object.assign(document.createElement('b'), { textContent: op === null ? fault.said : ops.label(op) });
  if (op !== null) table.append(...ops.details(op).map(([what, is]) => line(what, is)));
  else table.append(line('from', ops.moment(fault.from)), line('until', fault.to === null ? 'the end' : ops.moment(fault.to)));
  tip.replaceChildren(head, table);
  // Above the pointer where there is no room below, and never outside.
  const wide = tip.offsetWidth, tall = tip.offsetHeight, box = canvas.getBoundingClientRect();
  tip.style.left = `${Math.min(x + 14, drawing.width - wide - 8)}px`;
  tip.style.top = `${box.top + y + tall + 24 > innerHeight ? canvas.offsetTop + y - tall - 10 : canvas.offsetTop + y + 16}px`;
};

const strip = $('map');
const centre = (event) => {
  if (!(event.buttons & 1)) return;
  const [first, last] = ops.meta.reach, span = view.to - view.from;
  const at = first + (event.clientX - strip.getBoundingClientRect().left - GUTTER) / drawing.wide * (last - first);
  show(at - span / 2, at + span / 2);
};
strip.addEventListener('pointerdown', (event) => { strip.setPointerCapture(event.pointerId); centre(event); });
strip.addEventListener('pointermove', centre);

const keys = {
  ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), ArrowUp: () => scroll(-view.row * 2), ArrowDown: () => scroll(view.row * 2),
  PageUp: () => scroll(-drawing.tall * 0.9), PageDown: () => scroll(drawing.tall * 0.9),
  '+': () => zoom(0.7), '=': () => zoom(0.7), '-': () => zoom(1 / 0.7), 0: all, Home: all, v: violation,
  '[': () => { view.row /= 1.3; redraw(); }, ']': () => { view.row *= 1.3; redraw(); },
  c: () => along(core, 1), C: () => along(core, -1), '.': () => lane(1), ',': () => lane(-1),
  '/': () => $('find').focus(), n: () => look(1), N: () => look(-1), K: () => $('key').focus(),
  k: () => { if (drawing.selected !== null) filter(drawing.shown.key === null ? ops.key[drawing.selected] || null : null); },
  l: () => filter(drawing.shown.key, !drawing.shown.apart), t: theme, '?': help,
  Escape: () => (drawing.selected === null ? filter(null) : select(null)),
};
addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLInputElement || $('help').open) return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
$('find').addEventListener('input', find);
$('find').addEventListener('keydown', (event) => {
  if (event.key === 'Enter') look(event.shiftKey ? -1 : 1);
  if (event.key === 'Escape') canvas.focus();
});
$('key').addEventListener('input', () => {
  const key = ops.keyNamed($('key').value.trim());
  $('key').classList.toggle('none', key === undefined);
  if (key === undefined) return;
  const typed = $('key').value;
  filter(key);
  $('key').value = typed;
});
$('key').addEventListener('keydown', (event) => { if (event.key === 'Enter' || event.key === 'Escape') canvas.focus(); });
for (const [id, act] of Object.entries({ in: keys['+'], out: keys['-'], all, violation, apart: keys.l, theme, keyboard: help })) $(id).addEventListener('click', act);
document.addEventListener('click', (event) => {
  const row = event.target.closest?.('[data-op]');
  if (row) select(Number(row.dataset.op));
});
addEventListener('resize', redraw);

// Paper is white, and finer than a screen.
addEventListener('beforeprint', () => {
  root.dataset.print = '';
  drawing.restyle();
  paint(3);
});
addEventListener('afterprint', () => {
  delete root.dataset.print;
  drawing.restyle();
  redraw();
});

// Keys to choose from; who has more types one.
const MOST_KEYS = 1000;
$('keys').append(...ops.keys().slice(0, MOST_KEYS).map(([word, count]) => Object.assign(document.createElement('option'), { value: ops.value(word), label: `${count} operations` })));
$('violation').hidden = core.length === 0;
// What only a script can do is shown only where one runs.
$('tools').hidden = $('legend').hidden = false;
// Few lanes may be tall, and many must be low to be seen at once.
view.row = Math.min(36, Math.max(12, 480 / Math.max(1, drawing.lanes.count)));
const many = ops.key.some((key) => key !== ops.key[0]);
if (core.length) {
  const key = ops.meta.key === null ? null : ops.keyNamed(ops.meta.key) ?? null;
  if (many && key !== null) filter(key);
  violation();
}
paint();
root.classList.add('live');

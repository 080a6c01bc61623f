'use strict';
(() => {
  const root = document.documentElement;
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => [...document.querySelectorAll(selector)];

  // Light, dark, or what the system says.
  const dark = () => root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  const toggleTheme = () => { root.dataset.theme = dark() ? 'light' : 'dark'; };

  // One command, copied. From file:// the clipboard may be closed: then it is selected.
  const copy = async () => {
    const code = $('#again');
    try {
      await navigator.clipboard.writeText(code.textContent);
      $('#copy').textContent = 'copied';
    } catch {
      getSelection().selectAllChildren(code);
      $('#copy').textContent = 'selected';
    }
  };

  // Drawing and table speak of the same operations.
  const light = (number) => $$('[data-op]').forEach((e) => e.classList.toggle('lit', number !== null && e.dataset.op === number));
  for (const element of $$('[data-op]')) {
    element.addEventListener('pointerenter', () => light(element.dataset.op));
    element.addEventListener('pointerleave', () => light(null));
    element.addEventListener('focus', () => light(element.dataset.op));
    element.addEventListener('blur', () => light(null));
  }
  const bars = $$('.op');
  const step = (by) => {
    if (bars.length === 0) return;
    const at = bars.indexOf(document.activeElement);
    const next = bars[at < 0 ? (by > 0 ? 0 : bars.length - 1) : (at + by + bars.length) % bars.length];
    next.focus();
    // A window that has no focus yet keeps the event back until it has.
    light(next.dataset.op);
    next.scrollIntoView({ block: 'nearest', inline: 'center' });
  };

  // The numbers under the pointer, or under the arrow keys.
  const chart = $('svg.overview');
  const source = $('#data');
  if (chart && source) {
    const data = JSON.parse(source.textContent);
    const left = Number(chart.dataset.left), right = Number(chart.dataset.right);
    const cursor = chart.querySelector('.cursor'), readout = $('#readout');
    const quiet = readout.textContent;
    const span = (ns) => ns < 1e6 ? `${Math.round(ns / 1e3)} µs` : ns < 1e9 ? `${(ns / 1e6).toPrecision(3)} ms` : `${(ns / 1e9).toPrecision(3)} s`;
    let at = -1;
    const show = (bucket) => {
      at = Math.max(0, Math.min(data.buckets.length - 1, bucket));
      const from = at * data.width, to = Math.min(data.end, from + data.width);
      const x = left + (from + to) / 2 / data.end * (right - left);
      cursor.setAttribute('x1', x);
      cursor.setAttribute('x2', x);
      cursor.removeAttribute('hidden');
      const [counts, latency] = data.buckets[at];
      const parts = [`${(from / 1e9).toFixed(2)} to ${(to / 1e9).toFixed(2)} s`];
      ['ok', 'mismatch', 'fail', 'unknown'].forEach((name, i) => { if (counts[i]) parts.push(`${name} ${Math.round(counts[i] / (to - from) * 1e9)}/s`); });
      if (latency) parts.push(`p50 ${span(latency[0])}, p95 ${span(latency[1])}, p99 ${span(latency[2])}, highest ${span(latency[3])}`);
      const active = data.faults.filter((f) => f[0] < to && f[1] > from).map((f) => f[2]);
      parts.push(active.length ? active.join('; ') : 'no fault');
      readout.textContent = parts.join('  ·  ');
    };
    const hide = () => { cursor.setAttribute('hidden', 'hidden'); readout.textContent = quiet; at = -1; };
    chart.addEventListener('pointermove', (event) => {
      const box = chart.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
      if (x < left || x > right) return hide();
      show(Math.floor((x - left) / (right - left) * data.end / data.width));
    });
    chart.addEventListener('pointerleave', hide);
    const frame = chart.parentElement;
    frame.addEventListener('keydown', (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      show(at < 0 ? 0 : at + by);
    });
    frame.addEventListener('blur', hide);
  }

  // Paper has no handles to open things with.
  addEventListener('beforeprint', () => $$('details').forEach((d) => { d.open = true; }));

  const help = $('#help');
  const keys = {
    n: () => step(1), p: () => step(-1), t: toggleTheme, c: copy,
    '?': () => help.open ? help.close() : help.showModal(),
  };
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    keys[event.key]?.();
  });
  $('#theme').addEventListener('click', toggleTheme);
  $('#keys').addEventListener('click', keys['?']);
  $('#copy')?.addEventListener('click', copy);
  // What only a script can do is shown only where one runs.
  root.classList.add('live');
})();

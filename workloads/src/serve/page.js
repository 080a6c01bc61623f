'use strict';
(() => {
  const root = document.documentElement;
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => [...document.querySelectorAll(selector)];

  const dark = () => root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  const toggleTheme = () => { root.dataset.theme = dark() ? 'light' : 'dark'; };

  // The rows of the table of runs, one after another.
  const rows = $$('table.runs tbody tr');
  const step = (by) => {
    if (rows.length === 0) return;
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : (at + by + rows.length) % rows.length;
    rows[next].querySelector('a').focus();
  };
  const mark = () => {
    const box = rows.find((row) => row.contains(document.activeElement))?.querySelector('input[type=checkbox]');
    if (box) box.checked = !box.checked;
  };

  const help = $('#help');
  const keys = {
    j: () => step(1), k: () => step(-1), x: mark, t: toggleTheme,
    '/': (event) => { const first = $('form.filters input, form.filters select'); if (first) { event.preventDefault(); first.focus(); } },
    '?': () => help.open ? help.close() : help.showModal(),
  };
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== 'checkbox') return;
    keys[event.key]?.(event);
  });
  $('#theme').addEventListener('click', toggleTheme);
  $('#keys').addEventListener('click', keys['?']);

  // A run under way: the server tells, we show.
  const live = $('#live');
  if (live) {
    const put = (name, text) => { const place = live.querySelector(`[data-live="${name}"]`); if (place) place.textContent = text; };
    const source = new EventSource(live.dataset.events);
    source.addEventListener('view', (event) => {
      const view = JSON.parse(event.data);
      put('at', `${view.at_s.toFixed(1)} s`);
      put('phase', view.phase);
      put('rate', `${Math.round(view.rate)} /s`);
      for (const name of ['ok', 'mismatch', 'fail', 'unknown']) put(name, view[name]);
      put('p50', `${view.p50_ms.toFixed(1)} ms`);
      put('p99', `${view.p99_ms.toFixed(1)} ms`);
      put('verdict', view.verdict);
      live.querySelector('.verdict').className = `verdict ${view.violated ? 'invalid' : 'unknown'}`;
      const list = live.querySelector('[data-live="faults"]');
      list.replaceChildren(...(view.faults.length ? view.faults : ['no fault']).map((fault) => {
        const item = document.createElement('li');
        item.textContent = fault;
        return item;
      }));
      live.dataset.seen = Number(live.dataset.seen || 0) + 1;
    });
    source.addEventListener('over', () => { source.close(); location.assign(live.dataset.run); });
    source.addEventListener('lost', (event) => { source.close(); put('verdict', event.data); });
  }
  root.classList.add('live');
})();

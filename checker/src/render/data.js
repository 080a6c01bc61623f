'use strict';
// What was packed (pack.rs says how), as columns of numbers.

const OK = 0, FAIL = 1, INFO = 2, MISMATCH = 3;

class Operations {
  constructor(meta, packed) {
    const n = meta.operations;
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    let at = 0;
    // Not by shifts: they are exact to 32 bits only.
    const number = () => {
      let value = 0, scale = 1, byte;
      do { byte = bytes[at++]; value += (byte & 127) * scale; scale *= 128; } while (byte > 127);
      return value;
    };
    const unfold = (value) => value % 2 ? -(value + 1) / 2 : value / 2;
    const folded = () => unfold(number());
    this.meta = meta;
    this.count = n;
    this.events = meta.axis === 'events';
    this.start = new Float64Array(n);
    this.end = new Float64Array(n);
    this.process = new Uint32Array(n);
    this.f = new Uint8Array(n);
    this.outcome = new Uint8Array(n);
    this.returned = new Uint8Array(n);
    // 0 none, odd a number, even a text: equal values have equal words.
    this.key = new Float64Array(n);
    this.input = new Float64Array(n);
    this.output = new Float64Array(n);
    this.node = new Uint16Array(n);
    this.error = new Uint32Array(n);
    this.place = new Uint32Array(n);
    this.point = new Float64Array(n).fill(NaN);
    this.invoked = new Float64Array(n);
    this.completed = new Float64Array(n);
    this.line = new Float64Array(n);
    this.time = this.events ? new Float64Array(n) : null;
    this.lasted = this.events ? new Float64Array(n) : null;
    let start = 0, index = 0, line = 0, time = 0;
    for (let op = 0; op < n; op++) {
      this.start[op] = start += number();
      const length = number();
      this.returned[op] = length ? 1 : 0;
      this.end[op] = length ? start + length - 1 : meta.reach[1];
      this.process[op] = number();
      const kind = number();
      this.f[op] = Math.floor(kind / 4);
      this.outcome[op] = kind % 4;
      this.key[op] = number();
      this.input[op] = number();
      this.output[op] = number();
      this.node[op] = number();
      this.error[op] = number();
      this.place[op] = number();
      const point = number();
      if (point) this.point[op] = start + point - 1;
      this.invoked[op] = index += folded();
      const completed = number();
      this.completed[op] = completed ? index + completed : -1;
      this.line[op] = line += folded();
      if (this.events) {
        this.time[op] = time += folded();
        this.lasted[op] = folded();
      }
    }
    this.reads = meta.functions.map((f) => ['get', 'read', 'r', 'ask', 'scan'].includes(f));
    this.core = new Map(meta.core.map(([op, weakened, said]) => [op, { weakened, said }]));
    this.labels = new Array(n);
  }

  value(word) {
    if (word % 2) {
      const folded = (word - 1) / 2;
      return String(folded % 2 ? -(folded + 1) / 2 : folded / 2);
    }
    return this.meta.texts[word / 2];
  }

  keyOf(op) { return this.key[op] ? this.value(this.key[op]) : ''; }
  processOf(op) { return this.meta.processes[this.process[op]]; }

  // What stands on a bar.
  label(op) {
    if (this.labels[op]) return this.labels[op];
    const f = this.meta.functions[this.f[op]];
    const key = this.key[op] ? ` ${this.keyOf(op)}` : '';
    const input = this.input[op] ? ` ${this.value(this.input[op])}` : '';
    const output = this.output[op] ? this.value(this.output[op]) : 'nil';
    const repeats = this.output[op] === this.input[op];
    const end = [repeats && !this.reads[this.f[op]] ? '' : ` → ${output}`, ' ✗', ' ?', this.output[op] ? ` ≠ ${output}` : ' ≠'][this.outcome[op]];
    return this.labels[op] = f + key + input + end;
  }

  moment(x) {
    if (this.events) return `event ${Math.round(x)}`;
    return `${(x / 1e9).toFixed(6)} s`;
  }

  static span(ns) {
    if (ns < 0) return `-${Operations.span(-ns)}`;
    if (ns < 1e3) return `${Math.round(ns)} ns`;
    if (ns < 1e6) return `${(ns / 1e3).toPrecision(3)} µs`;
    if (ns < 1e9) return `${(ns / 1e6).toPrecision(3)} ms`;
    return `${(ns / 1e9).toPrecision(4)} s`;
  }

  // Everything known of an operation, as pairs to list.
  details(op) {
    const words = ['ok', 'failed, did nothing', 'unknown: it may take effect at any time from its invocation on', 'compared, and found another value'];
    const time = this.events ? this.time[op] : this.start[op];
    const lasted = this.events ? this.lasted[op] : this.end[op] - this.start[op];
    const clock = (ns) => `${(ns / 1e9).toFixed(6)} s`;
    const rows = [['process', this.processOf(op)]];
    if (this.key[op]) rows.push(['key', this.keyOf(op)]);
    if (this.input[op]) rows.push(['asked', this.value(this.input[op])]);
    if (this.outcome[op] === OK || this.output[op]) rows.push([this.outcome[op] === OK ? 'came back' : 'found', this.output[op] ? this.value(this.output[op]) : 'nil']);
    rows.push(['outcome', words[this.outcome[op]]]);
    if (this.error[op]) rows.push(['error', this.meta.errors[this.error[op] - 1]]);
    if (this.node[op]) rows.push(['node', this.meta.nodes[this.node[op] - 1]]);
    rows.push(['invoked', clock(time)]);
    rows.push(['completed', this.returned[op] ? `${clock(time + lasted)}, after ${Operations.span(lasted)}` : 'never']);
    if (this.place[op]) rows.push(['takes effect', `as number ${this.place[op]} of its order${Number.isNaN(this.point[op]) || this.events ? '' : `, drawn at ${clock(this.point[op])}`}`]);
    rows.push(['operation', `${op}, events ${this.invoked[op]}${this.completed[op] < 0 ? '' : ` and ${this.completed[op]}`}, line ${this.line[op]}`]);
    const core = this.core.get(op);
    if (core) rows.push(['violation', core.weakened ? 'concerns the same values, but would not have helped' : 'part of its core']);
    return rows;
  }

  // How many operations each key has, the most first.
  keys() {
    const counts = new Map();
    for (let op = 0; op < this.count; op++) if (this.key[op]) counts.set(this.key[op], (counts.get(this.key[op]) || 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1]);
  }

  // The word of a key as it is typed; null if there is none, undefined if no key is so called.
  keyNamed(text) {
    if (text === '') return null;
    this.names ??= new Map(this.keys().map(([word]) => [this.value(word), word]));
    return this.names.get(text) ?? this.names.get(JSON.stringify(text));
  }

  // Operations by what is typed: `key 4`, `process 3`, `event 120`, `operation 7`, or any text of their bars.
  find(text) {
    const [, what, rest] = /^(key|process|p|event|operation|op|node|line)[ :=]+(.+)$/.exec(text) ?? [null, '', text];
    const tests = {
      key: (word) => (op) => this.key[op] === word,
      number: (column) => (op) => String(column[op]) === rest,
    };
    const wanted = {
      key: () => tests.key(this.keyNamed(rest)),
      process: () => (op) => this.processOf(op) === rest,
      p: () => (op) => this.processOf(op) === rest,
      event: () => (op) => String(this.invoked[op]) === rest || String(this.completed[op]) === rest,
      operation: () => (op) => String(op) === rest,
      op: () => (op) => String(op) === rest,
      line: () => tests.number(this.line),
      node: () => (op) => this.node[op] && this.meta.nodes[this.node[op] - 1] === rest,
      '': () => (op) => this.label(op).includes(rest) || (this.error[op] && this.meta.errors[this.error[op] - 1].includes(rest)),
    }[what]();
    const found = [];
    for (let op = 0; op < this.count; op++) if (wanted(op)) found.push(op);
    return found;
  }
}

// More lanes than this are hardly seen at once.
const MOST_AT_ONCE = 24;

// Lanes with their operations, as a filter leaves them. Operations of one lane do not overlap.
class Lanes {
  constructor(ops, { key, apart }) {
    const { meta } = ops;
    const laneOf = apart ? (op) => ops.process[op] : (op) => meta.lanes[ops.process[op]];
    const sizes = new Uint32Array((apart ? meta.processes.length : meta.lanes.reduce((most, lane) => Math.max(most, lane + 1), 0)) || 0);
    const shown = (op) => key === null || ops.key[op] === key;
    for (let op = 0; op < ops.count; op++) if (shown(op)) sizes[laneOf(op)]++;
    const lanes = Array.from(sizes, (size) => ({ ops: new Uint32Array(size), size: 0 }));
    for (let op = 0; op < ops.count; op++) if (shown(op)) { const lane = lanes[laneOf(op)]; lane.ops[lane.size++] = op; }
    this.all = lanes.filter((lane) => lane.size > 0);
    // Of many lanes, those of the violation come first, or it would be out of sight.
    const bad = new Set([...ops.core.keys()].filter(shown).map((op) => lanes[laneOf(op)]));
    if (this.all.length > MOST_AT_ONCE) this.all.sort((a, b) => bad.has(b) - bad.has(a));
    this.rowOf = new Map();
    this.all.forEach((lane, row) => {
      // How many of each outcome there are up to a place: what fills a pixel is told without visiting it.
      lane.upTo = [OK, FAIL, INFO, MISMATCH].map(() => new Uint32Array(lane.size + 1));
      for (let i = 0; i < lane.size; i++) for (let o = 0; o < 4; o++) lane.upTo[o][i + 1] = lane.upTo[o][i] + (ops.outcome[lane.ops[i]] === o ? 1 : 0);
      this.rowOf.set(laneOf(lane.ops[0]), row);
    });
    this.laneOf = laneOf;
    this.count = this.all.length;
  }

  row(op) { return this.rowOf.get(this.laneOf(op)); }

  // The place of the first operation of a lane that begins at or after a moment.
  static after(ops, lane, x, from = 0) {
    let low = from, high = lane.size;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ops.start[lane.ops[middle]] < x) low = middle + 1; else high = middle;
    }
    return low;
  }
}

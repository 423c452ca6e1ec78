'use strict';
// Sortable tables: a click on a heading; numbers sort by data-v, empty cells go last.
for (const table of document.querySelectorAll('table.sort')) {
  [...table.tHead.rows[0].cells].forEach((th, i) => {
    const button = document.createElement('button');
    button.textContent = th.textContent;
    th.replaceChildren(button);
    button.onclick = () => {
      const down = th.getAttribute('aria-sort') === 'ascending';
      for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
      th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const key = (row) => row.cells[i].dataset.v ?? row.cells[i].textContent;
      const order = (a, b) => {
        const x = key(a), y = key(b);
        if (x === '' || y === '') return x === y ? 0 : x === '' ? 1 : -1;
        const way = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -way : way;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    };
  });
}

// A link to a query opens it.
const open = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
};
addEventListener('hashchange', open);
open();

// The browser of samples. All text goes through textContent: none of it is read as HTML.
const data = JSON.parse(document.getElementById('samples').textContent);
const view = document.getElementById('browser');
const make = (tag, text, name) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
};
const select = (label, values) => {
  const node = make('select');
  for (const [value, text] of values) node.append(Object.assign(make('option', text), { value }));
  const box = make('label', label);
  box.append(node);
  box.node = node;
  return box;
};
const block = (title, text) => [make('h3', title), make('pre', text)];
// What the reference answered with the same effective budget (that of full equals any): one answer, or one a repeat.
const reference = (set, sample, a) => {
  const theirs = sample.answers.filter((b) => set.cells[b.cell].reference && !set.cells[a.cell].reference &&
    (data.reference === 'full' || b.effective === a.effective));
  return theirs.find((b) => b.repeat === a.repeat) ?? theirs[0];
};
const outcomes = ['right', 'wrong', 'looped', 'truncated', 'unboxed', 'numeric'];
const fits = (set, sample, a, wanted) => {
  if (!wanted || a.outcome === wanted) return true;
  const theirs = reference(set, sample, a);
  return theirs && (a.outcome === 'right') !== (theirs.outcome === 'right') && wanted === (a.outcome === 'right' ? 'gained' : 'lost');
};
const show = (a, sample, cell, theirs, out) => {
  const total = a.prompt_tokens + a.new_tokens;
  const mark = (ok) => (ok === null ? 'not judged' : ok ? 'right' : 'wrong');
  const bar = make('div', undefined, 'bar'), part = make('span');
  part.style.width = Math.min(100, 100 * a.kept / total) + '%';
  bar.append(part);
  out.replaceChildren(
    make('p', `${cell.title}, sample ${sample.name}, repeat ${a.repeat}: ${a.outcome}`, a.outcome),
    make('p', `Verdicts: box ${mark(a.box)}, chain ${mark(a.chain)}, math-verify ${mark(a.mv)}; read “${a.extracted}” ` +
      `(${a.path}), gold “${sample.gold}”; ended by ${a.finish}` + (a.loop ? `, in a loop of ${a.loop} tokens` : '')),
    make('p', `Kept at most ${a.kept} of ${total} tokens per layer and KV head (${a.prompt_tokens} of the prompt, ` +
      `${a.new_tokens} new); ${a.evictions} evictions; effective budget ${a.effective ?? 'none'}`),
    bar, ...block('Prompt', sample.prompt), ...block(a.hex ? 'Answer (bytes as hex: it is no UTF-8)' : 'Answer', a.text),
    ...(theirs ? block(`Answer of ${data.reference}: ${theirs.outcome}`, theirs.text) : []));
};
if (data.sets.length) {
  const sets = select('Model and dataset', data.sets.map((s, i) => [i, s.title]));
  const pick = make('div', undefined, 'pick'), out = make('div');
  view.append(pick, out);
  const fill = () => {
    const set = data.sets[sets.node.value];
    const cells = select('Policy', [['', 'all'], ...set.cells.map((c, i) => [i, c.title])]);
    const outcome = select('Outcome', [['', 'all'], ...outcomes.map((o) => [o, o]), ['lost', `lost against ${data.reference}`], ['gained', `gained over ${data.reference}`]]);
    const answers = select('Answer', []);
    pick.replaceChildren(sets, cells, outcome, answers);
    const one = () => {
      const [s, a] = (answers.node.value || '-1,0').split(',').map(Number);
      if (s < 0) return out.replaceChildren(make('p', 'No such answer.'));
      const sample = set.samples[s], answer = sample.answers[a];
      show(answer, sample, set.cells[answer.cell], reference(set, sample, answer), out);
    };
    const list = () => {
      answers.node.replaceChildren();
      set.samples.forEach((sample, s) => sample.answers.forEach((a, i) => {
        if ((cells.node.value !== '' && a.cell !== Number(cells.node.value)) || !fits(set, sample, a, outcome.node.value)) return;
        answers.node.append(Object.assign(make('option', `${sample.name} · ${set.cells[a.cell].title}${a.repeat ? ' · repeat ' + a.repeat : ''} · ${a.outcome}`), { value: `${s},${i}` }));
      }));
      one();
    };
    cells.node.onchange = outcome.node.onchange = list;
    answers.node.onchange = one;
    list();
  };
  sets.node.onchange = fill;
  fill();
}

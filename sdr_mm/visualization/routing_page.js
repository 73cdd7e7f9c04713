'use strict';

// Without this script the page has everything but the sorting and the button that copies.
const table = document.getElementById('table');
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];

function key(row, column, number) {
  const text = row.cells[column].textContent.trim();
  if (!number) return text;
  const value = parseFloat(text.replace('−', '-'));
  return Number.isNaN(value) ? null : value;
}

function sort(column) {
  const head = heads[column];
  const number = head.classList.contains('number');
  // Ranks and names rise at first, scores fall.
  const first = number && column > 0 ? 'descending' : 'ascending';
  const other = first === 'ascending' ? 'descending' : 'ascending';
  const order = head.getAttribute('aria-sort') === first ? other : first;
  const sign = order === 'ascending' ? 1 : -1;
  const rows = [...body.rows].map((row) => [key(row, column, number), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // those without a number stay at the end
    return sign * (number ? a - b : a.localeCompare(b, 'en', { numeric: true }));
  });
  body.append(...rows.map(([, row]) => row));
  for (const one of heads) one.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', order);
}

heads.forEach((head, column) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = head.textContent;
  button.addEventListener('click', () => sort(column));
  head.replaceChildren(button);
});

const command = document.getElementById('command');
const copy = document.createElement('button');
copy.type = 'button';
copy.className = 'copy';
copy.textContent = 'Copy';
copy.setAttribute('aria-live', 'polite');
copy.addEventListener('click', async () => {
  const range = document.createRange();
  range.selectNodeContents(command);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  let copied = document.execCommand('copy');
  if (!copied && navigator.clipboard) {
    copied = await navigator.clipboard.writeText(command.textContent).then(() => true, () => false);
  }
  copy.textContent = copied ? 'Copied' : 'Selected';
  setTimeout(() => { copy.textContent = 'Copy'; }, 2000);
});
command.after(copy);

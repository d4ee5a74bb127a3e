// Where keys lead in the map: undefined for keys that lead nowhere, null at an end. Groups have `cells` in order and
// the `grid` that lays them out.

export function neighbour(all, cell, key) {
  const groups = all.filter((group) => group.cells.length);
  const at = groups.findIndex((group) => group.cells.includes(cell));
  if (at < 0) return undefined;
  const { cells } = groups[at];
  const [before, after] = [groups[at - 1], groups[at + 1]];
  const index = cells.indexOf(cell);
  switch (key) {
    case 'ArrowRight':
      return cells[index + 1] ?? after?.cells[0] ?? null;
    case 'ArrowLeft':
      return cells[index - 1] ?? before?.cells.at(-1) ?? null;
    case 'ArrowDown':
      return below(groups[at], index, after);
    case 'ArrowUp':
      return above(groups[at], index, before);
    case 'Home':
      return cells[0];
    case 'End':
      return cells.at(-1);
    case 'PageDown':
      return after?.cells[0] ?? null;
    case 'PageUp':
      return before?.cells[0] ?? null;
    default:
      return undefined;
  }
}

function below(group, index, after) {
  const { cells } = group;
  const width = columns(group);
  if (cells[index + width]) return cells[index + width];
  // The last row may be shorter than this one.
  if (Math.floor(index / width) < Math.floor((cells.length - 1) / width)) return cells.at(-1);
  return after ? after.cells[Math.min(index % width, columns(after) - 1, after.cells.length - 1)] : null;
}

function above(group, index, before) {
  const width = columns(group);
  if (index >= width) return group.cells[index - width];
  if (!before) return null;
  const wide = columns(before);
  const row = Math.floor((before.cells.length - 1) / wide) * wide;
  return before.cells[Math.min(row + Math.min(index % width, wide - 1), before.cells.length - 1)];
}

function columns({ grid }) {
  return Math.max(1, getComputedStyle(grid).gridTemplateColumns.split(' ').length);
}

// Fills in a table's caption, heads and rows; the first cell of a row is its head. A cell with an
// explanation is [words, term], or [words, term, more] with an addition to it: see explain.js.
export function table(box, caption, head, body) {
  const cells = (tag, list) => list.map((v, i) => {
    const cell = document.createElement(i || tag === "th" ? tag : "th"), [words, term, more] = [v].flat();
    if (cell.tagName === "TH") cell.scope = tag === "th" ? "col" : "row";
    if (term) cell.dataset.term = term;
    if (more) cell.dataset.more = more;
    cell.textContent = words;
    return cell;
  });
  const row = (tag, list) => {
    const line = document.createElement("tr");
    line.append(...cells(tag, list));
    return line;
  };
  box.caption.textContent = caption;
  box.tHead.replaceChildren(row("th", head));
  box.tBodies[0].replaceChildren(...body.map((list) => row("td", list)));
}

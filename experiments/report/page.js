"use strict";

// A list is a table's body or a row of samples; it is searched, filtered, sorted, and shown a page at a time.
for (const list of document.querySelectorAll("[data-page]")) {
  const home = list.querySelector("[data-items]");
  const items = Array.from(home.children);
  const text = new Map(items.map((item) => [item, item.textContent.toLowerCase()]));
  const page = Number(list.dataset.page);
  const controls = list.querySelector(".controls");
  const more = list.querySelector(".more");
  const count = list.querySelector("output");
  let order = items;
  let limit = page;

  const wanted = (item) => {
    const words = controls.querySelector("input").value.toLowerCase().split(/\s+/);
    const chosen = Array.from(controls.querySelectorAll("select"));
    return (
      words.every((word) => text.get(item).includes(word)) &&
      chosen.every((select) => select.value === "" || item.dataset[select.name] === select.value)
    );
  };

  const show = () => {
    const matching = order.filter(wanted);
    const shown = new Set(matching.slice(0, limit));
    home.append(...order);
    for (const item of items) item.hidden = !shown.has(item);
    const rest = matching.length - shown.size;
    more.hidden = rest === 0;
    more.textContent = `Show ${Math.min(rest, page)} more`;
    count.textContent = matching.length === items.length ? `${items.length}` : `${matching.length} of ${items.length}`;
  };

  controls.addEventListener("input", () => {
    limit = page;
    show();
  });
  more.addEventListener("click", () => {
    const next = order.filter(wanted)[limit];
    limit += page;
    show();
    next.tabIndex = -1; // the button may be gone: go on reading where the new items begin
    next.focus({ preventScroll: true });
  });

  const heads = Array.from(list.querySelectorAll("thead th"));
  heads.forEach((head, column) => {
    const value = (row) => {
      const cell = row.children[column];
      if (head.dataset.numeric === undefined) return cell.textContent.trim();
      return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    };
    head.firstElementChild.addEventListener("click", () => {
      const first = head.dataset.numeric === undefined ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const direction = head.getAttribute("aria-sort") === first ? other : first;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      order = items.slice().sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null); // what is not known stands last
        return sign * (typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true }));
      });
      show();
    });
  });

  controls.hidden = items.length <= 6; // they can be taken in at a glance
  show();
}

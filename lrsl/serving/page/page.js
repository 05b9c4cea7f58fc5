"use strict";

const at = (id) => document.getElementById(id);
const NO_CHANCE = 30; // how far below the least that is given a label without a number is put
const ON_HARD = {
  abstain: "hard texts get no answer from /predict and /rerank, and here what reranking would say",
  set: "hard texts get a set of labels from /predict and /rerank, and here what reranking would say",
};
let served = null;

// whatever comes from texts, labels or the server is text, never markup
const element = (name, text, attributes = {}) => {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

const number = (value) => {
  if (value === null) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 10000) ? value.toExponential(2) : value.toFixed(4);
};

const say = (error) => {
  at("error").textContent = error;
  at("state").textContent = "";
};

const logitsOf = (text) => {
  let given;
  try {
    given = JSON.parse(text);
  } catch {
    throw new Error("The logits are no JSON; write [2.1, 1.9, -0.3], or an object of labels and numbers.");
  }
  if (given === null || typeof given !== "object") throw new Error("The logits must be a list, or an object of labels.");
  if (Array.isArray(given)) return given;
  const unknown = Object.keys(given).find((label) => !served.labels.includes(label));
  if (unknown !== undefined) throw new Error(`“${unknown}” is no label; the list below has them.`);
  const values = Object.values(given);
  const needed = Math.min(served.k, served.labels.length);
  if (values.length < needed) throw new Error(`Give at least the ${needed} likeliest labels.`);
  if (!values.every(Number.isFinite)) throw new Error("The numbers of the labels must be finite numbers.");
  const least = Math.min(...values);
  return served.labels.map((label) => (Object.hasOwn(given, label) ? given[label] : least - NO_CHANCE));
};

const asked = async (path, body) => {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
};

const bar = (share) => {
  const made = element("span", "", { class: "bar", "aria-hidden": "true" });
  made.style.width = `${(100 * Math.max(0, Math.min(1, share))).toFixed(1)}%`;
  return made;
};

const scale = (found) => {
  const { hardness, threshold } = found;
  const known = hardness !== null && threshold !== null;
  at("scale").hidden = !known;
  if (!known) return;
  at("scale-caption").textContent =
    `${served.detector}: ${number(hardness)}, ${found.hard ? "below" : "not below"} the threshold ${number(threshold)}`;
  const low = Math.min(0, hardness, threshold);
  const high = Math.max(2 * threshold, 1.15 * hardness, low + 1e-9);
  const place = (value) => `${((100 * (value - low)) / (high - low)).toFixed(2)}%`;
  at("below").style.width = place(threshold);
  at("mark").style.left = place(hardness);
};

const show = (found) => {
  const column = (one) => served.labels.indexOf(one.label);
  const before = [...found.candidates].sort((a, b) => b.before - a.before || column(a) - column(b));
  const first = before[0].label;
  const changed = found.answer !== first;
  at("answer").textContent = found.answer;
  const kind = element("span", found.hard ? "Hard" : "Easy", { class: found.hard ? "hard" : "easy" });
  const rest = !found.hard
    ? ": the classifier is sure enough, and its answer stands."
    : !found.reranked
      ? ": the classifier hesitates. Hard texts are not reranked here, so its answer stands."
      : changed
        ? `: the classifier hesitates. Its answer was “${first}”; what the labels mean has changed it.`
        : ": the classifier hesitates. What the labels mean has confirmed its answer.";
  at("what").replaceChildren(kind, document.createTextNode(rest));
  scale(found);
  const views = Object.keys(found.candidates[0].views);
  const heads = ["Label", "Before", ...views, "After"];
  const head = element("tr", "", { role: "row" }); // roles stay where rows are shown as cards
  heads.forEach((name, place) =>
    head.append(element("th", name, { scope: "col", role: "columnheader", class: place ? "number" : "" })),
  );
  at("head").replaceChildren(head);
  const most = Math.max(...found.candidates.map((one) => one.after ?? 0), 1e-12);
  const rows = found.candidates.map((one, rank) => {
    const row = element("tr", "", { role: "row" });
    const label = element("th", one.label, { scope: "row", role: "rowheader" });
    const moved = before.indexOf(one) - rank;
    if (found.reranked && moved) {
      const way = moved > 0 ? "up" : "down";
      label.append(element("span", `${moved > 0 ? "↑" : "↓"} ${way} ${Math.abs(moved)}`, { class: `move ${way}` }));
    }
    row.append(label);
    const cell = (name, value, share) => {
      const made = element("td", "", { class: "number", role: "cell", "data-label": name });
      made.append(element("span", number(value)));
      if (share !== undefined) made.append(bar(share));
      row.append(made);
    };
    cell("Before", one.before, one.before);
    for (const name of views) cell(name, one.views[name]);
    cell("After", one.after, (one.after ?? 0) / most);
    return row;
  });
  at("rows").replaceChildren(...rows);
  at("result").hidden = false;
};

let busy = false;
const ask = async () => {
  if (busy) return;
  busy = true;
  at("send").setAttribute("aria-disabled", "true");
  at("error").textContent = "";
  at("state").textContent = "Asking …";
  at("state").className = "";
  try {
    const body = { texts: [at("text").value] };
    if (served.serves === "reranker") body.logits = [logitsOf(at("logits").value)];
    const found = (await asked("explain", body)).explanations[0];
    show(found);
    at("state").className = "heard"; // it is seen below
    at("state").textContent = `${found.hard ? "Hard" : "Easy"}. Answer: ${found.answer}.`;
  } catch (error) {
    at("result").hidden = true;
    say(error instanceof TypeError ? "The server does not answer; is it still running?" : error.message);
  } finally {
    busy = false;
    at("send").removeAttribute("aria-disabled");
  }
};

const begin = async () => {
  served = await (await fetch("health")).json();
  document.title = `LRSL: ${served.name}`;
  at("name").textContent = served.name;
  const what = served.serves === "reranker" ? "A reranker for your classifier’s logits" : "A classifier with its reranker";
  const done =
    ON_HARD[served.on_hard] ?? (served.reranks ? "hard texts are reranked" : "hard texts keep the classifier’s answer");
  at("about").textContent = `${what}: ${served.labels.length} labels, hard by ${served.detector}; ${done}.`;
  at("verdict").textContent = served.verdict === null ? "" : `What held-out texts said: ${served.verdict}.`;
  if (served.serves === "reranker") {
    at("logits-field").hidden = false;
    at("logits").required = true;
    at("count").textContent = served.labels.length;
    const some = served.labels.slice(0, Math.max(2, served.k)).map((label, rank) => [label, 2 - rank / 2]);
    at("shape").textContent = JSON.stringify(Object.fromEntries(some));
    at("labels").replaceChildren(...served.labels.map((label) => element("li", label)));
  }
  at("ask").hidden = false;
};

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});
begin().catch(() => say("The server does not say what it serves; load this page anew."));

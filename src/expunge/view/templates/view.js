"use strict";
document.documentElement.classList.add("js");

const at = (id) => document.getElementById(id);

// Tabs, as the keyboard expects them.
const tabs = [...document.querySelectorAll("[role=tab]")];
const opened = new Set();

function show(tab) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", String(chosen));
    each.tabIndex = chosen ? 0 : -1;
    at(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  const part = tab.getAttribute("aria-controls");
  if (!opened.has(part)) {
    opened.add(part);
    if (part === "rows") search();
    if (part === "plot") draw();
  }
  if (part === "report") fit();
  history.replaceState(null, "", `#show-${part}`); // no element's name: the page must not scroll to it
}

for (const tab of tabs) {
  tab.addEventListener("click", () => show(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    show(next);
    next.focus();
  });
}

// The report is as tall as it is: the page scrolls, not the frame.
const frame = document.querySelector("#report iframe");

function fit() {
  const inside = frame.contentDocument;
  if (inside && inside.body) frame.style.height = `${inside.body.scrollHeight + 8}px`;
}

frame.addEventListener("load", () => {
  Object.assign(frame.contentDocument.body.style, { padding: "0", maxWidth: "none" }); // this page has its own margin
  fit();
  new ResizeObserver(fit).observe(frame.contentDocument.body);
});

// Texts of models and rows are never anything but text.
function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Rows.
let asked = 0;

async function search(start = 0) {
  const mine = ++asked;
  const query = new URLSearchParams({ q: at("words").value, set: at("set").value, start });
  const answer = await fetch(`rows?${query}`);
  const found = await answer.json();
  if (mine !== asked) return; // another search was begun meanwhile
  if (!start) at("cards").replaceChildren();
  at("more").hidden = true;
  if (found.error) {
    at("found").textContent = found.error;
    return;
  }
  if (at("set").options.length === 1) {
    for (const [name, label] of found.sets) at("set").append(new Option(label, name));
  }
  at("found").textContent = found.total
    ? `${found.found} of ${found.total} rows.`
    : "There is no table of rows: it was purged, or never written. What was measured is in the report.";
  at("cards").append(...found.rows.map(card));
  at("more").hidden = found.next === null;
  at("more").dataset.start = found.next;
}

function card(row) {
  const made = at("card").content.cloneNode(true);
  made.querySelector(".where").textContent = `${row.label}, row ${row.index}`;
  made.querySelector(".asked").textContent = row.prompt;
  made.querySelector(".right").textContent = row.answer;
  const answers = made.querySelector(".answers");
  for (const [model, said] of Object.entries(row.answers)) {
    const part = element("div", undefined, model === "after" ? "unlearned" : "");
    part.append(element("h4", model));
    part.append(said === null ? element("p", "not generated", "none") : element("p", said || "(an empty answer)"));
    answers.append(part);
  }
  const models = Object.keys(row.answers);
  const head = made.querySelector("thead tr");
  for (const model of models) {
    const cell = element("th", model);
    cell.scope = "col";
    head.append(cell);
  }
  for (const [metric, values] of Object.entries(row.values)) {
    const line = element("tr");
    const name = element("th", row.labels[metric]);
    name.append(" ", element("code", metric));
    name.scope = "row";
    line.append(name, ...models.map((model) => element("td", number(values[model]))));
    made.querySelector("tbody").append(line);
  }
  return made;
}

function number(value) {
  return value === undefined ? "–" : Number.isInteger(value) ? String(value) : value.toPrecision(3);
}

let pause;
at("words").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(search, 200);
});
at("set").addEventListener("change", () => search());
at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
at("more").addEventListener("click", () => search(Number(at("more").dataset.start)));

// Trade-off.
async function draw() {
  at("figure").replaceChildren(element("p", "Drawing …", "small"));
  const answer = await fetch("plot.svg");
  if (answer.status !== 200) {
    at("figure").replaceChildren(element("p", "Utility and forgetting were not both measured: there is nothing to draw."));
    return;
  }
  const svg = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
  at("figure").replaceChildren(document.importNode(svg, true));
}

// Chat.
const past = [];
let stopping = null;

async function ask(prompt) {
  const shown = at("exchange").content.cloneNode(true).firstElementChild;
  shown.querySelector(".asked").textContent = prompt;
  at("talk").append(shown);
  const said = (model) => shown.querySelector(`[data-model=${model}] .said`);
  const exchange = { prompt };
  const earlier = at("continue").checked ? past.slice() : [];
  stopping = new AbortController();
  at("send").disabled = true;
  at("stop").disabled = false;
  at("chat-status").textContent = "Waiting.";
  try {
    const answer = await fetch("chat", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt, history: earlier }),
      signal: stopping.signal,
    });
    if (!answer.ok) throw new Error((await answer.json()).error);
    for await (const event of lines(answer.body)) {
      const place = said(event.model);
      const name = event.model === "target" ? "The model before unlearning" : "The unlearned model";
      if (event.status) {
        place.setAttribute("aria-busy", "true");
        at("chat-status").textContent = event.status === "loading" ? `${name} is being loaded.` : `${name} answers.`;
      } else if (event.gone) {
        place.removeAttribute("aria-busy");
        place.classList.add("gone");
        place.textContent = `${name} cannot answer: ${event.gone}`;
      } else if (event.done) {
        place.removeAttribute("aria-busy");
        if (!place.textContent) place.replaceChildren(element("span", "(an empty answer)", "none"));
        exchange[event.model] ??= "";
      } else {
        exchange[event.model] = (exchange[event.model] || "") + event.text;
        place.textContent = exchange[event.model];
      }
    }
    at("chat-status").textContent = "Done.";
  } catch (error) {
    at("chat-status").textContent = error.name === "AbortError" ? "Stopped." : `No answer: ${error.message}`;
  }
  for (const each of shown.querySelectorAll(".said")) each.removeAttribute("aria-busy");
  past.push(exchange);
  at("send").disabled = false;
  at("stop").disabled = true;
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

if (at("ask")) {
  at("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const prompt = at("prompt").value.trim();
    if (!prompt || at("send").disabled) return;
    at("prompt").value = "";
    ask(prompt);
  });
  at("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      at("ask").requestSubmit();
    }
  });
  at("stop").addEventListener("click", () => stopping.abort());
  at("clear").addEventListener("click", () => {
    past.length = 0;
    at("talk").replaceChildren();
    at("chat-status").textContent = "";
  });
}

show(tabs.find((tab) => `#show-${tab.getAttribute("aria-controls")}` === location.hash) || tabs[0]);

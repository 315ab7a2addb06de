"use strict";
document.documentElement.classList.add("js");

const cards = [...document.querySelectorAll(".card")];
const filter = document.getElementById("filter");
const only = document.getElementById("only");

// A filter looks through all questions in the page, also those behind "show all".
function applyFilter() {
  const wanted = filter.value.trim().toLowerCase();
  for (const set of document.querySelectorAll(".question-set")) {
    set.classList.toggle("limited", !wanted && !set.dataset.all);
    let shown = 0;
    for (const card of set.querySelectorAll(".card")) {
      card.hidden = wanted !== "" && !card.textContent.toLowerCase().includes(wanted);
      shown += card.hidden ? 0 : 1;
    }
    const found = set.querySelector(".found");
    found.textContent = wanted ? `${shown} with “${filter.value.trim()}”.` : "";
  }
}

function applyOnly() {
  for (const answer of document.querySelectorAll(".unlearned")) {
    answer.hidden = only.value !== "" && answer.dataset.run !== only.value;
  }
}

if (filter) {
  filter.addEventListener("input", applyFilter);
  applyFilter();
}
if (only) {
  only.addEventListener("change", applyOnly);
  applyOnly();
}
for (const button of document.querySelectorAll("button.all")) {
  button.addEventListener("click", () => {
    const set = button.closest(".question-set");
    set.dataset.all = set.dataset.all ? "" : "yes";
    button.textContent = set.dataset.all ? "Show fewer" : button.dataset.label;
    button.setAttribute("aria-expanded", String(Boolean(set.dataset.all)));
    applyFilter();
  });
}
// Paper cannot be unfolded.
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

// Keeps the part of a page that is live up to date, copies what is shown once, and generates a secret. Without it pages are as they were loaded.
"use strict";

const live = document.getElementById("live");
const stale = document.getElementById("stale");
let events = null;
let latest = null;

// Whoever types, marks or reads by keyboard there is not disturbed.
const isInUse = () => {
  const marked = document.getSelection();
  return live.contains(document.activeElement) || (!marked.isCollapsed && marked.containsNode(live, true));
};

const show = () => {
  if (latest === null || isInUse()) return;
  const open = Array.from(live.querySelectorAll("details[open][id]"), (one) => one.id);
  live.innerHTML = latest;
  latest = null;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
};

const begin = () => {
  const stream = new EventSource(location.href);
  events = stream;
  stream.onopen = () => { stale.hidden = true; };
  stream.onmessage = (event) => { latest = event.data; show(); };
  // It tries again by itself where it can; somebody is told where that takes long.
  stream.onerror = () => setTimeout(() => {
    if (events === stream) stale.hidden = stream.readyState === EventSource.OPEN;
  }, 5000);
  stream.addEventListener("gone", () => { stream.close(); location.reload(); });
};

if (live) {
  // Nobody looks at a page that is hidden, and browsers open few connections to one host.
  const attend = () => {
    events?.close();
    events = null;
    if (!document.hidden) begin();
  };
  document.addEventListener("visibilitychange", attend);
  document.addEventListener("focusout", () => setTimeout(show));
  document.addEventListener("selectionchange", show);
  attend();
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  const shown = document.getElementById(button.dataset.copy);
  // Browsers let nobody copy where the page did not come by a secure way.
  if (!shown || !navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", () => navigator.clipboard.writeText(shown.textContent.trim()).then(
    () => { button.textContent = "Copied"; },
    () => { button.hidden = true; },
  ));
}

for (const button of document.querySelectorAll("button[data-generate]")) {
  const field = document.getElementById(button.dataset.generate);
  if (!field) continue;
  button.hidden = false;
  button.addEventListener("click", () => {
    const bytes = crypto.getRandomValues(new Uint8Array(20));
    field.value = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    // The receiver is to have it too, and no later page shows it.
    field.type = "text";
  });
}

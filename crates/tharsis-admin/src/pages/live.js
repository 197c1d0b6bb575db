// Keeps the part of a page that is live up to date, copies what is shown once, and generates a secret. Without it pages are as they were loaded.
"use strict";

const live = document.getElementById("live");
const stale = document.getElementById("stale");
const news = document.getElementById("news");
let events = null;
let shown = null;
let latest = null;

// What is focused to be scrolled, opened or read is no use of it: that goes on in what is new.
const READ = ".scroll, pre, summary";

// Whoever types, marks or is at a button or a link there is not disturbed.
const isInUse = () => {
  const at = document.activeElement;
  const isHeld = live.contains(at) && !at.matches(READ);
  const marked = document.getSelection();
  return isHeld || (!marked.isCollapsed && marked.containsNode(live, true));
};

const replace = () => {
  const open = Array.from(live.querySelectorAll("details[open][id]"), (one) => one.id);
  const former = Array.from(live.querySelectorAll(READ));
  const focused = former.indexOf(document.activeElement);
  const offsets = former.map((one) => [one.scrollLeft, one.scrollTop]);
  live.innerHTML = latest;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  const read = live.querySelectorAll(READ);
  // Where there are more or fewer of them, nobody can tell which is which.
  if (read.length !== former.length) return;
  read.forEach((one, at) => { [one.scrollLeft, one.scrollTop] = offsets[at]; });
  read[focused]?.focus({ preventScroll: true });
};

const show = () => {
  const isHeld = latest !== null && isInUse();
  news.hidden = !isHeld;
  if (latest === null || isHeld) return;
  replace();
  shown = latest;
  latest = null;
};

const begin = () => {
  const stream = new EventSource(location.href);
  events = stream;
  stream.onmessage = (event) => {
    stale.hidden = true;
    latest = event.data === shown ? null : event.data;
    show();
  };
  stream.addEventListener("stale", () => { stale.hidden = false; });
  stream.onerror = () => {
    const isClosed = stream.readyState === EventSource.CLOSED;
    if (isClosed) stale.hidden = false;
    // It tries again by itself where it was not refused; somebody is told where that takes long.
    setTimeout(() => {
      if (events !== stream) return;
      if (isClosed) begin();
      else if (stream.readyState !== EventSource.OPEN) stale.hidden = false;
    }, isClosed ? 15000 : 5000);
  };
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

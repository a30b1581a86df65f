// Adds the local time to the times in UTC, keeps a list still while one clicks into
// it, and sends a form once. Without it times are only in UTC.
"use strict";
(function () {
  const format = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "short"});
  function localize(root) {
    for (const t of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(t.dateTime);
      if (isNaN(at) || at.getTimezoneOffset() === 0) continue; // it says so already
      t.dataset.local = "yes";
      t.title = t.textContent;
      t.textContent = format.format(at) + " (" + t.title + ")";
    }
  }
  localize(document);
  document.addEventListener("htmx:afterSwap", function () { localize(document); });

  // A link that is replaced between the press of a button and its release is not
  // followed: what arrives meanwhile waits, and is asked for anew if nothing was.
  let held = false, missed = null;
  document.addEventListener("pointerdown", function (e) { held = e.target.closest("#results a") !== null; });
  document.addEventListener("htmx:beforeSwap", function (e) {
    if (!held) return;
    e.detail.shouldSwap = false;
    missed = e.detail.requestConfig.elt;
  });
  function release() {
    held = false;
    setTimeout(function () { // behind the click
      if (missed === null) return;
      htmx.trigger(missed, "submit");
      missed = null;
    });
  }
  document.addEventListener("click", function (e) {
    if (e.target.closest("#results a") && !e.ctrlKey && !e.metaKey && !e.shiftKey) missed = null; // the page is left
  });
  // What is sent is sent once, and says that it is under way. A download leaves the
  // page as it is.
  document.addEventListener("submit", function (e) {
    const form = e.target;
    if (form.method !== "post" || "download" in form.dataset) return;
    if ("sent" in form.dataset) {
      e.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    const wait = setTimeout(function () { if (e.submitter) e.submitter.classList.add("waiting"); }, 200);
    setTimeout(function () { // there was no answer
      clearTimeout(wait);
      delete form.dataset.sent;
      if (e.submitter) e.submitter.classList.remove("waiting");
    }, 15000);
  });

  document.addEventListener("pointerup", release);
  document.addEventListener("pointercancel", release);
})();

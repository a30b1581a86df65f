// Adds the local time to the times in UTC. Without it they are only in UTC.
"use strict";
(function () {
  const format = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "short"});
  function localize(root) {
    for (const t of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(t.dateTime);
      if (isNaN(at)) continue;
      t.dataset.local = "yes";
      t.title = t.textContent;
      t.textContent = format.format(at) + " (" + t.title + ")";
    }
  }
  localize(document);
  document.addEventListener("htmx:afterSwap", function () { localize(document); });
})();

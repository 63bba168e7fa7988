(() => {
  "use strict";
  const main = document.getElementById("status");
  const link = document.getElementById("link");
  const say = (live) => {
    link.hidden = false;
    link.className = live ? "" : "stale";
    link.textContent = live ? document.body.dataset.live : document.body.dataset.stale;
  };
  const show = (html) => {
    const made = new DOMParser().parseFromString(`<main>${html}</main>`, "text/html");
    const parts = main.querySelectorAll("[data-part]");
    const news = made.querySelectorAll("[data-part]");
    if (parts.length !== news.length) { main.replaceChildren(...made.querySelector("main").childNodes); return; }
    // Only what differs is touched; the headline stays the same element, so that it is read aloud when it changes.
    parts.forEach((part, index) => {
      const other = news[index];
      const said = part.querySelector("#said");
      if (said) {
        const next = other.querySelector("#said");
        if (said.textContent !== next.textContent) said.textContent = next.textContent;
        part.className = other.className;
        part.querySelector(".lamp").replaceWith(other.querySelector(".lamp"));
        const rest = [...other.querySelectorAll("p")];
        part.querySelectorAll("p").forEach((p) => p.remove());
        said.after(...rest);
      } else if (part.outerHTML !== other.outerHTML && !part.contains(document.activeElement)) {
        part.replaceWith(other);
      }
    });
    document.title = document.getElementById("said").textContent + document.title.replace(/^[^·]*/, " ");
  };
  const events = new EventSource(`/status/events?view=html&lang=${document.documentElement.lang}`);
  events.addEventListener("status", (event) => { say(true); show(event.data); });
  events.addEventListener("error", () => say(false));
})();

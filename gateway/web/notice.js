// Says which regions are missing from what the viewer shows. Every answer of the gateway tells it in its
// Federation-Status field; this reads the field of each answer that passes and keeps a bar on the page up to date.
(() => {
  "use strict";
  const TEXTS = {
    en: {
      lead: "Not everything is shown: no complete answer from",
      hint: "Studies and images that only they hold may be missing.",
      hide: "Hide",
      show: (n) => `⚠ ${n} ${n === 1 ? "region" : "regions"} missing`,
      states: {
        limited: "too many matches: narrow the search",
        "identity-conflict": "its patient contradicts that of another region",
        timeout: "did not answer in time",
        refused: "cannot be reached",
        unreachable: "cannot be reached",
        "circuit-open": "failed repeatedly, will be asked again soon",
      },
      other: "did not answer",
      colon: ":",
    },
    fr: {
      lead: "Tout n’est pas affiché : pas de réponse complète de",
      hint: "Il peut manquer des examens et des images qu’elles sont seules à détenir.",
      hide: "Masquer",
      show: (n) => `⚠ ${n} ${n === 1 ? "région absente" : "régions absentes"}`,
      states: {
        limited: "trop de résultats : précisez la recherche",
        "identity-conflict": "son patient contredit celui d’une autre région",
        timeout: "n’a pas répondu à temps",
        refused: "ne peut être jointe",
        unreachable: "ne peut être jointe",
        "circuit-open": "en panne répétée, sera réinterrogée sous peu",
      },
      other: "n’a pas répondu",
      colon: "\u00a0:",
    },
  };
  const language = (navigator.language || "en").toLowerCase().startsWith("fr") ? "fr" : "en";
  const words = TEXTS[language];
  const states = new Map();
  let shown = "[]";
  let hidden = false;
  let bar = null;

  const missing = () => [...states].filter(([, state]) => state !== "complete");

  function read(field) {
    for (const member of field.split(",")) {
      const [region, ...parameters] = member.trim().split(";");
      const state = parameters.find((parameter) => parameter.startsWith("state="));
      if (region && state) states.set(region, state.slice("state=".length));
    }
    draw();
  }

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function named(region) {
    const known = (window.gatewayRegions || {})[region];
    if (!known) return region.toUpperCase();
    return known.title ? `${known.name} (${known.title})` : known.name;
  }

  function listed(regions) {
    const list = element("ul");
    for (const [region, state] of regions) {
      list.append(element("li", `${named(region)}${words.colon} ${words.states[state] || words.other}`));
    }
    return list;
  }

  function draw() {
    const regions = missing();
    const key = JSON.stringify(regions);
    if (key === shown || !document.body) return;
    shown = key;
    hidden = false;
    if (!bar) {
      bar = element("aside");
      bar.id = "gateway-notice";
      bar.lang = language;
      bar.setAttribute("role", "status");
      bar.setAttribute("aria-live", "polite");
      document.body.append(bar);
    }
    fill(regions);
  }

  function fill(regions) {
    bar.hidden = regions.length === 0;
    bar.classList.toggle("small", hidden);
    const told = element("div");
    told.append(element("p", words.lead), listed(regions), element("p", words.hint));
    const button = element("button", hidden ? words.show(regions.length) : words.hide);
    button.type = "button";
    button.setAttribute("aria-expanded", String(!hidden));
    button.addEventListener("click", () => {
      hidden = !hidden;
      fill(missing());
      bar.querySelector("button").focus();
    });
    bar.replaceChildren(...(regions.length ? [told, button] : []));
  }

  const fetched = window.fetch;
  window.fetch = async function fetch(...rest) {
    const answer = await fetched.apply(this, rest);
    const field = answer.headers.get("Federation-Status");
    if (field) read(field);
    return answer;
  };

  const send = XMLHttpRequest.prototype.send;
  XMLHttpRequest.prototype.send = function observed(...rest) {
    this.addEventListener("readystatechange", () => {
      if (this.readyState !== XMLHttpRequest.HEADERS_RECEIVED) return;
      // Asking for a field that is absent makes Chromium complain of a foreign answer; listing them all does not.
      const found = /^federation-status: *(.*)$/im.exec(this.getAllResponseHeaders());
      if (found) read(found[1]);
    });
    return send.apply(this, rest);
  };

  document.addEventListener("DOMContentLoaded", draw);
})();

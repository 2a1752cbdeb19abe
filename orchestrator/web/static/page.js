(() => {
  "use strict";
  // by what something that can have the focus is found again
  const called = (some) => some.href || (some.form && some.form.getAttribute("action") + some.value) || some.getAttribute("aria-label");
  // new content in the place of the old; tables stay scrolled where they are, the focus stays where it is, figures
  // stay as they are drawn, and what somebody has chosen but not sent stays chosen
  function put(live, fresh) {
    for (const field of live.querySelectorAll("[data-touched]")) {
      const one = field.type === "checkbox" ? `[value="${CSS.escape(field.value)}"]` : "";
      const same = fresh.querySelector(`[name="${field.name}"]${one}`);
      if (same) [same.value, same.checked, same.dataset.touched] = [field.value, field.checked, ""];
    }
    for (const part of live.querySelectorAll("details[id]")) {
      const same = fresh.querySelector(`#${CSS.escape(part.id)}`);
      if (same) same.open = part.open;
    }
    const focused = live.contains(document.activeElement) ? document.activeElement : null, held = focused && called(focused);
    const scrolled = [...live.querySelectorAll(".scroll")].map((table) => table.scrollLeft);
    const figures = new Map([...live.querySelectorAll("[data-figure]")].map((figure) => [figure.id, figure]));
    live.replaceChildren(...fresh.childNodes);
    for (const figure of live.querySelectorAll("[data-figure]")) {
      const old = figures.get(figure.id);
      if (!old) continue;
      old.dataset.figure = figure.dataset.figure;
      figure.replaceWith(old);
    }
    live.querySelectorAll(".scroll").forEach((table, index) => (table.scrollLeft = scrolled[index] || 0));
    if (!focused || focused === document.activeElement) return;
    const same = [...live.querySelectorAll("a, button, [tabindex]")].find((some) => called(some) === held);
    (live.contains(focused) ? focused : same ?? live).focus({ preventScroll: true }); // what is gone leaves it near
  }
  const AWAY = "The server is away. This page tries again by itself.";
  const OVER = "This session has ended: open the address that the server has printed.";
  // what is live is fetched again when the server tells of something new, or after a while where it does not tell;
  // a page that is not looked at asks for nothing and holds no connection
  function keep(live) {
    const notice = document.createElement("p");
    notice.setAttribute("role", "status");
    live.before(notice);
    const say = (words) => {
      if (notice.textContent === words) return;
      notice.textContent = words;
      notice.className = words && "warning";
    };
    let pause = Number(live.dataset.live), shown = live.innerHTML;
    let stream = null, seen = null, timer = 0, over = "over" in live.dataset, busy = false, again = false;
    const later = (seconds, what = look) => {
      clearTimeout(timer);
      if (!over) timer = setTimeout(what, 1000 * seconds);
    };
    const end = (words) => {
      over = true;
      clearTimeout(timer);
      stream?.close();
      say(words);
    };
    // not under a finger, nor while somebody types or marks a text
    const taken = () => getSelection().toString() || live.querySelector(":active, input:focus, select:focus");
    async function fetched() {
      const known = live.dataset.tag;
      const answer = await fetch(location.href, known ? { headers: { "If-None-Match": known } } : {});
      const text = await answer.text();
      if (answer.status === 401) return end(OVER);
      if (answer.status > 500) throw answer; // what stands between here and the server says that it is away
      say("");
      const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("[data-live]");
      if (!answer.ok || !fresh) return;
      if (taken()) return later(1);
      const content = fresh.innerHTML;
      pause = Number(fresh.dataset.live);
      if (fresh.dataset.tag) live.dataset.tag = fresh.dataset.tag;
      if (content !== shown) put(live, fresh);
      shown = content;
      document.dispatchEvent(new Event("fresh"));
      if ("over" in fresh.dataset) end("");
    }
    async function look() {
      if (over || (again = busy)) return;
      if (!stream) later(pause);
      if (document.hidden) return;
      if (taken()) return later(stream ? 1 : pause);
      busy = true;
      try {
        await fetched();
      } catch {
        say(AWAY);
        later(stream ? 1 : pause);
      }
      busy = false;
      if (again) look();
    }
    function listen() {
      if (over || stream || document.hidden) return;
      const source = (stream = new EventSource(live.dataset.events));
      source.addEventListener("version", (event) => {
        say("");
        if (event.data !== seen) look();
        seen = event.data;
      });
      source.addEventListener("error", () => {
        if (source !== stream) return;
        if (source.readyState !== EventSource.CLOSED) return say(AWAY); // the browser asks again by itself
        stream = null; // it was refused: the page itself says why
        look().then(() => later(1, listen));
      });
    }
    if (!live.dataset.events || !window.EventSource) return later(pause);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) return listen();
      stream?.close();
      stream = null;
      clearTimeout(timer);
    });
    listen();
  }
  for (const live of document.querySelectorAll("[data-live]")) {
    live.addEventListener("input", (event) => (event.target.dataset.touched = ""));
    keep(live);
  }
  // a choice is sent at once, but not while keys go through it: the button beside it sends that
  for (const choice of document.querySelectorAll("[data-sends]")) {
    let keys = false;
    choice.addEventListener("keydown", () => (keys = true));
    choice.addEventListener("pointerdown", () => (keys = false));
    choice.addEventListener("change", () => keys || choice.form.submit());
  }
  const auto = document.querySelector("input[name=monitor][value=auto]");
  for (const box of document.querySelectorAll("input[name=monitor]")) {
    box.addEventListener("change", () => {
      if (!box.checked) return;
      if (box === auto) {
        for (const other of document.querySelectorAll("input[name=monitor]")) other.checked = other === auto;
      } else {
        auto.checked = false;
      }
    });
  }
})();

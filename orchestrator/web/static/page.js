(() => {
  "use strict";
  // by what something that can have the focus is found again
  const called = (some) => some.href || (some.form && some.form.action + some.value) || some.getAttribute("aria-label");
  // new content in the place of the old; tables stay scrolled where they are, the focus stays where it is, and
  // what somebody has chosen but not sent stays chosen
  function put(live, fresh) {
    for (const field of live.querySelectorAll("[data-touched]")) {
      const one = field.type === "checkbox" ? `[value="${CSS.escape(field.value)}"]` : "";
      const same = fresh.querySelector(`[name="${field.name}"]${one}`);
      if (same) [same.value, same.checked, same.dataset.touched] = [field.value, field.checked, ""];
    }
    const held = live.contains(document.activeElement) ? called(document.activeElement) : null;
    const scrolled = [...live.querySelectorAll(".scroll")].map((table) => table.scrollLeft);
    live.replaceChildren(...fresh.childNodes);
    live.querySelectorAll(".scroll").forEach((table, index) => (table.scrollLeft = scrolled[index] || 0));
    if (held === null) return;
    const same = [...live.querySelectorAll("a, button, [tabindex]")].find((some) => called(some) === held);
    (same ?? live).focus({ preventScroll: true }); // what is gone leaves it near
  }
  // what is live is fetched again and put in place; a page that is not looked at asks for nothing
  for (const live of document.querySelectorAll("[data-live]")) {
    let pause = Number(live.dataset.live);
    live.addEventListener("input", (event) => (event.target.dataset.touched = ""));
    const again = async () => {
      if (!document.hidden && !getSelection().toString()) {
        try {
          const known = live.dataset.tag;
          const answer = await fetch(location.href, known ? { headers: { "If-None-Match": known } } : {});
          const text = await answer.text();
          const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("[data-live]");
          if (answer.ok && fresh && !live.querySelector(":active, input:focus, select:focus")) { // not under a finger
            if (live.innerHTML !== fresh.innerHTML) put(live, fresh);
            if (fresh.dataset.tag) live.dataset.tag = fresh.dataset.tag;
            if ("over" in fresh.dataset) return;
            pause = Number(fresh.dataset.live);
          }
        } catch {
          // the server is away: the next look may find it
        }
      }
      setTimeout(again, 1000 * pause);
    };
    if (!("over" in live.dataset)) setTimeout(again, 1000 * pause);
  }
  for (const choice of document.querySelectorAll("[data-sends]")) {
    choice.addEventListener("change", () => choice.form.submit());
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

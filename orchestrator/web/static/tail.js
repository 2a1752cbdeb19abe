(() => {
  "use strict";
  // what grows at its end stays scrolled to the end for who is there, and where it is for who reads above
  const places = new Map();
  const drawn = new WeakMap();
  const atEnd = (some) => some.scrollTop + some.clientHeight >= some.scrollHeight - 4;
  function follow(some) {
    if (drawn.get(some) === some.scrollHeight) return;
    if (!drawn.has(some)) {
      some.addEventListener("scroll", () => places.set(some.id, { end: atEnd(some), top: some.scrollTop }));
    }
    const place = places.get(some.id) ?? { end: true, top: 0 };
    some.scrollTop = place.end ? some.scrollHeight : place.top;
    drawn.set(some, some.scrollHeight);
  }
  const all = () => document.querySelectorAll("[data-tail]").forEach(follow);
  all();
  for (const live of document.querySelectorAll("[data-live]")) {
    new MutationObserver(all).observe(live, { childList: true, subtree: true });
  }
})();

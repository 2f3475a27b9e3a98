// Before anything is painted: the theme that was chosen here, if one was. Kept in the browser.
"use strict";
(() => {
  const KEY = "ullage-theme";
  const root = document.documentElement;
  let kept = null;
  try {
    kept = localStorage.getItem(KEY);
  } catch {
    // A browser that keeps nothing follows the system.
  }
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  globalThis.ullageTheme = {
    now: () => root.dataset.theme ?? "auto",
    set(theme) {
      if (theme === "auto") delete root.dataset.theme;
      else root.dataset.theme = theme;
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // It holds for as long as the page is open.
      }
      root.dispatchEvent(new Event("theme"));
    },
  };
})();

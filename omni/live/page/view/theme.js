// Dark or light: what the system says until the user chooses. Loaded before the page is painted, so it is no module.

{
  const KEPT = "omni.theme";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const use = (theme) => {
    root.dataset.theme = theme;
    root.style.colorScheme = theme;
  };
  const kept = () => {
    try {
      return localStorage.getItem(KEPT);
    } catch {
      return null;
    }
  };
  use(kept() ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => kept() ?? use(dark.matches ? "dark" : "light"));

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("#theme");
    const tell = () => button.setAttribute("aria-pressed", String(root.dataset.theme === "dark"));
    tell();
    button.addEventListener("click", () => {
      use(root.dataset.theme === "dark" ? "light" : "dark");
      tell();
      try {
        localStorage.setItem(KEPT, root.dataset.theme);
      } catch {
        // it holds for this visit, then
      }
    });
  });
}

// Runs before the first paint, so that the chosen theme never flashes. A classic script on purpose: modules wait.
(() => {
  let theme = "";
  try { theme = localStorage.getItem("riskwire.theme") || ""; } catch { /* storage may be forbidden: follow the system */ }
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();

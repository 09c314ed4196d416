// Lecturer mode: large type, chosen parts hidden.
export function dress(query, tabs) {
  if (query.get("present") === "1") {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL("present.css", import.meta.url).href;
    document.head.append(sheet);
  }
  const parts = (query.get("hide") ?? "").split(",").filter((t) => /^[a-z0-9-]{1,40}$/.test(t));
  if (!parts.length) return;
  const rules = parts.flatMap((t) => [`#${CSS.escape(t)}`, `[data-hide~="${t}"]`,
    `button[data-tab-id="${t}"]`, ...tabs.flatMap((id) => [`#${id}-${t}`, `#${id}-${t}-row`])]);
  const style = document.createElement("style");
  style.textContent = rules.join(",") + "{display:none !important}";
  document.head.append(style);
}

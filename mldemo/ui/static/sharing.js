// Copies the link, program or command of a run, and saves its pictures.
import { save } from "./export.js";

async function toClipboard(element) { // whether it was copied; if not, it is left selected
  try { // a site that frames this page may forbid it, and then an attempt would log an error
    if (document.featurePolicy?.allowsFeature("clipboard-write") ?? true) {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    }
  } catch { /* refused: try execCommand */ }
  getSelection().selectAllChildren(element);
  return document.execCommand("copy");
}

const COPIES = { link: "Link", python: "Python", command: "Command" };
export function sharing(player, name, link) {
  const shown = player.$("command"), said = player.$("copied");
  const words = { link: () => link(true), python: () => player.head?.python,
    command: () => player.head?.command };
  for (const [what, title] of Object.entries(COPIES))
    player.$("copy-" + what)?.addEventListener("click", async () => {
      const text = words[what]();
      if (!text) return;
      shown.hidden = false;
      shown.textContent = text;
      said.textContent = (await toClipboard(shown)) ? title + " copied" : "Press Ctrl+C";
    });
  for (const kind of ["png", "gif", "webp"])
    player.$("save-" + kind)?.addEventListener("click", async () => {
      if (!player.tracks.length) return;
      said.textContent = "Writing …";
      try {
        said.textContent = await save(player, kind, name);
      } catch (error) {
        said.textContent = String(error.message ?? error);
      }
    });
  return { begin(head) { // no button for what this run does not have
    for (const what of ["python", "command"]) {
      const button = player.$("copy-" + what);
      if (button) button.hidden = !head[what];
    }
  } };
}

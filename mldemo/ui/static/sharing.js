// Taking it home: the link, the program, the command, pictures.
import { save } from "./export.js";

async function toClipboard(element) { // whether it is there; if not, it is marked for the visitor
  try { // a frame of another site may forbid it, and asking all the same is an error in its log
    if (document.featurePolicy?.allowsFeature("clipboard-write") ?? true) {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    }
  } catch { /* refused: the old way */ }
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
  return { begin(head) { // what there is nothing of is not offered
    for (const what of ["python", "command"]) {
      const button = player.$("copy-" + what);
      if (button) button.hidden = !head[what];
    }
  } };
}

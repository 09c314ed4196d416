// Copies the link, program or command of a run, and saves its pictures.
import { save } from "./export.js";

export async function toClipboard(words, select) { // whether they were copied; if not, select them
  try { // a site that frames this page may forbid it, and then an attempt would log an error
    if (document.featurePolicy?.allowsFeature("clipboard-write") ?? true) {
      await navigator.clipboard.writeText(words);
      return true;
    }
  } catch { /* refused: try execCommand */ }
  select();
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
      said.textContent = (await toClipboard(text, () => getSelection().selectAllChildren(shown))) ? title + " copied" : "Press Ctrl+C";
    });
  let saving = false; // an animation moves the playhead meanwhile
  for (const kind of ["png", "gif", "webp"])
    player.$("save-" + kind)?.addEventListener("click", async () => {
      if (saving || !player.tracks.length) return;
      saving = true;
      said.textContent = "Writing …";
      try {
        said.textContent = await save(player, kind, name);
      } catch (error) {
        said.textContent = String(error.message ?? error);
      }
      saving = false;
    });
  return { begin(head) { // no button for what this run does not have
    for (const what of ["python", "command"]) {
      const button = player.$("copy-" + what);
      if (button) button.hidden = !head[what];
    }
  } };
}

// The first picture, while gradio is still assembling the page: see opening.py.
import { open } from "./page.js";

const parts = document.querySelector("#md-opening-parts"), page = document.createElement("div");
page.id = "md-opening";
page.append(parts.content);
const theme = new URLSearchParams(location.search).get("__theme");
const dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
document.body.classList.toggle("dark", dark); // as gradio will
document.body.prepend(page);
open(page, JSON.parse(parts.dataset.spec));

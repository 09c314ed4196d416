// Resolution: a row of pictures for each prior, restrictions of the finer ones below.
import { make } from "../../static/dom.js";
import { explain } from "../../static/explain.js";
import { Pictures } from "../../static/pictures.js";
import { diffusion } from "../../static/snr.js";

export function create({ root, player, view, runner }) {
  const area = root.querySelector(".md-panels"), show = root.querySelector(".md-show");
  show.value = view.get("show") === "x0" ? "x0" : "x";
  show.addEventListener("change", () => {
    view.set("show", show.value === "x0" ? "x0" : null);
    player.redraw(true);
  });
  diffusion(player);
  let built = "";

  function picture(parent, label, pick) {
    const canvas = make("canvas", make("div", parent, "md-picture"));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
    player.add(new Pictures(canvas, pick));
    return canvas;
  }
  function cell(row, head, finer) {
    const box = make("figure", row, "md-level"), { track, resolution: n } = head;
    make("figcaption", box).innerHTML = `<b>x<sub>${n}</sub></b>`;
    picture(box, `${head.prior} prior on the grid ${n} by ${n}`, () => {
      const grey = player.frame(track)?.data[show.value];
      return grey && { grey, n, count: 1, key: grey };
    }).classList.add(`md-${head.prior === "standard" ? "white" : "smooth-prior"}-${n}`);
    const below = make("div", box, "md-below");
    if (!finer) return;
    const small = make("div", below, "md-small");
    picture(small, `the grid ${2 * n} restricted to ${n}`, () => {
      const grey = player.frame(track + 1)?.data["low_" + show.value];
      return grey && { grey, n, count: 1, key: grey };
    });
    const words = make("p", below, "md-gap");
    words.innerHTML = `P<sub>${n}</sub> x<sub>${2 * n}</sub><br><b class="md-number">–</b>`;
    const number = words.querySelector(".md-number"), rate = make("span", words, "md-rate");
    if (n === player.heads[0].resolution) Object.assign(words.dataset, { term: "restriction", name: "what the restriction differs by" });
    number.dataset.pair = `${head.prior}-${n}`;
    player.add({ draw: () => {
      const gap = player.frame(track + 1)?.readings["gap_" + show.value];
      const text = gap === undefined ? "–" : percent(gap);
      if (number.textContent !== text) number.textContent = text;
      const coarser = track % head.per_row ? player.frame(track)?.readings["gap_" + show.value] : undefined;
      const fell = gap >= EXACT && coarser >= EXACT ? `× ${(gap / coarser).toPrecision(2)}` : "";
      if (rate.textContent !== fell) rate.textContent = fell;
    } });
  }
  function build(heads, rows, per) {
    area.replaceChildren();
    player.panels = [];
    for (let r = 0; r < rows; r++) {
      const first = heads[r * per];
      const group = make("div", area, "md-row-group"), title = make("p", group, "md-row-title");
      group.dataset.term = "row";
      group.dataset.name = "a row";
      title.innerHTML = `<b>${r ? "white noise" : first.prior + " prior"}</b> ${first.scoreLabel}, `
        + (r ? "not trace class" : "trace class");
      const row = make("div", group, "md-level-row");
      row.style.setProperty("--md-levels", per);
      for (let i = 0; i < per; i++) cell(row, heads[r * per + i], i + 1 < per);
    }
    explain(area);
  }
  function begin(head) {
    if (head.track + 1 < head.tracks) return;
    const { heads } = player, key = heads.map((h) => h.prior + h.resolution + h.score).join();
    if (key === built) return;
    built = key;
    build(heads, head.tracks / head.per_row, head.per_row);
  }
  const idle = () => runner.start(runner.values);
  return {
    begin, idle,
    words: (h) => [h.prior + " prior and white noise", h.steps + " steps", h.sampler, "seed " + h.seed],
  };
}
const EXACT = 1e-5; // smaller differences are rounding errors of single precision
const percent = (v) => (v < EXACT ? "≈ 0 %" : Number((100 * v).toPrecision(2)) + " %");

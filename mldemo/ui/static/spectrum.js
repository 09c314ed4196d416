// The power spectrum of a run's x_t at the playhead, with those of the prior and the data.
import { Chart, around } from "./chart.js";

export const shells = (values, last) =>
  Array.from({ length: last }, (_, i) => [i + 1, values[i + 1]]);
export const lastShell = (player) =>
  Math.max(2, Math.min(player.head.data.prior.length, player.head.data.data.length) - 1);
export function spectrum(canvas, player, over, more = () => []) { // more: other moving curves
  return player.add(new Chart(canvas, {
    layout: () => {
      const { prior, data } = player.head.data, k = lastShell(player);
      return {
        x: [1, k], y: around([prior.subarray(1), data.subarray(1)]), logX: true, logY: true,
        label: "frequency |k|",
        curves: [
          { points: shells(prior, k), ink: "prior", dash: [9, 5], name: "prior" },
          { points: shells(data, k), ink: "data", dash: [2, 4], name: "data" },
        ],
      };
    },
    moving: () => [{ points: shells(player.frame().data.power, lastShell(player)), ink: "x", width: 3,
      name: "xₜ" }, ...more()],
    over,
  }));
}

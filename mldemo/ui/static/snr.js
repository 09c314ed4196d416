// The only definition of the signal-to-noise ratio: α² ΣΛ_k / (σ² Σq_k) for a set of frequencies,
// α² Λ_k / (σ² q_k) for a single one.
const counts = new Map(); // N -> how many frequencies of level N lie in each shell round(|k|)

function multiplicities(n) {
  if (counts.has(n)) return counts.get(n);
  const found = [], most = Math.ceil(n / 2) - 1; // |k1|, |k2| < N/2
  for (let a = -most; a <= most; a++)
    for (let b = -most; b <= most; b++) {
      const shell = Math.round(Math.hypot(a, b));
      found[shell] = (found[shell] ?? 0) + 1;
    }
  counts.set(n, found);
  return found;
}
export const ratio = (alpha, sigma, signal, noise) =>
  (alpha ** 2 * signal) / (sigma ** 2 * noise); // infinite where there is no noise

function logSnr(head, { alpha, sigma }, inside = () => true) { // over the shells inside
  const { spread, prior } = head.data;
  let signal = 0, noise = 0;
  multiplicities(head.resolution).forEach((count, k) => {
    if (!inside(k) || k >= spread.length) return;
    signal += count * spread[k];
    noise += count * prior[k];
  });
  return Math.log(ratio(alpha, sigma, signal, noise));
}
function inWords(value) {
  if (Number.isNaN(value)) return "–"; // neither signal nor noise
  if (!Number.isFinite(value)) return value > 0 ? "+∞" : "−∞";
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
}
// The readings of a tab that shows a diffusion; `inside` says which shells are shown.
export function diffusion(player, inside) {
  player.reading("time", ({ readings }) => readings.time.toFixed(3));
  player.reading("snr", ({ readings }) => inWords(logSnr(player.head, readings, inside)),
    "log signal to noise");
}

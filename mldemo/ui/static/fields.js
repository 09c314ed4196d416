// The values of controls as text in the URL, validated as in fields.py.
export const text = (value) => (Array.isArray(value) ? value.join(".") : String(value ?? ""));
// the query of a run, with the values that the run chose where the choice was left to it
export const settled = (fields, texts, head) => Object.assign({ ...texts }, ...fields
  .filter((f) => texts[f.name] === f.free && f.values.includes(head?.[f.name]))
  .map((f) => ({ [f.name]: head[f.name] })));

export function read(field, raw) { // the value of a text; undefined if it is not allowed
  if (field.least !== undefined) {
    const list = raw.split("."), known = list.every((v) => field.values.includes(v));
    const size = new Set(list).size;
    return known && size === list.length && size >= field.least && size <= field.most ? list
      : undefined;
  }
  if (field.values) return field.values.find((v) => String(v) === raw);
  const value = /^-?[0-9.]+(e-?[0-9]+)?$/.test(raw) ? Number(raw) : NaN;
  if (!(value >= field.low && value <= field.high)) return undefined;
  return field.whole && !Number.isInteger(value) ? undefined : value;
}
export function allowed(f) {
  if (f.least !== undefined) return `${f.least} to ${f.most} of ${f.values.join(", ")}, joined by dots`;
  return f.values ? "one of " + f.values.join(", ") : "from " + f.low + " to " + f.high;
}
// the number that suits what was chosen in another field; one that was set by hand stays
export const suited = ({ default: usual, suits }, chosen, value) =>
  ([usual, ...Object.values(suits)].includes(value) ? suits[chosen] ?? usual : value);

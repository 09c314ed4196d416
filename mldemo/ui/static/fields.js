// The values of controls as texts in the URL, checked as fields.py checks them.
export const text = (value) => (Array.isArray(value) ? value.join(".") : String(value ?? ""));
// what a run was asked for, with what it took by itself where it was free to
export const settled = (fields, texts, head) => Object.assign({ ...texts }, ...fields
  .filter((f) => texts[f.name] === f.free && f.values.includes(head?.[f.name]))
  .map((f) => ({ [f.name]: head[f.name] })));

export function read(field, raw) { // the value that a text stands for; undefined if none
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
  return f.values ? "one of " + f.values.join(", ") : "from " + f.low + " to " + f.high;
}

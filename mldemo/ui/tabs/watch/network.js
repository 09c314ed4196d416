// Network, light or large: the size of the chosen checkpoint, and its counterpart.
const named = ({ free, usual }, { checkpoint, prior }) =>
  (checkpoint === free ? usual[prior] : checkpoint);

export function shown(facts, values) {
  const name = named(facts, values), pair = facts.pairs[name];
  const off = (info) => ({ __type__: "update", value: null, interactive: false, info });
  if (values.score !== "learned") return off("An exact score uses no network.");
  if (!pair) return off(`${name ?? "The network"} is there in one size only.`);
  return {
    __type__: "update", value: Object.keys(pair).find((size) => pair[size] === name), interactive: true,
    info: facts.slow ? "The large network takes longer on this CPU; the run shows how long." : "",
  };
}
export function chosen(facts, values, size) { // the default is not named
  const name = facts.pairs[named(facts, values)][size];
  return name === facts.usual[values.prior] ? facts.free : name;
}

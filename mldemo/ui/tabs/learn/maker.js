// Links for a class: a tab, its values, what is hidden, a lesson, large type.
import { visible, written } from "../../static/address.js";
import { text } from "../../static/fields.js";
import { now as tabsNow } from "../../static/tabs.js";
import { fill, tabTitle } from "../../static/lessons.js";
import { toClipboard } from "../../static/sharing.js";

const PARTS = ["hint", "facts", "export", "bar", "start", "stop", "dice", "title", "footer"];

export function maker(details, all) { // built when it is first opened
  details.querySelector("summary").textContent = all.words.maker;
  details.addEventListener("toggle", () => build(details, all), { once: true });
  const look = () => { // whether the link for lecturers was followed
    if (location.hash !== "#make") return;
    history.replaceState(history.state, "", location.pathname + location.search); // for later links
    details.open = true;
    requestAnimationFrame(() => details.scrollIntoView());
  };
  addEventListener("hashchange", look);
  look();
}
function build(details, { steps, texts, words }) {
  const body = details.querySelector(".md-maker-body");
  const make = (tag, parent, properties = {}) => {
    const e = Object.assign(document.createElement(tag), properties);
    parent.append(e);
    return e;
  };
  const labelled = (parent, label) => {
    const e = make("label", parent);
    make("span", e, { textContent: label });
    return e;
  };
  const menu = (parent, label, pairs, name) => {
    const select = make("select", labelled(parent, label), { className: "md-maker-" + name });
    for (const [value, shown] of pairs) make("option", select, { value, textContent: shown });
    return select;
  };
  const check = (parent, label, value) => {
    const e = make("label", parent, { className: "md-check" });
    const box = make("input", e, { type: "checkbox", value });
    make("span", e, { textContent: label });
    return box;
  };
  make("p", body, { textContent: words.makerHint, className: "md-lesson-intro" });
  const top = make("div", body, { className: "md-band" });
  const tabs = tabsNow();
  const tab = menu(top, words.tab, tabs.map(({ id }) => [id, tabTitle(id)]), "tab");
  const lesson = menu(top, words.lesson, [["", words.none], ...steps.map((s) => [s.id, texts[s.id].title])], "lesson");
  const present = check(top, words.present, "1");
  present.classList.add("md-maker-present");
  const group = (title) => {
    const set = make("fieldset", body, { className: "md-maker-group" });
    make("legend", set, { textContent: title });
    return make("div", set);
  };
  const rows = group(words.values), parts = group(words.parts);
  const others = () => tabs.map(({ id }) => id).filter((id) => id !== tab.value);
  const out = make("p", body, { className: "md-maker-out" });
  const address = make("input", labelled(out, words.link), { type: "text", readOnly: true, className: "md-maker-link" });
  const copy = make("button", out, { type: "button", textContent: words.copy, className: "md-maker-copy" });
  const visit = make("a", out, { textContent: words["try link"], target: "_blank", rel: "noopener" });
  const said = make("span", out, { className: "md-copied" });
  said.setAttribute("role", "status");

  let controls = [];
  function control(row, field, value) { // -> read(): the text in the URL, or null if it is invalid
    const name = { ariaLabel: field.label };
    if (field.least !== undefined) {
      const boxes = field.values.map((v, i) => check(row, field.labels[i], v));
      for (const box of boxes) box.checked = value.includes(box.value);
      return () => {
        const list = boxes.filter((b) => b.checked).map((b) => b.value);
        return list.length >= field.least && list.length <= field.most ? list.join(".") : null;
      };
    }
    if (field.values) {
      const select = make("select", row, name);
      for (const [i, value] of field.values.entries()) make("option", select, { value, textContent: field.labels[i] });
      select.value = text(value);
      return () => select.value;
    }
    const box = make("input", row, { type: "number", min: field.low, max: field.high,
      step: field.whole ? 1 : "any", value, ...name });
    return () => (box.value !== "" && box.checkValidity() ? text(box.valueAsNumber) : null);
  }
  function open() { // the rows of the chosen tab, with its current values
    const { fields, values } = tabsNow().find(({ id }) => id === tab.value);
    rows.replaceChildren();
    controls = fields.map((field) => {
      const row = make("div", rows, { className: "md-maker-row" });
      row.dataset.field = field.name;
      make("b", row, { textContent: field.label });
      const read = control(make("span", row), field, values[field.name] ?? field.default);
      return { field, read, hide: check(row, words.hide, field.name) };
    });
    parts.replaceChildren();
    for (const part of PARTS) check(parts, words.partNames[part], part);
    for (const id of others()) check(parts, fill(words.theTab, { tab: tabTitle(id) }), id);
    write();
  }
  function write() {
    const query = new URLSearchParams({ tab: tab.value }), wrong = [];
    for (const { field, read } of controls) {
      const value = read();
      if (value === null) wrong.push(fill(words.wrongValue, { name: field.label,
        low: field.least ?? field.low, high: field.most ?? field.high }));
      else query.set(field.name, value);
    }
    const hidden = [...controls.filter((c) => c.hide.checked).map((c) => c.field.name),
      ...[...parts.querySelectorAll("input:checked")].map((b) => b.value)];
    if (hidden.length) query.set("hide", hidden.join());
    if (lesson.value) query.set("lesson", lesson.value);
    if (present.checked) query.set("present", "1");
    const url = new URL(written(query), visible());
    said.textContent = wrong.join(" ");
    copy.disabled = wrong.length > 0;
    address.value = wrong.length ? "" : url.href;
    if (wrong.length) visit.removeAttribute("href");
    else visit.href = url.href;
  }
  tab.addEventListener("change", open);
  body.addEventListener("input", write);
  copy.addEventListener("click", async () => {
    const copied = await toClipboard(address.value, () => address.select());
    said.textContent = copied ? words.copied : words.press;
  });
  details.addEventListener("toggle", () => details.open && open());
  open();
}

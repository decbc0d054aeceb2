// The list of what has arrived: events, replies, and notices about the connection. Newest first.

const ROWS_LAST = 300;
const NAMES = { all: "all", authenticated: "authenticated", user: "to you", reply: "reply" };

const find = (id) => document.getElementById(id);
let received = 0;

export function addEvent({ audience, topic, type, time, data, id }, remark = null) {
  const row = document.createElement("li");
  if (id) row.title = `id ${id}`;
  const badge = element("span", topic ?? NAMES[audience] ?? "event", audience ? { audience } : {}, "badge");
  if (!audience) badge.title = "This transport does not say whom an event was for";
  row.append(badge);
  row.append(element("span", type, {}, "type"));
  row.append(element("time", [remark, clock(time)].filter(Boolean).join(" · "), {}, "when"));
  row.append(element("pre", JSON.stringify(data)));
  if (audience !== "reply") received += 1;
  addRow(row);
}

export function addNotice(text, bad = false) {
  const newest = find("events").firstElementChild;
  if (newest?.dataset.notice === text) {
    // If a gateway is away for long, one row counts the attempts.
    const times = Number(newest.dataset.times ?? 1) + 1;
    newest.dataset.times = times;
    newest.firstElementChild.textContent = `${text}, ${times} times`;
    newest.lastElementChild.textContent = clock(new Date());
    return;
  }
  const row = element("li", "", { notice: text, ...(bad && { bad: "" }) }, "notice");
  row.append(element("span", text), element("time", clock(new Date()), {}, "when"));
  addRow(row);
}

export function clearRows() {
  received = 0;
  find("events").replaceChildren();
  showCount();
}

export function element(name, text, dataset = {}, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  Object.assign(made.dataset, dataset);
  if (className) made.className = className;
  return made;
}

function addRow(row) {
  const list = find("events");
  list.prepend(row);
  list.scrollTop = 0;
  while (list.childElementCount > ROWS_LAST) list.lastElementChild.remove();
  showCount();
}

function showCount() {
  find("count").textContent = received;
  find("count").title = `${received} events received`;
  find("empty").hidden = received > 0 || find("events").querySelector("li:not(.notice)") !== null;
}

function clock(time) {
  const at = new Date(time);
  const part = (number, width = 2) => String(number).padStart(width, "0");
  const second = `${part(at.getSeconds())}.${part(at.getMilliseconds(), 3)}`;
  return `${part(at.getHours())}:${part(at.getMinutes())}:${second}`;
}

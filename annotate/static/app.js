// The page: one person at a time, one part lit at a time, each answer safe before the next part.

import { get, loadImage, pending, post, Refused, whenSilent } from "./net.js";
import { sketch } from "./sketch.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const session = crypto.randomUUID();
const known = localStorage.getItem("hemlets-annotator");
// What a page needs first is asked for at once.
const opening = known && get("open", { annotator: known });
opening?.catch?.(() => {});
const [words, setup] = await Promise.all([
  fetch("static/strings.json").then((answer) => answer.json()), get("setup"),
]);

whenSilent((silent) => notice(silent ? (pending().length ? words.unsaved : words.server_gone) : null));

const text = (name, values = {}) => words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
const joint = (number) => words.joint_names[setup.joints[number]];
const title = (question) => words.names[question.name] ?? `${joint(question.parent)} – ${joint(question.child)}`;
const pairWords = (question) => ({
  part: title(question), parent: joint(question.parent), child: joint(question.child),
});

const side = new Map(setup.joints.map((name, number) => {
  const other = name.startsWith("left_") ? name.replace("left_", "right_") : name.replace("right_", "left_");
  return [number, setup.joints.indexOf(other)];
}));

const loaded = new Map(); // by position: a promise of the task with its decoded image
const following = new Map(); // by position: a promise of the next open one
const history = []; // positions that were shown, the last one last
let annotator = "";
let current = null; // the shown task
let question = 0; // number of the lit question
let litAt = 0; // when it was lit, by the monotonic clock
let hiddenFor = 0; // milliseconds for which the page was hidden since
let hiddenAt = null;
let opinion = null; // the model's relations, where they are shown
let moving = false;
let busy = false;
const waiting = []; // what was pressed while an answer was on its way
let input = "";
let first = true; // nothing was opened yet

const names = setup.joints.map((_, number) => joint(number));
const stage = new View($("stage"), {
  bones: setup.bones, names,
  onJoint: {
    describe: (number, [x, y]) => text("joint_at", { joint: joint(number), x: Math.round(x), y: Math.round(y) }),
    moved: (number, place) => act(() => saveJoint(number, place)),
  },
});
const loupe = new View($("loupe"), { bones: setup.bones, names });
new ResizeObserver(() => {
  document.body.style.setProperty("--stage-bottom", `${stage.root.getBoundingClientRect().bottom}px`);
}).observe(stage.root);

// --- tasks and images, loaded ahead ---

function load(position, given = null) {
  if (!loaded.has(position)) {
    loaded.set(position, (async () => {
      const task = given ?? await get("task", { position, annotator });
      const image = new Image(), close = new Image();
      task.gone = !await loadImage(task.image, [image, close]);
      return { task, image, close };
    })());
    loaded.get(position).catch(() => loaded.delete(position));
    for (const old of [...loaded.keys()].slice(0, -12)) if (old !== current?.position) loaded.delete(old);
  }
  return loaded.get(position);
}

// A guess of the next open one, to load it ahead: which one is shown, the server says with the last answer.
function next(position) {
  if (!following.has(position)) {
    const found = get("next", { annotator, after: position, ahead: true }).then((answer) => answer.position);
    following.set(position, found);
    found.then((answer) => { if (answer === null) following.delete(position); }, () => following.delete(position));
  }
  return following.get(position);
}

async function preload(position) {
  for (let ahead = 0, at = position; ahead < 3; ahead += 1) {
    at = await next(at);
    if (at === null) return;
    await load(at);
  }
}

// --- showing ---

async function show(position, { remember = true, lit = null } = {}) {
  if (position === null || position === undefined) return showEnd();
  let found;
  try { found = await load(position); } catch (error) { return notice(text("refused", { why: error.message })); }
  const { task, image, close } = found;
  if (remember && current) history.push(current.position);
  current = task;
  moving = !task.found && !Object.keys(task.state.joints).length;
  opinion = null;
  $("empty").hidden = !task.gone;
  document.body.classList.toggle("idle", Boolean(task.gone));
  if (task.gone) {
    loaded.delete(position);
    empty("image_gone", "image_gone_help", ["next", () => act(skip)]);
  }
  stage.show(task, task.gone ? null : image);
  loupe.show(task, task.gone ? null : close);
  stage.look(around(task.box, 0.12));
  light(lit ?? firstOpen());
  document.body.dataset.position = position;
  preload(position).catch(() => {});
}

function around([x0, y0, x1, y1], margin) {
  const more = margin * Math.max(x1 - x0, y1 - y0);
  return [x0 - more, y0 - more, x1 + more, y1 + more];
}

// The skeleton as this annotator has it.
function skeleton() {
  const { task = current } = {};
  const order = task.joints.map((_, number) => (task.state.flags.includes("swapped") ? side.get(number) : number));
  const joints = order.map((number) => [...task.joints[number]]);
  const valid = order.map((number) => task.valid[number]);
  for (const [name, place] of Object.entries(task.state.joints)) {
    joints[setup.joints.indexOf(name)] = [...place];
    valid[setup.joints.indexOf(name)] = true;
  }
  return { joints, valid };
}

function isAsked(number) {
  const { parent, child } = setup.questions[number];
  return current.valid[parent] && current.valid[child];
}

const asked = () => setup.questions.map((_, number) => number).filter(isAsked);
const firstOpen = () => asked().find((number) => !(setup.questions[number].name in current.state.answers)) ?? asked()[0] ?? 0;

function light(number) {
  question = number;
  litAt = performance.now();
  hiddenFor = 0;
  render();
  const one = setup.questions[number], all = asked();
  $("live").textContent = text("announce", {
    ...pairWords(one), number: all.indexOf(number) + 1, total: all.length,
  });
}

function render() {
  if (!current) return;
  const one = setup.questions[question], values = pairWords(one), all = asked();
  const { answers, flags, done } = current.state;
  const drawn = { ...skeleton(), lit: moving ? null : one };
  stage.set({ ...drawn, moving });
  loupe.set({ ...skeleton(), lit: one });
  closer();
  // On a narrow screen the enlarged part lies over the picture, above or below the part itself.
  document.body.classList.toggle("below", litMiddle()[1] < stage.root.clientHeight / 2);
  if (stage.image) stage.image.alt = text("picture", values);
  $("part").textContent = values.part;
  $("place").textContent = text("part_of", { number: all.indexOf(question) + 1, total: all.length });
  $("asks").textContent = text("question", values);
  for (const label of "FBU") {
    const button = $(`answer_${label}`);
    button.setAttribute("aria-pressed", answers[one.name] === label);
    button.setAttribute("aria-label", text(`${label}_long`, values));
    button.classList.toggle("guess", opinion !== null && opinion[one.name] === label);
  }
  $("says").hidden = opinion === null;
  if (opinion !== null) {
    const said = opinion[one.name];
    $("says").textContent = said === undefined ? words.opinion_none
      : said === "U" ? words.opinion_level : text("opinion_is", { label: words[said] });
  }
  renderParts();
  press("opinion", opinion !== null, opinion !== null ? "opinion_hide" : "opinion");
  press("joints", moving, moving ? "joints_end" : "joints");
  $("finish").firstChild.textContent = words[moving ? "joints_end" : "finish"];
  for (const flag of ["no_person", "cannot_tell", "swapped"]) press(flag, flags.includes(flag));
  const shown = moving ? (current.found ? "joints_help" : "not_found")
    : ["no_person", "cannot_tell", "swapped"].filter((flag) => flags.includes(flag)).map((flag) => `flag_${flag}`)[0]
      ?? (done ? "finished_image" : null);
  $("badge").hidden = !shown || Boolean(current.gone);
  if (shown) $("badge").textContent = words[shown];
  document.body.classList.toggle("moving", moving);
}

function renderParts() {
  const list = $("parts");
  if (list.children.length !== setup.questions.length) {
    list.replaceChildren(...setup.questions.map((one, number) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.append(document.createElement("span"), document.createElement("b"));
      button.firstChild.textContent = title(one);
      button.addEventListener("click", () => act(() => { moving = false; light(number); }));
      item.append(button);
      return item;
    }));
  }
  setup.questions.forEach((one, number) => {
    const button = list.children[number].firstChild, label = current.state.answers[one.name];
    button.disabled = !isAsked(number);
    button.lastChild.textContent = label ?? "";
    button.classList.toggle("lit", number === question);
    button.toggleAttribute("aria-current", number === question);
    button.setAttribute("aria-label", button.disabled ? text("part_missing", { part: title(one) })
      : label ? text("part_answered", { part: title(one), label: words[label] }) : text("part_open", { part: title(one) }));
  });
  const lit = list.children[question];
  list.scrollTo({ left: lit.offsetLeft - list.clientWidth / 2 + lit.clientWidth / 2 });
}

// The middle of the part in question on the screen.
function litMiddle() {
  const { joints } = skeleton(), { parent, child } = setup.questions[question];
  const [[ax, ay], [bx, by]] = [stage.screen(joints[parent]), stage.screen(joints[child])];
  return [(ax + bx) / 2, (ay + by) / 2];
}

// The enlarged part: a square about it.
function closer() {
  const { joints } = skeleton(), { parent, child } = setup.questions[question];
  const [a, b] = [joints[parent], joints[child]];
  const half = Math.max(Math.hypot(a[0] - b[0], a[1] - b[1]) * 0.8,
    0.11 * Math.max(current.box[2] - current.box[0], current.box[3] - current.box[1]));
  const x = (a[0] + b[0]) / 2, y = (a[1] + b[1]) / 2;
  loupe.look([x - half, y - half, x + half, y + half]);
}

function press(id, on, name = id) {
  $(id).setAttribute("aria-pressed", on);
  $(id).firstChild.textContent = words[name];
}

function empty(heading, help, action, values = {}) {
  const box = $("empty");
  box.hidden = false;
  box.querySelector("h2").textContent = words[heading];
  box.querySelector("p").textContent = text(help, values);
  const button = box.querySelector("button");
  button.hidden = !action;
  if (action) { button.textContent = words[action[0]]; button.onclick = action[1]; }
}

async function showEnd() {
  const { finished, total, growing, position, held } = await get("open", { annotator });
  progress({ finished, total, growing });
  if (position !== null) { following.clear(); return show(position); }
  const last = current?.position;
  if (current) history.push(last);
  current = null;
  delete document.body.dataset.position;
  stage.show(null, null);
  loupe.show(null, null);
  document.body.classList.add("idle");
  if (growing || held) {
    empty(held ? "held" : "looking", held ? "held_help" : "looking_help", null);
    setTimeout(() => { if (!current) showEnd().catch(() => {}); }, 700);
  } else {
    empty("all_done", "all_done_help", history.length ? ["look_back", () => act(back)] : null, { done: finished });
  }
  return undefined;
}

function progress({ finished, total, growing }) {
  $("progress").textContent = text(growing ? "progress_growing" : "progress", {
    done: finished.toLocaleString("en"), total: total.toLocaleString("en"),
  });
  $("bar").style.width = `${total ? 100 * finished / total : 0}%`;
}

function notice(message) {
  $("notice").hidden = !message;
  $("notice").textContent = message ?? "";
}

// --- what an annotator does ---

// One thing after the other: what is pressed while an answer is on its way waits for it.
async function act(what) {
  if (busy) { if (waiting.length < 30) waiting.push(what); return; }
  busy = true;
  try { await what(); } catch (error) {
    notice(error instanceof Refused ? text("refused", { why: error.message }) : words.server_gone);
  } finally { busy = false; }
  const following = waiting.shift();
  if (following) act(following);
}

function elapsed() {
  const pause = hiddenAt === null ? 0 : performance.now() - hiddenAt;
  return Math.max(performance.now() - litAt - hiddenFor - pause, 0);
}

async function send(kind, about = "", value = "") {
  const task = current;
  $("save").textContent = words.saving;
  const before = task.state.revision;
  let answer;
  try {
    answer = await post({
      key: crypto.randomUUID(), annotator, position: task.position, task: task.id, kind,
      question: about, value, elapsed_ms: Math.round(elapsed()),
      shown: {
        session, input, opinion: task.state.opinion, zoom: Math.round(stage.zoomed * 100) / 100,
        width: window.innerWidth,
      },
    }, (late) => notice(late ? words.unsaved : null));
  } finally { $("save").textContent = ""; }
  task.state = answer.state;
  task.following = answer.position;
  if (answer.before !== before) notice(words.other_tab);
  progress(answer);
  $("save").textContent = words.saved;
}

async function respond(label) {
  if (!current || current.gone || moving) return;
  const one = setup.questions[question], wasDone = current.state.done;
  await send("answer", one.name, label);
  $("live").textContent = text("announce_saved", { part: title(one), label: words[label] });
  const open = asked().filter((number) => !(setup.questions[number].name in current.state.answers));
  if (current.state.done && !wasDone) { await forward(); return; }
  const later = (wasDone ? asked() : open).find((number) => number > question);
  if (later !== undefined) light(later);
  else if (wasDone || !open.length) await forward();
  else light(open[0]);
}

async function forward() {
  const { position, following: given } = current;
  current.following = undefined;
  await show(given ?? (await get("next", { annotator, after: position })).position);
}

async function skip() {
  if (!current) return;
  const after = await get("next", { annotator, after: current.position });
  progress(after);
  await show(after.position);
}

async function back() {
  const position = history.pop();
  if (position !== undefined) await show(position, { remember: false });
}

async function undo() {
  if (current?.state.last) {
    const before = { ...current.state.answers };
    await send("undo", "", current.state.last);
    const taken = setup.questions.findIndex(({ name }) => before[name] !== current.state.answers[name]);
    moving = false;
    light(taken >= 0 ? taken : question);
  } else if (history.length) {
    await back();
    if (current.state.last) await undo();
  }
}

async function flag(name) {
  if (!current) return;
  const on = current.state.flags.includes(name) && name !== "swapped" ? "off" : "on";
  await send("flag", name, on);
  if (name === "swapped") light(question);
  else if (current.state.done) await forward();
  else render();
}

async function finish() {
  if (!current) return;
  if (moving) { moving = false; light(firstOpen()); return; }
  if (!current.state.done) await send("done");
  await forward();
}

async function toggleOpinion() {
  if (!current) return;
  if (opinion !== null) { opinion = null; render(); return; }
  const { relations } = await get("opinion", { position: current.position });
  await send("opinion");
  opinion = relations ?? {};
  render();
}

function toggleMoving() {
  if (!current) return;
  moving = !moving;
  light(question);
  // The keyboard starts at the part in question.
  if (moving) stage.svg.querySelector(`[data-joint="${setup.questions[question].child}"]`)?.focus();
}

async function saveJoint(number, [x, y]) {
  const inside = (value, end) => Math.min(Math.max(value, -end), 2 * end).toFixed(2);
  await send("joint", setup.joints[number], `${inside(x, current.width)},${inside(y, current.height)}`);
  render();
}

function step(by) {
  if (!current || moving) return;
  const all = asked();
  light(all[(all.indexOf(question) + by + all.length) % all.length]);
}

function zoom(factor) {
  if (factor === null) { stage.zoomed = 1; stage.fit(); } else if (current) stage.zoom(factor, ...litMiddle());
}

let nudged = null;
function nudge(handle, key, far) {
  const number = Number(handle.dataset.joint), by = (far ? 10 : 1) / stage.scale;
  const [x, y] = stage.joints[number];
  const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[key];
  stage.joints[number] = [x + dx, y + dy];
  stage.draw();
  clearTimeout(nudged);
  nudged = setTimeout(() => act(() => saveJoint(number, stage.joints[number])), 400);
}

const keys = {
  f: () => act(() => respond("F")), b: () => act(() => respond("B")),
  u: () => act(() => respond("U")), " ": () => act(() => respond("U")),
  ArrowLeft: () => act(() => step(-1)), ArrowRight: () => act(() => step(1)),
  ArrowUp: () => act(back), ArrowDown: () => act(skip), PageUp: () => act(back), PageDown: () => act(skip),
  Enter: () => act(finish), z: () => act(undo), Backspace: () => act(undo), m: () => act(toggleOpinion),
  j: () => act(toggleMoving), s: () => act(() => flag("swapped")), n: () => act(() => flag("no_person")),
  c: () => act(() => flag("cannot_tell")), "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4),
  0: () => zoom(null), "?": () => $("keys").showModal(), Escape: () => { if (moving) act(toggleMoving); },
};

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey && key !== "z") return;
  const focused = document.activeElement;
  if (focused?.dataset?.joint !== undefined && key.startsWith("Arrow")) {
    event.preventDefault();
    nudge(focused, key, event.shiftKey);
    return;
  }
  // A focused button or the summary keeps Enter and Space.
  if ((key === "Enter" || key === " ") && focused?.closest("button, summary, a")) return;
  if (!(key in keys)) return;
  event.preventDefault();
  if (event.repeat && !key.startsWith("Arrow") && !"+-=".includes(key)) return;
  input = "key";
  keys[key]();
});

const clicks = {
  answer_F: keys.f, answer_B: keys.b, answer_U: keys.u, undo: keys.z, finish: keys.Enter, opinion: keys.m,
  joints: keys.j, swapped: keys.s, no_person: keys.n, cannot_tell: keys.c, previous: keys.ArrowUp,
  next: keys.ArrowDown, zoom_in: keys["+"], zoom_out: keys["-"], zoom_fit: keys[0], help: keys["?"],
  who: () => introduce(),
};
addEventListener("pointerdown", (event) => { input = event.pointerType; }, true);
for (const [id, what] of Object.entries(clicks)) {
  $(id).addEventListener("click", (event) => {
    what();
    // With the focus on a button, its Enter and Space would not be the page's.
    if (event.detail) event.currentTarget.blur();
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else if (hiddenAt !== null) { hiddenFor += performance.now() - hiddenAt; hiddenAt = null; }
});

// --- start ---

function fill() {
  for (const one of document.querySelectorAll("[data-text]")) {
    one.textContent = words[one.dataset.text];
    if (one.dataset.key) {
      const key = document.createElement("kbd");
      key.textContent = one.dataset.key;
      key.setAttribute("aria-hidden", "true");
      one.append(key);
    }
  }
  for (const one of document.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", words[one.dataset.label]);
    if (one.tagName === "BUTTON") one.title = words[one.dataset.label];
  }
  for (const label of "FBU") {
    const face = `${sketch(label)}<strong>${words[label]}</strong><small>${words[`${label}_short`]}</small>`;
    $(`answer_${label}`).innerHTML = face.replace("</strong>", `<kbd aria-hidden="true">${label}</kbd></strong>`);
    const figure = document.createElement("figure");
    figure.innerHTML = `${sketch(label)}<figcaption>${words[label]}<small>${words[`${label}_short`]}</small></figcaption>`;
    $("legend").append(figure);
  }
  $("key_list").replaceChildren(...words.keys.flatMap(([key, meaning]) => {
    const term = document.createElement("dt"), sense = document.createElement("dd");
    term.textContent = key;
    sense.textContent = meaning;
    return [term, sense];
  }));
  const wide = matchMedia("(min-width: 60rem)");
  const unfold = () => { $("more").open = wide.matches; };
  wide.addEventListener("change", unfold);
  unfold();
}

function introduce() {
  const dialog = $("start");
  $("name").value = annotator;
  $("name_error").hidden = true;
  dialog.oncancel = (event) => { if (!annotator) event.preventDefault(); };
  dialog.querySelector("form").onsubmit = (event) => {
    const name = $("name").value.trim();
    if (!/^[^\u0000-\u001f\u007f,"<>]{1,40}$/u.test(name)) {
      event.preventDefault();
      $("name_error").hidden = false;
      return;
    }
    localStorage.setItem("hemlets-annotator", name);
    begin(name);
  };
  dialog.showModal();
}

async function begin(name) {
  annotator = name;
  loaded.clear();
  following.clear();
  history.length = 0;
  current = null;
  $("who").textContent = name;
  $("who").setAttribute("aria-label", `${text("signed_in", { name })}. ${words.change_name}`);
  await act(async () => {
    const events = pending();
    for (const event of events) {
      try { await post(event, (late) => notice(late ? words.unsaved : null)); } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    }
    // What was sent again just now changes the state.
    const opened = await (name === known && !events.length && first ? opening : get("open", { annotator }));
    first = false;
    progress(opened);
    if (opened.task) load(opened.position, opened.task);
    await show(opened.position);
  });
}

fill();
if (known) begin(known); else introduce();
document.body.classList.add("ready");

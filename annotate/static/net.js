// Requests. An answer is sent, with the same key, until the server has acknowledged it.

const PENDING = "hemlets-pending-";
let secret = document.querySelector("meta[name=page]").content;

export class Refused extends Error {}

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
let onSilence = () => {};

// Call `what` with true while the server does not answer, and with false when it does again.
export function whenSilent(what) { onSilence = what; }

// Fetch, again and again while the server does not answer.
async function patiently(address, options) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const answer = await fetch(address, options);
      if (attempt) onSilence(false);
      return answer;
    } catch {
      onSilence(true);
      await wait(Math.min(250 * 2 ** attempt, 2000));
    }
  }
}

export async function get(path, values = {}) {
  const query = new URLSearchParams(values).toString();
  const answer = await patiently(`api/${path}${query ? `?${query}` : ""}`, { cache: "no-store" });
  if (!answer.ok) throw new Refused(await reason(answer));
  return answer.json();
}

// Load an image into elements; whether it is there. A server that does not answer is waited for.
export async function loadImage(address, elements) {
  for (;;) {
    for (const element of elements) element.src = address;
    try {
      await Promise.all(elements.map((element) => element.decode()));
      return true;
    } catch {
      const answer = await patiently(address, { cache: "reload" });
      if (!answer.ok || !(await decodes(answer))) return false;
      for (const element of elements) element.removeAttribute("src");
    }
  }
}

async function decodes(answer) {
  try { (await createImageBitmap(await answer.blob())).close(); return true; } catch { return false; }
}

// The server made another secret when it was started anew; its page has it.
async function renew() {
  const page = await (await fetch("./", { cache: "no-store" })).text();
  secret = new DOMParser().parseFromString(page, "text/html").querySelector("meta[name=page]").content;
}

async function reason(answer) {
  const text = await answer.text();
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : detail.map((one) => one.msg).join(", ");
  } catch { return text || answer.statusText; }
}

// Post an event until it is acknowledged; `late` is called while the server does not answer.
export async function post(event, late) {
  const slot = PENDING + event.shown.session;
  localStorage.setItem(slot, JSON.stringify(event));
  let renewed = false;
  for (let attempt = 0; ; attempt += 1) {
    let answer;
    try {
      answer = await fetch("api/answer", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Hemlets-Page": secret },
        body: JSON.stringify(event),
        keepalive: true,
      });
      if (answer.status === 403 && !renewed) { renewed = true; await renew(); continue; }
      if (answer.status >= 500) throw new TypeError(answer.statusText);
    } catch {
      late(true);
      await wait(Math.min(250 * 2 ** attempt, 2000));
      renewed = false;
      continue;
    }
    localStorage.removeItem(slot);
    late(false);
    if (!answer.ok) throw new Refused(await reason(answer));
    return answer.json();
  }
}

// What closed tabs had not heard an acknowledgement of; another open tab's too, which does no harm.
export function pending() {
  const slots = Object.keys(localStorage).filter((name) => name.startsWith(PENDING));
  return slots.flatMap((slot) => {
    try { return [JSON.parse(localStorage.getItem(slot))]; } catch { return []; }
  });
}

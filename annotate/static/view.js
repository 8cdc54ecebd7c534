// A picture with a skeleton over it, at any zoom. Joints are in pixels of the image.

const SVG = "http://www.w3.org/2000/svg";

export class View {
  constructor(root, { bones, names, onJoint = null }) {
    Object.assign(this, { root, bones, names, onJoint });
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.classList.add("overlay");
    this.svg.setAttribute("role", "group");
    root.prepend(this.svg);
    this.scale = 1;
    this.left = 0;
    this.top = 0;
    new ResizeObserver(() => this.fit()).observe(root);
    if (onJoint) this.listen();
  }

  // Show an image (an element that is decoded) of a task; null shows nothing.
  show(task, image) {
    this.image?.remove();
    this.task = task;
    this.image = image;
    this.zoomed = 1;
    if (!image) { this.svg.replaceChildren(); return; }
    image.className = "picture";
    image.alt = "";
    image.draggable = false;
    // The image that is sent may be smaller than the one that the joints are of.
    image.style.width = `${task.width}px`;
    image.style.height = `${task.height}px`;
    this.root.prepend(image);
  }

  // Choose the visible region: x0, y0, x1, y1 in pixels of the image.
  look(region) {
    this.region = region;
    this.fit();
  }

  fit() {
    if (!this.image || !this.region) return;
    const [x0, y0, x1, y1] = this.region;
    const { clientWidth: width, clientHeight: height } = this.root;
    if (!width || !height) return;
    this.scale = Math.min(width / (x1 - x0), height / (y1 - y0)) * this.zoomed;
    this.left = width / 2 - (x0 + x1) / 2 * this.scale;
    this.top = height / 2 - (y0 + y1) / 2 * this.scale;
    this.place();
  }

  place() {
    this.image.style.transform = `translate(${this.left}px, ${this.top}px) scale(${this.scale})`;
    this.draw();
  }

  // Zoom about a point of the element; its middle when omitted.
  zoom(factor, x = this.root.clientWidth / 2, y = this.root.clientHeight / 2) {
    if (!this.image) return;
    const wanted = Math.min(Math.max(this.zoomed * factor, 0.5), 24);
    const change = wanted / this.zoomed;
    this.zoomed = wanted;
    this.left = x - (x - this.left) * change;
    this.top = y - (y - this.top) * change;
    this.scale *= change;
    this.place();
  }

  pan(x, y) {
    if (!this.image) return;
    this.left += x;
    this.top += y;
    this.place();
  }

  screen([x, y]) { return [x * this.scale + this.left, y * this.scale + this.top]; }

  // Draw the skeleton. `lit` is the question, `moving` shows every joint as a handle.
  set({ joints, valid, lit, moving = false }) {
    Object.assign(this, { joints, valid, lit, moving });
    // The picture's text says what is drawn; only joints that can be moved are for a screen reader.
    this.svg.setAttribute("aria-hidden", String(!moving));
    this.draw();
  }

  draw() {
    if (!this.image || !this.joints) return;
    const focused = this.svg.contains(document.activeElement) ? document.activeElement.dataset.joint : null;
    const parts = [];
    const line = (from, to, style) => {
      const [a, b] = this.screen(this.joints[from]), [c, d] = this.screen(this.joints[to]);
      parts.push(element("line", { x1: a, y1: b, x2: c, y2: d, class: style }));
    };
    const both = ([parent, child]) => this.valid[parent] && this.valid[child];
    for (const bone of this.bones) if (both(bone)) line(...bone, "bone casing");
    for (const bone of this.bones) if (both(bone)) line(...bone, "bone");
    this.joints.forEach((joint, number) => {
      if (!this.valid[number] || this.moving) return;
      const [x, y] = this.screen(joint);
      parts.push(element("circle", { cx: x, cy: y, r: 2.5, class: "joint" }));
    });
    const { lit } = this;
    if (lit && both([lit.parent, lit.child])) {
      line(lit.parent, lit.child, "lit casing");
      line(lit.parent, lit.child, "lit");
      const [px, py] = this.screen(this.joints[lit.parent]);
      const [cx, cy] = this.screen(this.joints[lit.child]);
      parts.push(element("circle", { cx: px, cy: py, r: 8, class: "parent" }));
      parts.push(element("circle", { cx, cy, r: 8, class: "child" }));
      this.label(parts, lit.parent, [px, py], [cx, cy]);
      this.label(parts, lit.child, [cx, cy], [px, py]);
    }
    if (this.moving) {
      this.joints.forEach((joint, number) => parts.push(this.handle(number, joint)));
      // Its name beside the joint that is moved, away from the rest.
      if (focused) this.label(parts, Number(focused), this.screen(this.joints[focused]), this.screen(this.joints[0]));
    }
    this.svg.replaceChildren(...parts);
    if (focused !== null && focused !== undefined) {
      this.svg.querySelector(`[data-joint="${focused}"]`)?.focus();
    }
  }

  // A joint's name beyond its end of the part, inside the element.
  label(parts, joint, [x, y], [otherX, otherY]) {
    const length = Math.hypot(x - otherX, y - otherY) || 1;
    const away = [(x - otherX) / length, (y - otherY) / length];
    const right = away[0] >= 0;
    const text = element("text", {
      x: x + (right ? 14 : -14), y: y + away[1] * 16 + 5, class: "name",
      "text-anchor": right ? "start" : "end",
    });
    text.textContent = this.names[joint];
    const width = 7.5 * text.textContent.length + 14;
    if (right && x + width > this.root.clientWidth) {
      text.setAttribute("text-anchor", "end");
      text.setAttribute("x", x - 14);
    } else if (!right && x - width < 0) {
      text.setAttribute("text-anchor", "start");
      text.setAttribute("x", x + 14);
    }
    parts.push(text);
  }

  handle(number, joint) {
    const [x, y] = this.screen(joint);
    return element("circle", {
      cx: x, cy: y, r: 9, class: `handle${this.valid[number] ? "" : " unknown"}`, tabindex: 0,
      role: "button", "data-joint": number,
      "aria-label": this.onJoint.describe(number, joint),
    });
  }

  listen() {
    const pointers = new Map();
    let held = null;
    const place = (event) => {
      const box = this.root.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.root.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button")) return;
      pointers.set(event.pointerId, place(event));
      const joint = event.target.dataset?.joint;
      if (this.moving && joint !== undefined) {
        held = Number(joint);
        event.target.focus();
        event.preventDefault();
      }
      this.root.setPointerCapture(event.pointerId);
    });
    this.root.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = place(event);
      if (held !== null) {
        this.joints[held] = [(now[0] - this.left) / this.scale, (now[1] - this.top) / this.scale];
        this.draw();
      } else if (pointers.size === 2) {
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const distance = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
        this.zoom(distance(now) / distance(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else {
        this.pan(now[0] - before[0], now[1] - before[1]);
      }
      pointers.set(event.pointerId, now);
    });
    const release = (event) => {
      pointers.delete(event.pointerId);
      if (held !== null) { this.onJoint.moved(held, this.joints[held]); held = null; }
    };
    this.root.addEventListener("pointerup", release);
    this.root.addEventListener("pointercancel", release);
    this.root.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), ...place(event));
    }, { passive: false });
  }
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, typeof value === "number" ? Math.round(value * 10) / 10 : value);
  }
  return made;
}

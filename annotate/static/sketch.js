// Small drawings of what an answer means: a camera, the floor before it, and a part above the floor.

const DEPTH = 92, RISE = 24;
const at = (depth, height) => [24 + DEPTH * depth, 66 - RISE * depth - height];
const point = ([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`;

const PARENT = [0.56, 32];
const CHILDREN = { F: [[0.24, 20]], B: [[0.92, 20]], U: [[0.3, 30], [0.84, 30]] };

function floor() {
  const side = (depth, across) => { const [x, y] = at(depth, 0); return [x + 15 * across, y + 9 * across]; };
  const outline = [side(0.02, -1), side(1.04, -1), side(1.04, 1), side(0.02, 1)].map(point).join(" ");
  const lines = [0.275, 0.53, 0.785].map((depth) =>
    `<path d="M${point(side(depth, -1))} L${point(side(depth, 1))}"/>`).join("");
  return `<polygon class="floor" points="${outline}"/><g class="grid">${lines}</g>`;
}

function camera() {
  const [x, y] = at(0, 16);
  return `<g class="camera" transform="translate(${x - 9} ${y}) rotate(-13)">
    <rect x="-9" y="-6.5" width="15" height="13" rx="3"/><path d="M6 -3 L12 -6.5 V6.5 L6 3 Z"/></g>`;
}

function joint([depth, height], radius, style) {
  const [x, y] = at(depth, height), [floorX, floorY] = at(depth, 0);
  return `<path class="drop" d="M${point([x, y])} L${point([floorX, floorY])}"/>
    <ellipse class="shadow" cx="${floorX}" cy="${floorY}" rx="${radius}" ry="${radius * 0.45}"/>
    <circle class="${style}" cx="${x}" cy="${y}" r="${radius}"/>`;
}

// The drawing of an answer, F, B or U, as SVG; what is nearer is drawn larger.
export function sketch(label) {
  const unsure = label === "U" ? " unsure" : "";
  const parts = CHILDREN[label].map((child) => {
    const bone = `<path class="bone${unsure}" d="M${point(at(...PARENT))} L${point(at(...child))}"/>`;
    return bone + joint(child, 8 - 4 * child[0], `child${unsure}`);
  });
  const [x, y] = at(...PARENT);
  const mark = unsure ? `<text x="${x}" y="${y - 10}" text-anchor="middle">?</text>` : "";
  return `<svg class="sketch" viewBox="3 8 132 70" aria-hidden="true">${floor()}${camera()}${parts.join("")}
    ${joint(PARENT, 5.5, "parent")}${mark}</svg>`;
}

// A terminal small enough to read: it knows what Textual writes, keeps cells, and shows them as text of the page.
"use strict";

const screen = document.getElementById("screen");
const probe = document.getElementById("probe");
const status = document.getElementById("status");
const ground = "#000000", ink = "#d0d0d0";
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/u;
const BASE = ["#000000", "#cd3131", "#0dbc79", "#e5e510", "#4f8fe0", "#bc3fbc", "#11a8cd", "#cccccc",
  "#767676", "#f14c4c", "#23d18b", "#f5f543", "#6fa8f0", "#d670d6", "#29b8db", "#ffffff"];

let width = 80, height = 24, cells = [], lines = [], x = 0, y = 0, kept = "", plain = style(), pen = plain;
let dirty = new Set(), asked = false, socket = null, decoder = null;

function style(change) {
  const made = Object.assign({ fg: "", bg: "", b: false, d: false, i: false, u: false, s: false, r: false }, change);
  made.id = [made.fg, made.bg, made.b, made.d, made.i, made.u, made.s, made.r].join();
  return made;
}

function blank() { return { t: " ", s: pen.bg && !pen.r ? style({ bg: pen.bg }) : plain }; }

function resize() {
  probe.textContent = "m".repeat(100);
  const box = probe.getBoundingClientRect();
  width = Math.max(20, Math.floor(window.innerWidth / (box.width / 100)));
  height = Math.max(5, Math.floor(window.innerHeight / box.height));
  const old = cells;
  cells = Array.from({ length: height }, (_, r) =>
    Array.from({ length: width }, (_, c) => (old[r] && old[r][c]) || { t: " ", s: plain }));
  lines = cells.map(() => document.createElement("div"));
  screen.replaceChildren(...lines);
  cells.forEach((_, r) => dirty.add(r));
  paint();
  send(["resize", { width, height }]);
}

function paint() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    for (const r of dirty) if (lines[r]) lines[r].replaceChildren(...spans(cells[r]));
    dirty.clear();
  });
}

function spans(row) {
  const out = [];
  let run = null, before = null;
  for (const cell of row) {
    if (cell.t === "") continue;  // the second half of a wide character
    const ascii = cell.t.length === 1 && cell.t < "\x7f";
    if (ascii && run && before === cell.s.id) { run.textContent += cell.t; continue; }
    const span = document.createElement("span");
    span.textContent = cell.t;
    dress(span, cell.s);
    if (!ascii) span.classList.add(WIDE.test(cell.t) ? "w" : "n");
    out.push(span);
    run = ascii ? span : null;
    before = cell.s.id;
  }
  return out;
}

function dress(span, s) {
  let fg = s.fg, bg = s.bg;
  if (s.r) [fg, bg] = [bg || ground, fg || ink];
  if (fg) span.style.color = fg;
  if (bg) span.style.backgroundColor = bg;
  for (const name of "bdius") if (s[name]) span.classList.add(name);
}

function put(text) {
  if (y >= height) return;
  const wide = WIDE.test(text);
  if (x + (wide ? 2 : 1) > width) return;
  cells[y][x] = { t: text, s: pen };
  if (wide) cells[y][x + 1] = { t: "", s: pen };
  x += wide ? 2 : 1;
  dirty.add(y);
}

function erase(row, from, to) {
  if (!cells[row]) return;
  for (let c = from; c < Math.min(to, width); c++) cells[row][c] = blank();
  dirty.add(row);
}

function write(text) {
  text = kept + text;
  kept = "";
  const each = /\x1b\[([0-?]*)([ -/]*)([@-~])|\x1b\]([^\x07\x1b]*)(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b[=>78cDEMHNOZ]|[\x00-\x1f]|[^\x00-\x1f]\p{M}*/gyu;
  let at = 0;
  while (at < text.length) {
    const open = text[at] === "\x1b";
    each.lastIndex = at;
    const found = each.exec(text);
    if (!found) {
      if (open && text.length - at < 65536) { kept = text.slice(at); break; }  // the rest of it comes later
      at += 1;
      continue;
    }
    at = each.lastIndex;
    if (found[3]) { if (!found[2]) control(found[1], found[3]); }
    else if (found[4] !== undefined) operate(found[4]);
    else if (open) continue;
    else if (found[0] === "\r") x = 0;
    else if (found[0] === "\n") y = Math.min(height - 1, y + 1);
    else if (found[0] === "\b") x = Math.max(0, x - 1);
    else if (found[0] >= " ") put(found[0]);
  }
  paint();
}

function control(given, final) {
  if (given.startsWith("?")) { if (given === "?1049" && final === "h") { for (let r = 0; r < height; r++) erase(r, 0, width); } return; }
  const numbers = given.split(/[;:]/).map((n) => parseInt(n, 10) || 0);
  const first = numbers[0], step = first || 1;
  switch (final) {
    case "H": case "f": y = clamp((first || 1) - 1, height); x = clamp((numbers[1] || 1) - 1, width); break;
    case "A": y = clamp(y - step, height); break;
    case "B": y = clamp(y + step, height); break;
    case "C": x = clamp(x + step, width); break;
    case "D": x = clamp(x - step, width); break;
    case "G": x = clamp(step - 1, width); break;
    case "d": y = clamp(step - 1, height); break;
    case "K": erase(y, first === 0 ? x : 0, first === 1 ? x + 1 : width); break;
    case "J":
      for (let r = first === 0 ? y + 1 : 0; r < (first === 1 ? y : height); r++) erase(r, 0, width);
      if (first === 0) erase(y, x, width);
      if (first === 1) erase(y, 0, x + 1);
      break;
    case "m": pen = shaded(pen, given === "" ? [0] : numbers); break;
  }
}

function clamp(n, end) { return Math.max(0, Math.min(end - 1, n)); }

function shaded(from, codes) {
  let to = Object.assign({}, from);
  for (let n = 0; n < codes.length; n++) {
    const code = codes[n];
    if (code === 0) to = Object.assign({}, plain);
    else if (code === 1) to.b = true; else if (code === 2) to.d = true; else if (code === 3) to.i = true;
    else if (code === 4) to.u = true; else if (code === 7) to.r = true; else if (code === 9) to.s = true;
    else if (code === 22) to.b = to.d = false; else if (code === 23) to.i = false; else if (code === 24) to.u = false;
    else if (code === 27) to.r = false; else if (code === 29) to.s = false;
    else if (code === 39) to.fg = ""; else if (code === 49) to.bg = "";
    else if (code === 38 || code === 48) {
      const name = code === 38 ? "fg" : "bg";
      if (codes[n + 1] === 2) { to[name] = hex(codes.slice(n + 2, n + 5)); n += 4; }
      else if (codes[n + 1] === 5) { to[name] = indexed(codes[n + 2]); n += 2; }
    } else if (code >= 30 && code < 38) to.fg = BASE[code - 30];
    else if (code >= 90 && code < 98) to.fg = BASE[code - 82];
    else if (code >= 40 && code < 48) to.bg = BASE[code - 40];
    else if (code >= 100 && code < 108) to.bg = BASE[code - 92];
  }
  return style(to);
}

function hex(parts) { return "#" + parts.map((n) => (n & 255).toString(16).padStart(2, "0")).join(""); }

function indexed(n) {
  if (n < 16) return BASE[n] || "";
  if (n >= 232) return hex([0, 0, 0].map(() => 8 + (n - 232) * 10));
  const part = (v) => (v ? 55 + v * 40 : 0);
  return hex([part(Math.floor((n - 16) / 36)), part(Math.floor((n - 16) / 6) % 6), part((n - 16) % 6)]);
}

function operate(text) {
  const copied = /^52;[a-z]*;([A-Za-z0-9+/=]+)$/.exec(text);
  if (copied && navigator.clipboard) {
    const bytes = Uint8Array.from(atob(copied[1]), (c) => c.charCodeAt(0));
    navigator.clipboard.writeText(new TextDecoder().decode(bytes)).catch(() => {});
  }
}

// what the operator does

const NAMED = { Enter: "\r", Escape: "\x1b", Backspace: "\x7f", Tab: "\t", Insert: "\x1b[2~", Delete: "\x1b[3~",
  PageUp: "\x1b[5~", PageDown: "\x1b[6~", F1: "\x1bOP", F2: "\x1bOQ", F3: "\x1bOR", F4: "\x1bOS", F5: "\x1b[15~",
  F6: "\x1b[17~", F7: "\x1b[18~", F8: "\x1b[19~", F9: "\x1b[20~", F10: "\x1b[21~" };
const ARROWS = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", End: "F", Home: "H" };

function keyed(event) {
  if (event.metaKey || event.isComposing) return "";
  const held = 1 + (event.shiftKey ? 1 : 0) + (event.altKey ? 2 : 0) + (event.ctrlKey ? 4 : 0);
  if (event.key === "Tab" && event.shiftKey) return "\x1b[Z";
  if (ARROWS[event.key]) return held > 1 ? `\x1b[1;${held}${ARROWS[event.key]}` : `\x1b[${ARROWS[event.key]}`;
  if (NAMED[event.key]) return NAMED[event.key];
  if ([...event.key].length !== 1) return "";
  if (event.ctrlKey && !event.altKey) {
    if (event.shiftKey) return "";  // the browser's own: copy, paste, tools
    const code = event.key.toUpperCase().charCodeAt(0);
    if ("cC".includes(event.key) && String(window.getSelection())) return "";
    if ("vV".includes(event.key)) return "";
    return code >= 64 && code < 96 ? String.fromCharCode(code & 31) : "";
  }
  return (event.altKey && !event.ctrlKey ? "\x1b" : "") + event.key;
}

document.addEventListener("keydown", (event) => {
  const text = keyed(event);
  if (text) { event.preventDefault(); send(["stdin", text]); }
});
document.addEventListener("paste", (event) => {
  const text = (event.clipboardData || { getData: () => "" }).getData("text").slice(0, 16000).replaceAll("\x1b", "");
  if (text) send(["stdin", `\x1b[200~${text}\x1b[201~`]);
  event.preventDefault();
});
screen.addEventListener("click", (event) => {
  if (String(window.getSelection())) return;  // text was selected
  const [c, r] = where(event);
  send(["stdin", `\x1b[<0;${c};${r}M\x1b[<0;${c};${r}m`]);
});
screen.addEventListener("wheel", (event) => {
  const [c, r] = where(event);
  send(["stdin", `\x1b[<${event.deltaY < 0 ? 64 : 65};${c};${r}M`]);
}, { passive: true });

function where(event) {
  const box = screen.getBoundingClientRect();
  const row = lines[0] ? lines[0].getBoundingClientRect().height : 1;
  const one = probe.getBoundingClientRect().width / 100;
  return [1 + clamp(Math.floor((event.clientX - box.left) / one), width),
    1 + clamp(Math.floor((event.clientY - box.top) / row), height)];
}

function send(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function connect() {
  status.textContent = "connecting";
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/ws?width=${width}&height=${height}`);
  socket.binaryType = "arraybuffer";
  decoder = new TextDecoder();
  kept = "";
  pen = plain;
  socket.addEventListener("open", () => { status.textContent = ""; screen.focus(); });
  socket.addEventListener("message", (event) => {
    if (event.data instanceof ArrayBuffer) write(decoder.decode(event.data, { stream: true }));
  });
  socket.addEventListener("close", (event) => {
    if (event.code >= 4000) status.textContent = `${event.reason}. Reload the page to begin again.`;
    else { status.textContent = "no answer; trying again"; setTimeout(connect, 2000); }
  });
}

window.addEventListener("resize", resize);
resize();
connect();

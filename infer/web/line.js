// One line: the picture, its characters with how sure each is, what else they may be, where they stand.

import { ask } from "./server.js";
import { language, say, words } from "./words.js";

const percent = (share) =>
  new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: share < 0.1 ? 1 : 0 }).format(share);

/** The picture of a file, once its size is known; null when the browser cannot show it. */
export async function picture(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
    return image;
  } catch {
    URL.revokeObjectURL(image.src);
    return null;
  }
}

export function line(file, name, image, answer) {
  const item = document.getElementById("line").content.cloneNode(true).firstElementChild;
  say(item);
  const figure = item.querySelector("figure");
  if (image) figure.querySelector("img").replaceWith(image);
  else figure.remove();
  item.querySelector(".name").textContent = item.querySelector(".name").title = name;
  item.querySelector(".turn").addEventListener("click", async (event) => {
    event.target.disabled = true;
    const turned = await ask(file, item.dataset.turn);
    event.target.disabled = false;
    fill(item, image, turned, name);
  });
  item.querySelector(".copy").addEventListener("click", (event) => copy(item.dataset.text, event.target));
  fill(item, image, answer, name);
  return item;
}

function fill(item, image, answer, name) {
  const text = item.querySelector(".text");
  const detail = item.querySelector(".detail");
  const failed = "problem" in answer;
  const direction = answer.direction ?? "horizontal";
  const other = direction === "vertical" ? "horizontal" : "vertical";
  item.className = `line ${direction}${failed ? " wrong" : ""}`;
  item.dataset.text = answer.text ?? "";
  item.dataset.turn = other;
  item.querySelector(".turn").textContent = words.turn[other];
  item.querySelector(".actions").hidden = failed;
  if (image) size(image, name, direction);
  text.replaceChildren();
  if (failed) {
    text.textContent = answer.problem;
    detail.textContent = answer.detail;
    return;
  }
  item.querySelector(".copy").hidden = !answer.text;
  if (!answer.chars.length) {
    text.removeAttribute("aria-label");
    detail.textContent = words.nothing;
    return;
  }
  text.setAttribute("aria-label", words.characters);
  characters(item, text, detail, image, answer);
}

/** Lines are shown at about one size, whatever they were photographed at. */
function size(image, name, direction) {
  const { naturalWidth: width, naturalHeight: height } = image;
  const thick = Math.min(width, height) * 4 < Math.max(width, height) ? 52 : 150; // px; other than a line: larger
  const scale = Math.min(thick / (direction === "vertical" ? width : height), 400 / height, 6);
  image.alt = name;
  image.width = Math.max(1, Math.round(width * scale));
  image.height = Math.max(1, Math.round(height * scale));
}

function characters(item, text, detail, image, answer) {
  const mark = item.querySelector("figure i");
  const least = answer.chars.reduce((a, b) => (b.score < a.score ? b : a));
  const summary = words.sure(percent(answer.score), percent(least.score), least.text);
  const nodes = answer.chars.map((char) => {
    const node = document.createElement("button");
    const others = char.alternatives.map(([other, score]) => `${other} ${percent(score)}`).join(", ");
    node.type = "button";
    node.className = "char";
    node.tabIndex = -1;
    node.textContent = char.text === " " ? "\u00a0" : char.text;
    node.style.setProperty("--unsure", (1 - char.score).toFixed(3));
    node.setAttribute("aria-label", words.char(char.text, percent(char.score), others));
    return node;
  });
  nodes[0].tabIndex = 0;
  detail.textContent = summary;

  function show(number) {
    const { text: best, score, at, alternatives } = answer.chars[number];
    nodes.forEach((node, k) => node.classList.toggle("shown", k === number));
    detail.replaceChildren(
      ...[[best, score], ...alternatives].map(([char, share]) => {
        const part = document.createElement("span");
        const glyph = document.createElement("b");
        glyph.lang = "zh";
        glyph.textContent = char;
        part.append(glyph, ` ${percent(share)}`);
        return part;
      }),
    );
    if (!image) return;
    const along = answer.direction === "vertical" ? image.naturalHeight : image.naturalWidth;
    mark.hidden = false;
    mark.style.setProperty("left", answer.direction === "vertical" ? "" : `${(100 * at) / along}%`);
    mark.style.setProperty("top", answer.direction === "vertical" ? `${(100 * at) / along}%` : "");
  }

  function rest() {
    const held = nodes.indexOf(document.activeElement);
    if (held >= 0) return show(held);
    nodes.forEach((node) => node.classList.remove("shown"));
    detail.textContent = summary;
    if (mark) mark.hidden = true;
  }

  function hold(number) {
    nodes.forEach((node, k) => (node.tabIndex = k === number ? 0 : -1));
    nodes[number].focus();
  }

  const last = nodes.length - 1;
  const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };
  nodes.forEach((node, k) => {
    node.addEventListener("pointerenter", () => show(k));
    node.addEventListener("focus", () => show(k));
    node.addEventListener("click", () => hold(k)); // not every browser gives a clicked button the focus
    node.addEventListener("blur", rest);
    node.addEventListener("keydown", (event) => {
      if (!(event.key in moves)) return;
      event.preventDefault();
      hold(Math.min(last, Math.max(0, k + moves[event.key])));
    });
  });
  text.onpointerleave = rest;
  if (mark) mark.hidden = true;
  text.append(...nodes);
}

/** Puts text into the clipboard, and says so on the button. */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Only https and localhost have that; elsewhere the older way.
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  const word = words[button.dataset.word];
  button.textContent = words.copied;
  setTimeout(() => (button.textContent = word), 1500);
}

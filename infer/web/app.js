// The page: images come in by drop, paste or choice, and lines stay until it is left.

import { copy, line, picture } from "./line.js";
import { ask, soon } from "./server.js";
import { language, say, words } from "./words.js";

const MOST = 100; // lines that are kept
const $ = (id) => document.getElementById(id);
const list = $("lines");
const status = (text) => ($("status").textContent = text);
let reading = 0;

async function take(files) {
  if (!files.length) return status(words.noFiles);
  const direction = document.querySelector("[name=direction]:checked").value;
  const above = list.firstChild; // what comes together stays in its order, above what came before
  let failed = 0;
  reading += files.length;
  status(words.reading(reading));
  const answers = [...files].map((file) => soon(() => Promise.all([picture(file), ask(file, direction)])));
  for (const [k, answer] of answers.entries()) {
    const [image, said] = await answer;
    const name = files[k].fromClipboard ? words.pasted : files[k].name;
    failed += "problem" in said;
    list.insertBefore(line(files[k], name, image, said), above?.parentNode === list ? above : null);
    reading--;
    if (reading) status(words.reading(reading));
  }
  while (list.children.length > MOST) drop(list.lastElementChild);
  $("all").hidden = false;
  if (reading) return;
  const parts = [files.length > failed && words.done(files.length - failed), failed && words.failed(failed)];
  status(parts.filter(Boolean).join(words.separator));
}

function drop(item) {
  const image = item.querySelector("img");
  if (image) URL.revokeObjectURL(image.src);
  item.remove();
}

document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
document.title = words.title;
say(document);
list.setAttribute("aria-label", words[list.dataset.label]);

$("files").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = ""; // so that the same file may be chosen again
});

let depth = 0; // of the elements that something is dragged over
const over = (change) => document.body.classList.toggle("over", (depth = Math.max(0, depth + change)) > 0);
document.addEventListener("dragenter", () => over(1));
document.addEventListener("dragleave", () => over(-1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  over(-Infinity);
  take([...event.dataTransfer.files]);
});

document.addEventListener("paste", (event) => {
  if (event.target.closest?.("input[type=password]")) return;
  event.preventDefault();
  const files = [...event.clipboardData.files];
  for (const file of files) file.fromClipboard = /^image\.\w+$/.test(file.name); // a name that browsers make up
  take(files);
});

$("copy-all").addEventListener("click", (event) => {
  const texts = [...list.children].map((item) => item.dataset.text).filter(Boolean);
  copy(texts.join("\n"), event.target);
});

$("clear").addEventListener("click", () => {
  [...list.children].forEach(drop);
  $("all").hidden = true;
  status("");
  $("files").focus();
});

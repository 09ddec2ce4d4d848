// Asking the server: one request for each image, a few at a time, again when it is busy or wants a key.

import { words } from "./words.js";

const AT_ONCE = 3; // requests at a time
const TRIES = 5; // when the server is busy
const $ = (id) => document.getElementById(id);

let key = sessionStorage.getItem("key");
let asked = null; // promise of a key, while the person is asked for it

function askForKey() {
  asked ??= new Promise((resolve) => {
    $("door").hidden = false;
    $("key").focus();
    $("door").onsubmit = (event) => {
      event.preventDefault();
      key = $("key").value;
      sessionStorage.setItem("key", key);
      $("door").hidden = true;
      $("key").value = "";
      asked = null;
      resolve();
    };
  });
  return asked;
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/** What the server says of a file; {problem, detail} when it cannot be read. */
export async function ask(file, direction) {
  const form = new FormData();
  form.append("file", file);
  form.append("direction", direction);
  for (let tries = 1; ; ) {
    let response;
    try {
      response = await fetch("crnn", {
        method: "POST",
        body: form,
        headers: key ? { Authorization: `Bearer ${key}` } : {},
      });
    } catch {
      const there = await file.slice(0, 1).arrayBuffer().then(() => true, () => false);
      return { problem: there ? words.gone : words.unopened, detail: "" };
    }
    if (response.status === 401) {
      await askForKey();
    } else if (response.status === 429 && tries++ < TRIES) {
      await pause(Number(response.headers.get("Retry-After")) || 1);
    } else {
      const answer = await response.json().catch(() => ({}));
      if (response.ok) return answer;
      const problem = words.statuses[response.status] ?? words.trouble(response.status);
      return { problem, detail: answer.detail ?? "" };
    }
  }
}

const waiting = [];
let running = 0;

/** Runs at most AT_ONCE tasks at a time, in the order they were given. */
export function soon(task) {
  return new Promise((resolve) => {
    waiting.push(() => task().then(resolve));
    next();
  });
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    running++;
    waiting.shift()().finally(() => {
      running--;
      next();
    });
  }
}

// The words of the page, in English and Chinese.

const english = {
  title: "Read lines of Chinese text",
  call: "Drop, paste or choose images",
  hint: "one line of text in each; they are read on this server and not kept",
  direction: "Direction",
  auto: "auto",
  horizontal: "horizontal",
  vertical: "vertical",
  key: "This server asks for a key",
  open: "Go on",
  copy: "Copy",
  copied: "Copied",
  copyAll: "Copy all",
  clear: "Clear",
  history: "Lines that were read",
  characters: "Characters; the arrow keys go from one to the next",
  pasted: "pasted image",
  reading: (count) => (count === 1 ? "Reading…" : `Reading ${count} images…`),
  done: (count) => (count === 1 ? "1 line read" : `${count} lines read`),
  failed: (count) => (count === 1 ? "1 image could not be read" : `${count} images could not be read`),
  sure: (mean, least, char) => `${mean} sure; least of ${char}, ${least}`,
  char: (char, share, others) => `${char}, ${share}${others ? `; or ${others}` : ""}`,
  nothing: "Nothing was read in this image.",
  turn: { horizontal: "Read as horizontal", vertical: "Read as vertical" },
  noFiles: "That was no image file. Save or copy the image, then drop or paste it.",
  unopened: "This file cannot be opened. Was it moved or deleted?",
  gone: "The server does not answer. Is it still running?",
  statuses: {
    413: "This file is too large.",
    422: "This could not be read.",
    429: "The server has too much to do. Try again in a moment.",
    503: "The server is about to stop.",
    504: "Reading this took too long.",
  },
  trouble: (status) => `The server answered ${status}.`,
  separator: "; ",
};

const chinese = {
  title: "识别中文文本行",
  call: "拖入、粘贴或选择图片",
  hint: "每张图片一行文字；图片只在本服务器上识别，不会保存",
  direction: "方向",
  auto: "自动",
  horizontal: "横排",
  vertical: "竖排",
  key: "本服务器需要密钥",
  open: "继续",
  copy: "复制",
  copied: "已复制",
  copyAll: "全部复制",
  clear: "清空",
  history: "识别结果",
  characters: "逐字查看，可用方向键移动",
  pasted: "粘贴的图片",
  reading: (count) => (count === 1 ? "正在识别…" : `正在识别 ${count} 张图片…`),
  done: (count) => `已识别 ${count} 行`,
  failed: (count) => `${count} 张图片无法识别`,
  sure: (mean, least, char) => `平均把握 ${mean}；最低“${char}”${least}`,
  char: (char, share, others) => `${char}，${share}${others ? `；或 ${others}` : ""}`,
  nothing: "这张图片中没有识别出文字。",
  turn: { horizontal: "按横排识别", vertical: "按竖排识别" },
  noFiles: "这不是图片文件。请先保存或复制图片，再拖入或粘贴。",
  unopened: "无法打开此文件，是否已被移动或删除？",
  gone: "服务器没有响应，是否仍在运行？",
  statuses: {
    413: "文件太大。",
    422: "无法识别。",
    429: "服务器繁忙，请稍后再试。",
    503: "服务器即将停止。",
    504: "识别超时。",
  },
  trouble: (status) => `服务器返回 ${status}。`,
  separator: "；",
};

export const language = /^zh\b/i.test(navigator.language) ? "zh" : "en";
export const words = language === "zh" ? chinese : english;

/** Puts the words into the elements below `root` that name one. */
export function say(root) {
  for (const node of root.querySelectorAll("[data-word]")) node.textContent = words[node.dataset.word];
}

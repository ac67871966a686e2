// What the emulator generated, kept up to date. Everything that a user or a test has given (prompts, ids, reasons,
// addresses) goes in as text; the page is served with a policy that lets nothing else run.

const EVERY = 2000; // milliseconds
const PAGE = 24; // generations
const byId = (id) => document.getElementById(id);
const cards = new Map();
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
let shown = PAGE;
let turn = 0;
let timer;

// One video after the other is loaded, and only while somebody looks at it: each is drawn when it is asked for, which
// takes about a second. What is far out of sight is let go, because a browser plays a limited number.
const queue = new Set();
const visible = new Set();
let loading = null;

const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) {
      visible.add(target);
      if (target.src) play(target);
      else queue.add(target);
    } else {
      visible.delete(target);
      queue.delete(target);
      target.pause();
    }
  }
  loadNext();
}, { threshold: 0.5 });

const nearby = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting || !target.src) continue;
    target.removeAttribute("src");
    target.load();
    settle(target);
  }
}, { rootMargin: "200% 0px" });

function play(video) {
  if (!still && visible.has(video)) video.play().catch(() => {});
}

function loadNext() {
  if (loading) return;
  const video = [...queue].pop(); // what came into view last; of the first lot, the newest
  if (!video) return;
  queue.delete(video);
  loading = video;
  video.src = video.dataset.src;
}

function settle(video) {
  if (loading !== video) return;
  loading = null;
  setTimeout(loadNext); // when both observers have spoken: their order is the browser's
}

async function explain(video) {
  const { parentElement: screen, dataset } = video;
  let why = "This browser cannot play the video.";
  try {
    const answer = await fetch(dataset.src, { headers: { Range: "bytes=0-0" } });
    if (!answer.ok) why = (await answer.json()).error ?? `The video does not load: HTTP ${answer.status}`;
  } catch {
    why = "The video did not load.";
    delete screen.dataset.shows; // drawn anew once the emulator answers again
  }
  if (video.isConnected) say(screen, why);
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function say(screen, text) {
  const line = document.createElement("p");
  line.textContent = text;
  screen.replaceChildren(line);
}

// A link for what is an address of the web, and plain text for anything else.
function address(text) {
  let url = null;
  try { url = new URL(text); } catch { /* not an address */ }
  if (!url || !["http:", "https:"].includes(url.protocol)) return document.createTextNode(text);
  const link = document.createElement("a");
  link.href = url.href;
  link.rel = "noreferrer noopener";
  link.target = "_blank";
  link.textContent = text;
  return link;
}

function ago(seconds) {
  if (seconds < 60) return `${Math.max(Math.floor(seconds), 0)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

function kindOf(made) {
  if (made.answer === null) return "other";
  if (made.answer.video_url && made.outcome !== "no-status") return "completed";
  if (made.outcome === "failed" && made.over) return "failed";
  return made.over && made.outcome !== "pending" ? "other" : "pending";
}

function statusOf(made) {
  if (made.answer === null) return "not found";
  return made.answer.status ?? (made.answer.video_url ? "an address, no status" : "an error, no status");
}

function draw(card, made, now) {
  const kind = kindOf(made);
  card.firstElementChild.className = kind;
  const screen = card.querySelector(".screen");
  const shows = `${kind} ${made.own_video ?? made.answer?.video_url}`;
  if (screen.dataset.shows !== shows) {
    screen.dataset.shows = shows;
    drawScreen(screen, made, kind);
  }
  const waited = now - made.submitted_at;
  const bar = card.querySelector("progress");
  if (bar) {
    bar.max = made.seconds || 1;
    if (made.over) bar.removeAttribute("value");
    else bar.value = Math.min(waited, made.seconds);
  }
  put(card.querySelector(".badge"), statusOf(made));
  const left = Math.max(made.seconds - waited, 0);
  const detail = kind === "pending" ? (made.over ? "for ever" : `ready in ${Math.ceil(left)} s`) : made.answer?.error ?? "";
  put(card.querySelector(".detail"), detail);
  const looks = made.looks === 1 ? "1 look" : `${made.looks} looks`;
  const facts = [made.aspect_ratio, made.loop ? "loop" : null, ago(waited), looks, made.paid ? "paid" : "made elsewhere"];
  put(card.querySelector(".facts"), facts.filter(Boolean).join(" · "));
}

function drawScreen(screen, made, kind) {
  if (kind === "pending") {
    const bar = document.createElement("progress");
    bar.setAttribute("aria-label", "How far the generation is");
    screen.replaceChildren(bar);
  } else if (kind === "completed" && made.own_video) {
    const video = document.createElement("video");
    video.muted = video.loop = video.playsInline = video.controls = true;
    video.preload = "auto";
    video.dataset.src = made.own_video;
    video.setAttribute("aria-label", `Video: ${made.prompt.slice(0, 200)}`);
    video.addEventListener("loadeddata", () => { play(video); settle(video); });
    video.addEventListener("error", () => { explain(video); settle(video); });
    screen.replaceChildren(video);
    inView.observe(video);
    nearby.observe(video);
  } else if (kind === "completed") {
    say(screen, "The video is elsewhere: ");
    screen.firstElementChild.append(address(made.answer.video_url));
  } else {
    say(screen, kind === "failed" ? "Failed" : "No video");
  }
}

// Not the id alone: after a reset the same id may be given to another generation.
function keyOf(made) {
  return `${made.submitted_at} ${made.request_id}`;
}

function cardFor(made) {
  const card = byId("generation").content.firstElementChild.cloneNode(true);
  put(card.querySelector(".prompt"), made.prompt);
  put(card.querySelector("code"), made.request_id);
  if (made.image_url) {
    const image = card.querySelector(".image");
    image.append("from ", address(made.image_url));
    image.hidden = false;
  }
  return card;
}

function drawTotals(state) {
  const { generate, generateRequestFromImage, getStatus, video, unknown } = state.counts;
  const totals = {
    paid: state.paid, submits: generate + generateRequestFromImage, looks: getStatus, downloads: video,
    "other requests": unknown,
  };
  const list = byId("totals");
  if (!list.childElementCount) {
    for (const name of Object.keys(totals)) {
      const entry = document.createElement("div");
      for (const [tag, text] of [["dt", name], ["dd", ""]]) {
        const part = document.createElement(tag);
        part.textContent = text;
        entry.append(part);
      }
      list.append(entry);
    }
  }
  Object.values(totals).forEach((count, index) => put(list.children[index].lastElementChild, String(count)));
}

function drawFaults(state) {
  const lines = state.faults.map((fault) => {
    const left = fault.times === null ? "until told otherwise" : `${fault.times - fault.fired} more`;
    return `${fault.target} misbehaves: ${fault.name}, ${left}`;
  });
  const list = byId("faults");
  list.hidden = !lines.length;
  if (list.dataset.lines === lines.join("\n")) return;
  list.dataset.lines = lines.join("\n");
  list.replaceChildren(...lines.map((line) => {
    const item = document.createElement("li");
    item.textContent = line;
    return item;
  }));
}

function drawAll(state) {
  drawTotals(state);
  drawFaults(state);
  put(byId("base-url"), state.url);
  byId("empty").hidden = state.generations_total > 0;
  byId("more").hidden = state.generations.length >= state.generations_total;
  const list = byId("generations");
  const here = new Set(state.generations.map(keyOf));
  for (const [key, card] of cards) {
    if (!here.has(key)) { card.remove(); cards.delete(key); }
  }
  // Oldest first, each put in front: a card that is there already is never moved, so its video plays on.
  let behind = null;
  for (const made of state.generations) {
    let card = cards.get(keyOf(made));
    if (!card) {
      card = cardFor(made);
      cards.set(keyOf(made), card);
      list.insertBefore(card, behind);
    }
    draw(card, made, state.now);
    behind = card;
  }
}

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return;
  const mine = ++turn;
  let state = null;
  try {
    const answer = await fetch(`/_emulator/state?limit=${shown}`, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (answer.ok) state = await answer.json();
  } catch { /* gone, or frozen */ }
  if (mine !== turn) return; // a later question is under way
  byId("gone").hidden = state !== null;
  if (state) drawAll(state);
  else put(byId("gone"), "The emulator does not answer. Its generations were in its memory; what is shown is what was there.");
  timer = setTimeout(refresh, EVERY);
}

document.addEventListener("visibilitychange", refresh);
byId("more").addEventListener("click", () => { shown += 4 * PAGE; refresh(); });
refresh();

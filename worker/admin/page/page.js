// The live page. The feed sends the worker's status, whole, when it has changed; the page keeps no state
// but the last one (for rates) and shows each anew, touching only what differs, so that neither a screen
// reader nor a person who selects text is disturbed.
"use strict";

const $ = (id) => document.getElementById(id);
const path = ["open", "closing", "finishing", "hurrying", "flushing", "closed"];
let last = null;
let over = false;

// --- words ---------------------------------------------------------------------------------------

function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${(ms / 1000).toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
}

function headline(status) {
  switch (status.state) {
    case "open": return status.ready ? ["Taking jobs", "ready"] : ["Not ready", "waits"];
    case "quiet": return ["Quiet: takes nothing, stays", "waits"];
    case "closing": return ["Draining: taking nothing new", "waits"];
    case "finishing": return ["Draining: running jobs finish", "waits"];
    case "hurrying": return ["Draining: time is up, running jobs are asked to stop", "waits"];
    case "flushing": return ["Draining: brokers are told, connections close", "waits"];
    default: return ["Drained", "over"];
  }
}

// --- elements --------------------------------------------------------------------------------------

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Children by key, in this order: kept where they are, made where they are new, removed where they are gone.
function fill(parent, items, key, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, i) => {
    const k = key(item, i);
    let child = old.get(k);
    if (child) old.delete(k);
    else {
      child = make(item);
      child.dataset.key = k;
    }
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] || null);
    update(child, item, i);
  });
  old.forEach((child) => child.remove());
}

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// --- the drain ---------------------------------------------------------------------------------------

function showPhases(status) {
  const now = path.indexOf(status.state === "quiet" ? "open" : status.state);
  const hurried = showPhases.hurried = showPhases.hurried || status.state === "hurrying";
  fill($("phases"), path, (name) => name, (name) => element("li", "", name), (item, name, i) => {
    const skipped = name === "hurrying" && now > i && !hurried;
    item.className = i === now ? "now" : skipped ? "skipped" : i < now ? "past" : "";
    if (i === now) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
    set(item, name === "open" && status.state === "quiet" ? "quiet" : name);
  });
}

function showFacts(status) {
  const { drain, jobs, fates, worker } = status;
  const draining = drain.why !== null && !status.goodbye;
  const eta = drain.unknown > 0 ? "nobody knows" : duration(drain.eta_ms);
  const facts = [
    ["running", `${jobs.running} of ${worker.concurrency}`],
    ["held", jobs.held],
    ["to settle", jobs.settling],
    ["done", fates.done],
    ["retried", fates.retried],
    ["dead", fates.dead],
    ["returned", fates.returned],
  ];
  if (fates.unsettled > 0) facts.push(["unsettled", fates.unsettled]);
  if (draining) {
    facts.unshift(["jobs have", duration(drain.jobs_have_ms)], ["exit at the latest in", duration(drain.left_ms)],
      ["jobs need", eta]);
  } else if (!status.goodbye && jobs.running > 0) {
    facts.push(["a drain would take", eta]);
  }
  if (status.goodbye) facts.unshift(["exit code", status.goodbye.exit_code]);
  fill($("facts"), facts, (fact) => fact[0],
    (fact) => element("div", "", element("dt", "", fact[0]), element("dd")),
    (item, fact) => set(item.lastChild, String(fact[1])));
}

function showState(status) {
  const [text, className] = headline(status);
  set($("state"), text);
  $("state").className = className;
  const why = status.goodbye ? `because of ${status.goodbye.why}`
    : status.drain.why !== null ? `because of ${status.drain.why}`
      : status.ready ? "" : status.not_ready_because;
  set($("why"), why);
  const waits = status.drain.waiting_for;
  set($("blockers"), waits && waits !== "nothing" ? `In the way of the exit: ${waits}` : "");
  showPhases(status);
  showFacts(status);
}

// --- lists ---------------------------------------------------------------------------------------

// What a bar is filled with: what the job says itself, else its age of its time.
function part(job) {
  if (job.progress > 0) return job.progress;
  if (job.timeout_left_ms !== null) return job.age_ms / (job.age_ms + job.timeout_left_ms);
  if (job.eta_ms !== null && job.eta_ms > 0) return job.age_ms / (job.age_ms + job.eta_ms);
  return null;
}

function makeJob() {
  const bar = element("div", "bar", element("i"));
  bar.setAttribute("role", "progressbar");
  return element("li", "", element("div", "job", element("b"), element("span"), element("span", "time")), bar,
    element("div", "note"));
}

function showJob(item, job, status) {
  const [line, bar, note] = item.children;
  const filled = part(job);
  const limit = status.drain.jobs_have_ms ?? status.drain.time_for_jobs_ms;
  const late = job.asked_to_stop || (job.eta_ms !== null && limit !== null && job.eta_ms > limit);
  set(line.children[0], job.id);
  set(line.children[1], `${job.source}/${job.queue}${job.attempt > 1 ? `, attempt ${job.attempt}` : ""}`);
  set(line.children[2], `${duration(job.age_ms)}${job.timeout_left_ms !== null ? `, ${duration(job.timeout_left_ms)} left` : ""}`);
  bar.className = `bar${late ? " late" : ""}${filled === null ? " unknown" : ""}`;
  bar.firstChild.style.width = filled === null ? "" : `${Math.min(100, filled * 100).toFixed(1)}%`;
  bar.setAttribute("aria-label", `job ${job.id}`);
  if (filled === null) bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", Math.round(Math.min(100, filled * 100)));
  const words = [];
  if (job.asked_to_stop) words.push("asked to stop");
  if (job.progress > 0) words.push(`${Math.round(job.progress * 100)} %`);
  if (job.note) words.push(job.note);
  if (late && !job.asked_to_stop) words.push("may not make it before a drain's deadline");
  set(note, words.join(" · "));
}

function showRunning(status) {
  const shown = status.running.slice(0, 100);
  const more = status.jobs.running - shown.length;
  set($("running-count"), String(status.jobs.running));
  fill($("running"), shown, (job) => `${job.source}/${job.queue}/${job.id}`, makeJob,
    (item, job) => showJob(item, job, status));
  set($("running-more"), more > 0 ? `and ${more} more` : status.jobs.running === 0 ? "nothing" : "");
}

const left = (queue) => Object.values(queue.fates).reduce((sum, n) => sum + n, 0);

const nameOf = (queue) => `${queue.source}/${queue.name}${queue.removed ? " (removed)" : ""}`;

// Jobs that left the queue each second since the status before. Queues come and go.
function rate(status, queue) {
  const before = last && last.queues.find((other) => nameOf(other) === nameOf(queue));
  if (!before || status.goodbye) return "–";
  const ms = status.process.uptime_ms - last.process.uptime_ms;
  return ms > 0 ? ((left(queue) - left(before)) * 1000 / ms).toFixed(1) : "–";
}

function showQueues(status) {
  fill($("queues"), status.queues, nameOf, () => {
    const head = element("th");
    head.scope = "row";
    const row = element("tr", "", head, element("td"));
    for (let i = 0; i < 8; i++) row.append(element("td", "n"));
    return row;
  }, (row, queue) => {
    const { fates } = queue;
    const cells = [nameOf(queue), queue.handler, rate(status, queue), queue.running, queue.held,
      fates.done, fates.retried, fates.dead, fates.returned, fates.unsettled];
    cells.forEach((cell, n) => set(row.children[n], String(cell)));
    row.children[7].className = fates.dead > 0 ? "n bad" : "n";
    row.children[9].className = fates.unsettled > 0 ? "n bad" : "n";
  });
}

function showPlain(list, items, words) {
  fill(list, items, (item) => item.name,
    () => element("li", "", element("b"), element("span", "quiet"), element("span")), (row, item) => {
      const [about, state, className] = words(item);
      set(row.children[0], item.name);
      set(row.children[1], about);
      set(row.children[2], state);
      row.children[2].className = className;
    });
}

// They are gone when the last message comes; what was known of them is that they are closed.
function sourcesOf(status) {
  if (!status.goodbye || !last) return status.sources;
  return last.sources.map((source) => ({ ...source, link: "closed", intake: "shut", waiting_for: null }));
}

function sourceWords(source) {
  const again = source.reconnects > 0 ? `, ${source.reconnects} reconnects` : "";
  const consuming = source.link === "up" && source.intake === "open";
  const blocked = source.blocked ? ", publishing blocked" : "";
  const state = consuming ? "consuming" : source.link === "up" ? `connected, intake ${source.intake}` : source.link;
  const waits = source.waiting_for ? `, waits for ${source.waiting_for}` : "";
  const classNames = { up: consuming ? "good" : "warn", closing: "", closed: "" };
  const shade = source.blocked ? "warn" : (classNames[source.link] ?? "bad");
  return [source.kind + again + waits, state + blocked, shade];
}

function handlerWords(handler) {
  const state = `${handler.assigned} of ${handler.width} running`;
  const fewer = handler.width < handler.widest ? `, ${handler.widest - handler.width} not ready` : "";
  if (handler.paused_because) return [handler.kind, `paused: ${handler.paused_because}`, "bad"];
  return [handler.kind + fewer, state, handler.width === 0 ? "bad" : fewer ? "warn" : ""];
}

function show(status) {
  document.title = `${status.state} – ${status.worker.name}`;
  set($("name"), status.worker.name);
  set($("about"), `outfall ${status.worker.version}, process ${status.worker.pid}`);
  set($("process"), `up ${duration(status.process.uptime_ms)}, ${(status.process.resident_bytes / 1e6).toFixed(1)} MB, `
    + `${duration(status.process.cpu_ms)} of processor time`);
  showState(status);
  showRunning(status);
  showQueues(status);
  showPlain($("sources"), sourcesOf(status), sourceWords);
  showPlain($("handlers"), status.handlers, handlerWords);
  showControl(status);
  last = status;
}

// --- steering ------------------------------------------------------------------------------------

function showControl(status) {
  $("control").hidden = status.control === "none" || Boolean(status.goodbye);
  $("token-row").hidden = status.control !== "token";
  for (const button of document.querySelectorAll("[data-post]"))
    button.hidden = !button.dataset.while.split(" ").includes(status.state);
}

async function post(button) {
  if (button.dataset.ask && !confirm(button.dataset.ask)) return;
  const headers = last.control === "token" ? { Authorization: `Bearer ${$("token").value}` } : {};
  try {
    const answer = await fetch(button.dataset.post, { method: "POST", headers });
    const words = await answer.json();
    set($("answer"), words.error || "");
  } catch (trouble) {
    set($("answer"), "the worker does not answer");
  }
}

// --- the feed --------------------------------------------------------------------------------------

function showConnection(text, className) {
  set($("connection"), text);
  $("connection").className = className;
}

// It comes back by itself, more slowly each time; a worker that has said goodbye may be followed by another.
function listen(patience) {
  const feed = new WebSocket(new URL("events", location.href).href.replace(/^http/, "ws"));
  feed.onopen = () => {
    patience = 500;
    over = false;
    last = null;
    showPhases.hurried = false;
    showConnection("live", "live");
  };
  feed.onmessage = (message) => show(JSON.parse(message.data));
  feed.onclose = (close) => {
    if (close.code === 1001) over = true;
    showConnection(over ? "the worker has ended; looking for the next" : "no connection; trying again",
      over ? "over" : "");
    setTimeout(listen, patience, Math.min(patience * 2, 15000));
  };
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-post]");
  if (button) post(button);
});
$("control").addEventListener("submit", (event) => event.preventDefault());
listen(500);

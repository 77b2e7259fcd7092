// The page's side of the chat. `protocol.rs` says what goes over the WebSocket.

import { Connection } from "./connection.js";

const MAX_HISTORY = 200; // messages of a conversation that the browser keeps

const $ = (id) => document.getElementById(id);

// ---- State ---------------------------------------------------------------------------------------------------------

let me = "";
let online = new Set();
let rooms = new Map(); // name -> number of members
let members = new Map(); // name of a room that this page is in -> { names, count }
let conversations = new Map(); // key -> conversation
let outbox = []; // own messages that the server has not answered, the oldest first
let openKey = null;

let connection = null;
let saveTimer = 0;

const keyOf = (kind, name) => `${kind}:${name}`;

function conversation(kind, name) {
  const key = keyOf(kind, name);
  if (!conversations.has(key)) {
    conversations.set(key, { key, kind, name, messages: [], unread: 0, joined: false, draft: "" });
  }
  return conversations.get(key);
}

const isOnline = () => connection.state === "online";
const openConversation = () => conversations.get(openKey);

// The browser keeps what was said and what is still to be sent, each name by itself: the server holds only what nobody
// has fetched. Storage may be full or forbidden; the chat then works without.
function store(storage, key, value) {
  try {
    if (value === null) storage().removeItem(key);
    else storage().setItem(key, value);
  } catch { /* as said */ }
}

function load(storage, key) {
  try {
    return storage().getItem(key);
  } catch {
    return null;
  }
}

const tab = () => sessionStorage;
const browser = () => localStorage;

function save() {
  clearTimeout(saveTimer);
  saveTimer = 0;
  // A page that lost its place must not write over what the newer one writes.
  if (!me || connection?.state === "ended") return;
  const kept = [...conversations.values()].map((c) => ({ ...c, messages: c.messages.slice(-MAX_HISTORY) }));
  store(browser, `tok-chat:${me}`, JSON.stringify({ conversations: kept, outbox }));
}

function saveSoon() {
  saveTimer ||= setTimeout(save, 0);
}

function restore() {
  conversations = new Map();
  outbox = [];
  try {
    const saved = JSON.parse(load(browser, `tok-chat:${me}`)) ?? {};
    for (const c of saved.conversations ?? []) conversations.set(c.key, c);
    // The same object in both lists: an answer changes what is shown.
    for (const { key, cid } of saved.outbox ?? []) {
      if (findOwn(cid)) outbox.push({ key, cid });
    }
  } catch {
    conversations = new Map();
  }
}

function findOwn(cid) {
  for (const c of conversations.values()) {
    const message = c.messages.findLast((m) => m.cid === cid && m.from === me);
    if (message) return { conversation: c, message };
  }
  return null;
}

// ---- Connection ----------------------------------------------------------------------------------------------------

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  connection = new Connection(`${scheme}//${location.host}/ws?uid=${encodeURIComponent(me)}`, {
    message: (message) => on[message.type]?.(message),
    owed: () => outbox.length > 0,
    change() {
      online = new Set();
      rooms = new Map();
      members = new Map();
      renderAll();
    },
    end(code) {
      // After a takeover the newer window is the one that writes.
      if (code !== 4000) save();
      showBanner(code);
    },
  });
  connection.open();
}

function transmitOwn({ key, cid }) {
  const found = findOwn(cid);
  if (!found) return;
  const { kind, name } = conversations.get(key);
  const { text } = found.message;
  connection.send(kind === "room" ? { type: "room", room: name, text, cid } : { type: "direct", to: name, text, cid });
}

// ---- What the server says ------------------------------------------------------------------------------------------

const on = {
  welcome() {
    hideBanner();
    for (const c of conversations.values()) {
      if (c.joined) connection.send({ type: "join", room: c.name });
    }
    // All that was not answered, in order, under the same ids: the server knows which it has already.
    outbox.forEach(transmitOwn);
    renderAll();
  },

  presence(message) {
    online = new Set(message.users);
    rooms = new Map(message.rooms.map((room) => [room.name, room.members]));
    renderLists();
    renderHeader();
  },

  changes(message) {
    for (const name of message.online) online.add(name);
    for (const name of message.offline) online.delete(name);
    for (const room of message.rooms) {
      if (room.members > 0) rooms.set(room.name, room.members);
      else rooms.delete(room.name);
    }
    renderLists();
    renderHeader();
  },

  members({ room, names, count }) {
    // What was on its way when this page left the room is late.
    if (!conversations.get(keyOf("room", room))?.joined) return;
    members.set(room, { names, count });
    renderLists();
    renderHeader();
  },

  direct({ id, from, text, at }) {
    const c = conversation("direct", from);
    // What a lost connection left unconfirmed comes again.
    if (c.messages.some((m) => m.id === id)) return;
    add(c, { id, from, text, at, state: "received" });
  },

  room({ room, from, cid, text, at }) {
    const c = conversation("room", room);
    if (from !== me) return add(c, { cid, from, text, at, state: "received" });
    const own = c.messages.findIndex((m) => m.cid === cid && m.from === me);
    if (own < 0) return add(c, { cid, from, text, at, state: "sent" });
    // Its place is that which it has for all others in the room.
    const [message] = c.messages.splice(own, 1);
    message.at = at;
    c.messages.push(message);
    saveSoon();
    if (c.key === openKey) renderMessages();
  },

  sent({ cid }) {
    answered(cid, "sent");
  },

  delivered({ cid }) {
    answered(cid, "delivered");
  },

  failed({ cid, reason }) {
    answered(cid, "failed", reason);
  },

  error({ reason }) {
    console.warn("the server says:", reason);
  },
};

function answered(cid, state, reason) {
  outbox = outbox.filter((own) => own.cid !== cid);
  const found = findOwn(cid);
  if (!found) return;
  const { conversation: c, message } = found;
  // The first tick of a message that was sent again can come after the second.
  if (message.state === "delivered") return;
  message.state = state;
  message.reason = reason;
  saveSoon();
  if (c.key === openKey) updateMessage(message);
}

// ---- What the user does --------------------------------------------------------------------------------------------

function add(c, message) {
  c.messages.push(message);
  if (c.messages.length > 2 * MAX_HISTORY) c.messages.splice(0, MAX_HISTORY);
  const isRead = message.from === me || (c.key === openKey && document.visibilityState === "visible");
  if (!isRead) c.unread += 1;
  saveSoon();
  if (c.key === openKey) appendMessage(message);
  renderLists();
}

function write(text) {
  const c = openConversation();
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const cid = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  add(c, { cid, from: me, text: text.toWellFormed(), at: Date.now(), state: "waiting" });
  queueOwn({ key: c.key, cid });
}

function queueOwn(own) {
  outbox.push(own);
  saveSoon();
  transmitOwn(own);
}

function tryAgain(message) {
  message.state = "waiting";
  message.reason = undefined;
  updateMessage(message);
  queueOwn({ key: openKey, cid: message.cid });
}

function join(name) {
  const c = conversation("room", name);
  c.joined = true;
  connection.send({ type: "join", room: name });
  show(c.key);
}

function leave(c) {
  c.joined = false;
  members.delete(c.name);
  connection.send({ type: "leave", room: c.name });
  saveSoon();
  renderAll();
}

function show(key) {
  const before = openConversation();
  if (before) before.draft = $("message-input").value;
  openKey = key;
  const c = openConversation();
  $("app").dataset.view = c ? "open" : "list";
  if (c) {
    c.unread = 0;
    $("message-input").value = c.draft;
  }
  saveSoon();
  renderAll();
  if (c) $(c.kind === "room" && !c.joined ? "join" : "message-input").focus();
}

function problemWithName(name) {
  if (!name) return "A name needs at least one character.";
  if ([...name].length > 32) return "A name has at most 32 characters.";
  if (/[\p{Cc}\u202A-\u202E\u2066-\u2069]/u.test(name)) return "This name has characters that cannot be shown.";
  return "";
}

function cleanName(text) {
  return text.toWellFormed().trim();
}

function signIn(name) {
  me = name;
  openKey = null;
  // A name in the link has been answered: a reload goes on under the name that this window has.
  if (location.search) history.replaceState(null, "", location.pathname);
  store(tab, "tok-chat-name", me);
  store(browser, "tok-chat-name", me);
  restore();
  $("login").hidden = true;
  $("app").hidden = false;
  $("app").dataset.view = "list";
  $("me").textContent = me;
  paintAvatar($("me-avatar"), me);
  hideBanner();
  connect();
}

function signOut() {
  save();
  connection.close();
  me = "";
  store(tab, "tok-chat-name", null);
  askName();
}

function askName(name = load(browser, "tok-chat-name") ?? "", problem = "") {
  $("app").hidden = true;
  $("login").hidden = false;
  $("name-input").value = name;
  $("name-error").textContent = problem;
  $("name-input").focus();
  $("name-input").select();
  document.title = "tok chat";
}

// ---- Rendering -----------------------------------------------------------------------------------------------------

function renderAll() {
  renderStatus();
  renderLists();
  renderHeader();
  renderMessages();
}

const STATES = {
  connecting: "Connecting…",
  online: "Online",
  offline: "Offline, retrying",
  ended: "Not connected",
};

function renderStatus() {
  const status = $("status");
  const text = STATES[connection.state];
  if (status.textContent !== text) status.textContent = text;
  status.dataset.state = connection.state;
}

function showBanner(code) {
  $("banner-text").textContent =
    code === 4000 ? "Signed in elsewhere: this name is now used in another window."
    : code === 4001 ? "You were removed from this server."
    : `The server ended the connection (${code}).`;
  $("banner-button").textContent = code === 4000 ? "Use this window" : "Connect again";
  $("banner").hidden = false;
}

function hideBanner() {
  $("banner").hidden = true;
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function paintAvatar(avatar, name) {
  avatar.textContent = [...name][0]?.toUpperCase() ?? "";
  let hue = 7;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  avatar.style.setProperty("--hue", hue);
}

function compareNames(a, b) {
  return a.name.localeCompare(b.name);
}

function people() {
  const names = new Set(online);
  for (const c of conversations.values()) if (c.kind === "direct") names.add(c.name);
  names.delete(me);
  const entry = (name) => ({ kind: "direct", name, key: keyOf("direct", name), online: online.has(name) });
  return [...names].map(entry).sort((a, b) => b.online - a.online || compareNames(a, b));
}

// The list of all has only the largest rooms.
const countMembers = (room) => members.get(room)?.count ?? rooms.get(room) ?? 0;

function describeRoom({ name, joined }) {
  const known = members.get(name);
  if (joined && known) {
    const others = known.count - known.names.length;
    return known.names.join(", ") + (others > 0 ? ` and ${others} more` : "");
  }
  const count = countMembers(name);
  return count ? `${count} in the room` : "";
}

function allRooms() {
  const names = new Set(rooms.keys());
  for (const c of conversations.values()) if (c.kind === "room") names.add(c.name);
  const entry = (name) => ({ kind: "room", name, key: keyOf("room", name), members: countMembers(name) });
  return [...names].map(entry).sort(compareNames);
}

function renderLists() {
  const others = people();
  reconcile($("people"), others);
  reconcile($("rooms"), allRooms());
  $("people-empty").hidden = others.length > 0;
  $("online-count").textContent = isOnline() ? `${online.size} online` : "";
  const unread = [...conversations.values()].reduce((sum, c) => sum + c.unread, 0);
  document.title = (unread ? `(${unread}) ` : "") + `${me} · tok chat`;
}

// Keeps the elements of entries that stay, so that the keyboard's focus stays with them.
function reconcile(list, entries) {
  const old = new Map([...list.children].map((item) => [item.dataset.key, item]));
  let place = list.firstElementChild;
  for (const entry of entries) {
    const item = old.get(entry.key) ?? makeEntry(entry);
    old.delete(entry.key);
    updateEntry(item, entry);
    if (item === place) place = place.nextElementSibling;
    else list.insertBefore(item, place);
  }
  for (const item of old.values()) item.remove();
}

function makeEntry({ kind, name, key }) {
  const item = element("li", "");
  item.dataset.key = key;
  const button = element("button", "entry");
  button.type = "button";
  button.dataset.testid = `${kind === "room" ? "room" : "user"}-${name}`;
  button.append(element("span", "avatar"), element("span", "name", name), element("span", "detail"), element("span", "unread"));
  const avatar = button.querySelector(".avatar");
  avatar.dataset.kind = kind;
  avatar.setAttribute("aria-hidden", "true");
  paintAvatar(avatar, name);
  if (kind === "room") avatar.textContent = "#";
  button.addEventListener("click", () => show(conversation(kind, name).key));
  item.append(button);
  return item;
}

function updateEntry(item, entry) {
  const button = item.firstElementChild;
  const [avatar, , detail, unread] = button.children;
  const count = conversations.get(entry.key)?.unread ?? 0;
  if (entry.kind === "direct") {
    avatar.dataset.online = entry.online;
    button.dataset.online = entry.online;
    detail.textContent = entry.online || !isOnline() ? "" : "away";
  } else {
    const joined = conversations.get(entry.key)?.joined ?? false;
    button.dataset.joined = joined;
    button.dataset.members = entry.members;
    detail.textContent = [joined ? "joined" : "", isOnline() ? entry.members : ""].filter(String).join(" · ");
  }
  detail.hidden = !detail.textContent;
  unread.textContent = count;
  unread.hidden = count === 0;
  button.dataset.unread = count;
  button.setAttribute("aria-current", entry.key === openKey);
  const state = entry.kind === "room" ? `${entry.members} in the room` : entry.online ? "online" : "away";
  button.setAttribute("aria-label", `${entry.name}, ${state}${count ? `, ${count} unread` : ""}`);
}

function renderHeader() {
  const c = openConversation();
  $("nothing-open").hidden = Boolean(c);
  $("open").hidden = !c;
  if (!c) return;
  const isRoom = c.kind === "room";
  $("title").textContent = isRoom ? `# ${c.name}` : c.name;
  $("subtitle").textContent =
    connection.state === "ended" ? "Not connected."
    : !isOnline() ? "You are offline. What you write is sent when you are back."
    : isRoom ? describeRoom(c)
    : online.has(c.name) ? "online"
    : "away; what you write waits for up to 7 days";
  $("leave").hidden = !(isRoom && c.joined);
  $("composer").hidden = isRoom && !c.joined;
  $("join-bar").hidden = !isRoom || c.joined;
  $("message-input").disabled = connection.state === "ended";
  $("send").disabled = connection.state === "ended";
  $("message-input").placeholder = isRoom ? `Message to # ${c.name}` : `Message to ${c.name}`;
}

function renderMessages() {
  const c = openConversation();
  if (!c) return;
  $("message-list").replaceChildren(...c.messages.slice(-MAX_HISTORY).map(makeMessage));
  const log = $("messages");
  log.scrollTop = log.scrollHeight;
}

function appendMessage(message) {
  const log = $("messages");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  $("message-list").append(makeMessage(message));
  // Who reads older messages is not torn away from them.
  if (atEnd || message.from === me) log.scrollTop = log.scrollHeight;
}

const TICKS = {
  waiting: ["◷", "waiting to be sent"],
  sent: ["✓", "sent"],
  delivered: ["✓✓", "delivered"],
  failed: ["!", "not sent"],
};
const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function makeMessage(message) {
  const isMine = message.from === me;
  const item = element("li", isMine ? "message mine" : "message");
  item.dataset.testid = "message";
  item.dataset.from = message.from;
  if (isMine) item.dataset.cid = message.cid;
  const author = element("div", isMine || openConversation().kind === "direct" ? "author sr-only" : "author", message.from);
  const text = element("div", "text", message.text);
  text.dataset.testid = "text";
  const meta = element("div", "meta");
  const at = new Date(message.at);
  const isToday = at.toDateString() === new Date().toDateString();
  const time = element("time", "", (isToday ? timeOfDay : dayAndTime).format(at));
  time.dateTime = at.toISOString();
  time.title = dayAndTime.format(at);
  meta.append(time);
  item.append(author, text, meta);
  paintState(item, message);
  return item;
}

function paintState(item, message) {
  item.dataset.state = message.state;
  if (message.from !== me) return;
  const meta = item.querySelector(".meta");
  meta.querySelectorAll(".tick, .reason, .again").forEach((old) => old.remove());
  const [sign, label] = TICKS[message.state];
  const tick = element("span", "tick", sign);
  tick.dataset.testid = "tick";
  tick.setAttribute("role", "img");
  tick.setAttribute("aria-label", label);
  tick.title = label;
  meta.append(tick);
  if (message.state === "failed") {
    const again = element("button", "again", "Try again");
    again.type = "button";
    again.addEventListener("click", () => tryAgain(message));
    meta.prepend(element("span", "reason", message.reason), again);
  }
}

function updateMessage(message) {
  // No selector: another client of the same name may have made up the id.
  const item = [...$("message-list").children].findLast((item) => item.dataset.cid === message.cid);
  if (item) paintState(item, message);
}

// ---- Events --------------------------------------------------------------------------------------------------------

function onName(form, input, then) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    const name = cleanName($(input).value);
    $(input).setCustomValidity(problemWithName(name));
    if (!$(input).reportValidity()) return;
    $(input).value = "";
    then(name);
  });
  $(input).addEventListener("input", () => $(input).setCustomValidity(""));
}

onName("name-form", "name-input", signIn);
onName("room-form", "room-input", join);
onName("write-form", "write-input", (name) => {
  if (name !== me) show(conversation("direct", name).key);
});

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = $("message-input");
  const text = input.value.trim();
  input.focus();
  if (!text) return;
  input.value = "";
  write(text);
});

$("message-input").addEventListener("keydown", (event) => {
  // isComposing: Enter that ends the input of a Japanese word, say, sends nothing.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});

document.addEventListener("keydown", (event) => {
  if ($("app").hidden) return;
  if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    event.preventDefault();
    const keys = [...document.querySelectorAll("#people > li, #rooms > li")].map((item) => item.dataset.key);
    if (keys.length === 0) return;
    const step = event.key === "ArrowDown" ? 1 : -1;
    const start = keys.indexOf(openKey);
    const key = start < 0 ? keys.at(step > 0 ? 0 : -1) : keys.at((start + step) % keys.length);
    const [kind, name] = [key.slice(0, key.indexOf(":")), key.slice(key.indexOf(":") + 1)];
    show(conversation(kind, name).key);
  } else if (event.key === "Escape" && openKey) {
    show(null);
  }
});

$("back").addEventListener("click", () => show(null));
$("leave").addEventListener("click", () => leave(openConversation()));
$("join").addEventListener("click", () => join(openConversation().name));
$("sign-out").addEventListener("click", signOut);
$("banner-button").addEventListener("click", () => {
  hideBanner();
  // The other window has gone on meanwhile.
  restore();
  if (!openConversation()) openKey = null;
  connection.open();
});

window.addEventListener("online", () => connection?.retryNow());
window.addEventListener("pagehide", save);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  connection?.retryNow();
  const c = openConversation();
  if (!c?.unread) return;
  c.unread = 0;
  saveSoon();
  renderLists();
});

// Whoever made a link must not choose the name that its visitors sign in with, and thereby take the name from others: a
// link only fills the form in. A window whose user has chosen a name goes on under it.
const chosen = cleanName(load(tab, "tok-chat-name") ?? "");
const wanted = cleanName(new URLSearchParams(location.search).get("name") ?? chosen);
if (chosen && wanted === chosen && !problemWithName(chosen)) signIn(chosen);
else askName(wanted || undefined, wanted && problemWithName(wanted));

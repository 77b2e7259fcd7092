// A WebSocket that comes back: with pauses that grow, at random, and not where the server said that it should not.

// What to do after a close code that is not "come back at once"; tok's table of close reasons, which a test compares.
const RECONNECT = {
  1000: "never", // closed by this page
  1002: "never", // protocol error
  1007: "never", // text that is no UTF-8
  1009: "never", // too big
  1011: "later", // the server failed
  1013: "later", // full or unavailable
  4000: "never", // single sign-on: a newer login has the place
  4001: "never", // kicked
  4002: "later", // too slow a reader
  4004: "never", // unauthorized
};
const FIRST_APPLICATION_CODE = 4100; // those are final

const FIRST_PAUSE = 500; // milliseconds, doubled with each failure
const LONGEST_PAUSE = 30_000;
const LATER_PAUSE = 5_000; // the least where the server asks for a pause
const STABLE = 10_000; // a connection that lasted so long was a success
const ANSWER_TIMEOUT = 10_000; // without a word from a server that owes one, the connection is taken for dead

export class Connection {
  // Before the server's first message it is "connecting", then "online"; "offline" between two attempts; "ended" when it
  // will not come back by itself.
  state = "ended";

  #url;
  #on;
  #socket = null;
  #attempt = 0;
  #startedAt = 0;
  #retryTimer = 0;
  #answerTimer = 0;

  // `on.message(object)`: the server said something. `on.change()`: the state is a new one, other than "online", which is
  // for the first message to announce. `on.end(code)`: comes before the change to "ended". `on.owed()` says whether the
  // server still has something to answer.
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
  }

  // Connects now, the first time or again after the end.
  open() {
    this.#attempt = 0;
    this.#connect();
  }

  // Ends it, without a word to `on`.
  close() {
    const socket = this.#socket;
    this.#stop("ended");
    socket?.close(1000);
  }

  // An attempt at once, if one is due later: somebody looks, or the network is back, which is no wave of clients.
  retryNow() {
    if (this.state === "offline") this.#connect();
  }

  // While there is a connection; whoever needs an answer waits for it and sends again.
  send(message) {
    if (this.state !== "online") return;
    this.#socket.send(JSON.stringify(message));
    if (!this.#answerTimer) this.#expectAnswer();
  }

  #connect() {
    this.#stop("connecting");
    this.#startedAt = Date.now();
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    // A socket that was given up may still speak.
    socket.onmessage = (event) => { if (this.#socket === socket) this.#receive(JSON.parse(event.data)); };
    socket.onclose = (event) => { if (this.#socket === socket) this.#lost(event.code); };
    this.#expectAnswer();
    this.#on.change();
  }

  #receive(message) {
    this.state = "online";
    this.#on.message(message);
    if (this.#socket) this.#expectAnswer();
  }

  #lost(code) {
    if (this.state === "online" && Date.now() - this.#startedAt > STABLE) this.#attempt = 0;
    const what = code >= FIRST_APPLICATION_CODE ? "never" : RECONNECT[code] ?? "now";
    if (what === "never") {
      this.#on.end(code);
      this.#stop("ended");
    } else {
      this.#stop("offline");
      // Full jitter: any pause up to the bound, so that the clients of a server that restarts do not come in waves.
      const bound = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#attempt);
      const pause = Math.random() * bound + (what === "later" ? LATER_PAUSE : 0);
      this.#attempt += 1;
      this.#retryTimer = setTimeout(() => this.#connect(), pause);
    }
    this.#on.change();
  }

  // While the server owes something, silence means that the network is gone: browsers notice that late or never.
  #expectAnswer() {
    clearTimeout(this.#answerTimer);
    this.#answerTimer = 0;
    if (this.state === "online" && !this.#on.owed()) return;
    this.#answerTimer = setTimeout(() => {
      const silent = this.#socket;
      this.#lost(1006);
      silent.close();
    }, ANSWER_TIMEOUT);
  }

  #stop(state) {
    this.state = state;
    this.#socket = null;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#answerTimer);
    this.#answerTimer = 0;
  }
}

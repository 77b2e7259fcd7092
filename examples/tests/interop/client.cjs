// Talks to the gateway with the `ws` package; prints a line for each thing that worked.
//
// Usage: node client.cjs ADDRESS TOKEN
'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const WebSocket = require('ws');

const [ADDRESS, TOKEN] = process.argv.slice(2);
const NAME = 'Björn & Söhne';
const LARGEST = 1 << 20;

class Client {
  constructor(socket) {
    this.socket = socket;
    this.received = [];
    this.waiting = [];
    socket.on('message', (data, isBinary) => this.push(isBinary ? data : data.toString()));
    socket.on('close', (code) => this.push({ code }));
  }

  static async login(uid, more = {}) {
    const query = new URLSearchParams({ uid, token: TOKEN, ...more });
    const client = new Client(new WebSocket(`ws://${ADDRESS}/ws?${query}`));
    await once(client.socket, 'open');
    // The first answer is what says that the login has taken effect.
    assert.equal(await client.ask('E'), 'E');
    return client;
  }

  push(event) {
    const waiting = this.waiting.shift();
    if (waiting) waiting(event);
    else this.received.push(event);
  }

  /** The next message: a string, a buffer, or the code of the close. */
  async next() {
    return this.received.length > 0 ? this.received.shift() : new Promise((resolve) => this.waiting.push(resolve));
  }

  async ask(question) {
    this.socket.send(question);
    return this.next();
  }

  /** The messages up to the close, and its code. */
  async untilClose() {
    for (const messages = []; ; ) {
      const event = await this.next();
      if (event.code) return [messages, event.code];
      messages.push(event);
    }
  }

  async close() {
    this.socket.close(1000);
    return (await this.untilClose())[1];
  }
}

function worked(step) {
  console.log(step);
}

async function messages() {
  const client = await Client.login(NAME);
  // The library offers compression, which has to be declined and not ignored.
  assert.equal(client.socket.extensions, '');
  assert.equal(await client.ask(`O${NAME}`), `+online ${NAME} 1`);
  assert.equal(await client.ask('E grüße \u{1f375}'), 'E grüße \u{1f375}');
  worked('text');
  assert.deepEqual(await client.ask(Buffer.from('E\x00\xff', 'latin1')), Buffer.from('E\x00\xff', 'latin1'));
  worked('binary');
  const largest = Buffer.alloc(LARGEST, 'E');
  assert.ok(largest.equals(await client.ask(largest)));
  worked('largest');
  for (const part of ['E one', ' two', '']) client.socket.send(part, { fin: false });
  assert.equal(await client.ask(' three'), 'E one two three');
  worked('fragments');
  client.socket.ping('are you there?');
  assert.equal(String((await once(client.socket, 'pong'))[0]), 'are you there?');
  worked('ping');
  const numbers = Array.from({ length: 1000 }, (_, number) => `E${number}`);
  for (const number of numbers) client.socket.send(number);
  const echoes = [];
  while (echoes.length < numbers.length) echoes.push(await client.next());
  assert.deepEqual(echoes, numbers);
  worked('pipelined');
  assert.equal(await client.close(), 1000);
  worked('close');
}

async function confirmation() {
  const first = await Client.login('carol');
  const ping = once(first.socket, 'ping');
  assert.equal(await first.ask('Q60|carol|tea'), 'Q60|carol|tea');
  // The library answers it by itself, before this program closes.
  await ping;
  assert.equal(await first.close(), 1000);
  // What was confirmed does not come again.
  const second = await Client.login('carol');
  assert.equal(await second.ask('E first'), 'E first');
  assert.equal(await second.close(), 1000);
  worked('confirmed');
}

async function closes() {
  let client = await Client.login('bob');
  const other = await Client.login('alice');
  assert.equal(await other.ask('Kbob'), '+kicked bob 1');
  assert.deepEqual(await client.untilClose(), [['!bye kicked'], 4001]);
  await other.close();
  worked('kicked');
  const old = await Client.login('bob', { device: 'old' });
  const young = await Client.login('bob', { device: 'new' });
  assert.equal(await young.ask('E new'), 'E new');
  assert.deepEqual(await old.untilClose(), [['!bye sso'], 4000]);
  worked('sso');
  client = await Client.login('bob');
  client.socket.send(Buffer.alloc(LARGEST + 1, 'E'));
  assert.deepEqual(await client.untilClose(), [[], 1009]);
  worked('too big');
  client = await Client.login('bob');
  client.socket.send(Buffer.from('E\xff', 'latin1'), { binary: false });
  assert.deepEqual(await client.untilClose(), [[], 1007]);
  worked('bad text');
}

async function refusals() {
  for (const [query, status] of [[{ token: TOKEN }, 400], [{ uid: 'bob', token: 'guess' }, 401]]) {
    const socket = new WebSocket(`ws://${ADDRESS}/ws?${new URLSearchParams(query)}`);
    const [, response] = await once(socket, 'unexpected-response');
    assert.equal(response.statusCode, status);
    response.destroy();
  }
  worked('refused');
}

async function drain() {
  const client = await Client.login('bob');
  worked('waiting');
  assert.deepEqual(await client.untilClose(), [['!bye drain'], 1001]);
  worked('drained');
}

async function main() {
  await messages();
  await confirmation();
  await closes();
  await refusals();
  await drain();
}

main();

// Bun.listen, one set of handlers shared by all sockets.
//
// `socket.write` takes what the kernel takes and leaves the rest to its caller: it waits in `socket.data` for `drain`.
// Bun sets TCP_NODELAY on every accepted connection itself.  For many small writes its documentation recommends an
// ArrayBufferSink, which gathers them for one `socket.write`: that is `--sink`; without it each reply is written by
// itself.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

const NAP = 10; // milliseconds that `--mode sleep` sleeps
const MUCH = 64 * 1024; // unsent bytes with which a socket is not read from, until they are sent
const SLOW = 1024 * 1024; // unsent bytes with which a receiver of broadcasts is given up
const MAX_MESSAGE = 1024 * 1024; // nobody may make the server keep more than this

const { values: args } = parseArgs({
  options: {
    mode: { type: "string", default: "echo" },
    port: { type: "string", default: "0" },
    key: { type: "string" },
    cert: { type: "string" },
    sink: { type: "boolean", default: false },
  },
});

// Most sockets never need one: nothing is waiting, and messages come whole.
const stateOf = (socket) => (socket.data ??= { waiting: [], bytes: 0, paused: false, rest: undefined });

// The usual case first: nothing is waiting and the kernel takes everything.
function send(socket, data, offset = 0, length = data.length) {
  if (!socket.data?.bytes) {
    const taken = socket.write(data, offset, length);
    if (taken === length || taken < 0) return; // sent, or the socket is gone
    offset += taken;
    length -= taken;
  }
  const state = stateOf(socket);
  state.waiting.push(data.slice(offset, offset + length)); // a view: Bun gives each chunk a buffer of its own
  state.bytes += length;
  if (state.bytes > MUCH && !state.paused) {
    state.paused = true;
    socket.pause();
  }
}

function drain(socket) {
  const state = socket.data;
  while (state?.bytes) {
    const taken = socket.write(state.waiting[0]);
    if (taken < 0) return;
    state.bytes -= taken;
    if (taken < state.waiting[0].length) {
      state.waiting[0] = state.waiting[0].slice(taken);
      return;
    }
    state.waiting.shift();
  }
  if (state?.paused) {
    state.paused = false;
    socket.resume();
  }
}

// How replies go out: gathered until all of one read are there, or each by itself.
const sink = new Bun.ArrayBufferSink();
sink.start({ stream: true, asUint8Array: true, highWaterMark: 1024 });
const reply = args.sink ? (socket, data) => sink.write(data) : send;
function flush(socket) {
  if (!args.sink) return;
  const replies = sink.flush();
  if (replies.length) send(socket, replies);
}

const echo = { data: (socket, data) => send(socket, data) };

const small = {
  data(socket, data) {
    for (let i = 0; i < data.length; i++) reply(socket, data.subarray(i, i + 1));
    flush(socket);
  },
};

const sleep = { data: (socket, data) => void setTimeout(send, NAP, socket, data) };

// `socket.publish` is for WebSockets only.
const everybody = new Set();
const broadcast = {
  open(socket) {
    everybody.add(socket);
    send(socket, Buffer.from("+"));
  },
  data(socket, data) {
    for (const other of everybody) {
      send(other, data);
      if (other.data?.bytes > SLOW) other.terminate();
    }
  },
  close: (socket) => void everybody.delete(socket),
};

// A server of messages: `take` answers those that are whole and says where the rest begins, or -1 if that is too long.
const messages = (take) => ({
  data(socket, data) {
    const rest = socket.data?.rest;
    if (rest) data = Buffer.concat([rest, data]);
    const start = take(socket, data);
    flush(socket);
    if (start < 0 || data.length - start > MAX_MESSAGE + 4) return void socket.terminate();
    if (start < data.length) stateOf(socket).rest = data.subarray(start);
    else if (rest) socket.data.rest = undefined;
  },
});

const frames = messages((socket, data) => {
  let start = 0;
  while (data.length - start >= 4) {
    const length = data.readUInt32BE(start);
    if (length > MAX_MESSAGE) return -1;
    const stop = start + 4 + length;
    if (stop > data.length) break;
    const message = Buffer.allocUnsafe(4 + length);
    message.writeUInt32BE(length);
    data.copy(message, 4, start + 4, stop);
    reply(socket, message);
    start = stop;
  }
  return start;
});

const lines = messages((socket, data) => {
  let start = 0;
  for (let end; (end = data.indexOf(10, start)) >= 0; start = end + 1) {
    reply(socket, data.subarray(start, end + 1));
  }
  return start;
});

const bulk = {
  open: (socket) => void (socket.data = 0),
  data: (socket, data) => void (socket.data += data.length),
  drain: () => {}, // eight bytes always fit
  end(socket) {
    const count = Buffer.alloc(8);
    count.writeBigUInt64BE(BigInt(socket.data));
    socket.end(count);
  },
};

// `write` until the kernel takes no more, and on from `drain`.
const block = Buffer.alloc(256 * 1024);
const source = {
  open: (socket) => void (socket.data = { wanted: Buffer.alloc(0), left: -1 }),
  data(socket, data) {
    const state = socket.data;
    state.wanted = Buffer.concat([state.wanted, data]);
    if (state.wanted.length !== 8) return;
    state.left = Number(state.wanted.readBigUInt64BE());
    source.drain(socket);
  },
  drain(socket) {
    const state = socket.data;
    while (state.left > 0) {
      const size = Math.min(state.left, block.length);
      const taken = socket.write(block, 0, size);
      if (taken > 0) state.left -= taken;
      if (taken < size) return; // the kernel is full, or the socket is gone
    }
    if (state.left === 0) socket.end();
  },
};

const modes = { echo, small, sleep, broadcast, frames, lines, bulk, source };
if (!(args.mode in modes)) {
  console.error(`bun.js: no such mode here: ${args.mode}`);
  process.exit(2);
}

const server = Bun.listen({
  hostname: "127.0.0.1",
  port: Number(args.port),
  backlog: 4096,
  allowHalfOpen: args.mode === "bulk",
  tls: args.key && { key: readFileSync(args.key), cert: readFileSync(args.cert) },
  socket: { drain, ...modes[args.mode] },
});
console.log(`listening ${server.port}`);

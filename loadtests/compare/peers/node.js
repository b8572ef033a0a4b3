// node:net and node:tls, the same handlers for both.
//
// A stream's `write` keeps what the kernel does not take and answers false when that has become much; then reading
// waits for `drain`.  For many small writes its documentation recommends `cork`, and `uncork` in `process.nextTick`.
const { parseArgs } = require("node:util");
const fs = require("node:fs");
const net = require("node:net");
const tls = require("node:tls");

const NAP = 10; // milliseconds that `--mode sleep` sleeps
const SLOW = 1024 * 1024; // unsent bytes with which a receiver of broadcasts is given up
const MAX_MESSAGE = 1024 * 1024; // nobody may make the server keep more than this
const NOTHING = Buffer.alloc(0);

const { values: args } = parseArgs({
  options: {
    mode: { type: "string", default: "echo" },
    port: { type: "string", default: "0" },
    key: { type: "string" },
    cert: { type: "string" },
  },
});

function send(socket, data) {
  if (!socket.write(data)) socket.pause();
}

// A server that answers what it reads, and reads no more while much waits to be sent.
const answering = (answer) => (socket) => {
  socket.on("data", answer(socket));
  socket.on("drain", () => socket.resume());
};

function cork(socket) {
  socket.cork();
  process.nextTick(() => socket.uncork());
}

const echo = answering((socket) => (data) => send(socket, data));

const small = answering((socket) => (data) => {
  cork(socket);
  for (let i = 0; i < data.length; i++) send(socket, data.subarray(i, i + 1));
});

const sleep = answering((socket) => (data) => void setTimeout(send, NAP, socket, data));

// A server of messages: `take` answers those that are whole and says where the rest begins, or -1 if that is too long.
const messages = (take) =>
  answering((socket) => {
    let rest = NOTHING;
    return (data) => {
      if (rest.length) data = Buffer.concat([rest, data]);
      cork(socket);
      const start = take(socket, data);
      rest = data.subarray(start);
      if (start < 0 || rest.length > MAX_MESSAGE + 4) socket.destroy();
    };
  });

const frames = messages((socket, data) => {
  let start = 0;
  while (data.length - start >= 4) {
    const length = data.readUInt32BE(start);
    if (length > MAX_MESSAGE) return -1;
    const stop = start + 4 + length;
    if (stop > data.length) break;
    const message = data.subarray(start + 4, stop);
    const header = Buffer.allocUnsafe(4);
    header.writeUInt32BE(length);
    send(socket, header);
    send(socket, message);
    start = stop;
  }
  return start;
});

const lines = messages((socket, data) => {
  let start = 0;
  for (let end; (end = data.indexOf(10, start)) >= 0; start = end + 1) {
    send(socket, data.subarray(start, end + 1));
  }
  return start;
});

const everybody = new Set();
function broadcast(socket) {
  everybody.add(socket);
  socket.write("+");
  socket.on("data", (data) => {
    for (const other of everybody) {
      other.write(data);
      if (other.writableLength > SLOW) other.destroy();
    }
  });
  socket.on("close", () => everybody.delete(socket));
}

function bulk(socket) {
  let count = 0;
  socket.on("data", (data) => void (count += data.length));
  socket.on("end", () => {
    const answer = Buffer.alloc(8);
    answer.writeBigUInt64BE(BigInt(count));
    socket.end(answer);
  });
}

// `write` until it answers false, and on from `drain`, as the documentation of streams does it.
const block = Buffer.alloc(256 * 1024);
function source(socket) {
  let wanted = NOTHING;
  let left = 0;
  function more() {
    while (left > 0) {
      const size = Math.min(left, block.length);
      left -= size;
      if (!socket.write(size === block.length ? block : block.subarray(0, size))) return;
    }
    socket.end();
  }
  socket.on("data", (data) => {
    wanted = Buffer.concat([wanted, data]);
    if (wanted.length !== 8) return;
    left = Number(wanted.readBigUInt64BE());
    socket.on("drain", more);
    more();
  });
}

const modes = { echo, small, sleep, broadcast, frames, lines, bulk, source };
if (!(args.mode in modes)) {
  console.error(`node.js: no such mode here: ${args.mode}`);
  process.exit(2);
}

function serve(socket) {
  socket.on("error", () => socket.destroy()); // without one, a reset would end the process
  modes[args.mode](socket);
}

const options = { noDelay: true, allowHalfOpen: args.mode === "bulk" };
const server = args.key
  ? tls.createServer({ ...options, key: fs.readFileSync(args.key), cert: fs.readFileSync(args.cert) }, serve)
  : net.createServer(options, serve);
server.listen({ host: "127.0.0.1", port: Number(args.port), backlog: 4096 }, () => {
  console.log(`listening ${server.address().port}`);
});

// node:net and node:tls, the same handlers for both.
//
// A stream's `write` keeps what the kernel does not take and answers false when that has become much;
// then reading waits for `drain`.
const { parseArgs } = require("node:util");
const fs = require("node:fs");
const net = require("node:net");
const tls = require("node:tls");

const { values: args } = parseArgs({
  options: {
    mode: { type: "string", default: "echo" },
    port: { type: "string", default: "0" },
    key: { type: "string" },
    cert: { type: "string" },
  },
});

function echo(socket) {
  socket.on("data", (data) => {
    if (!socket.write(data)) socket.pause();
  });
  socket.on("drain", () => socket.resume());
  socket.on("error", () => socket.destroy()); // without one, a reset would end the process
}

// `write` until it answers false, then from `drain` on, as the documentation of streams does it.
const block = Buffer.alloc(256 * 1024);
function source(socket) {
  let left = 0;
  const send = () => {
    for (let more = true; more && left > 0; ) {
      const size = Math.min(left, block.length);
      left -= size;
      if (left === 0) socket.end(block.subarray(0, size));
      else more = socket.write(size === block.length ? block : block.subarray(0, size));
    }
  };
  let wanted = Buffer.alloc(0);
  socket.on("data", (data) => {
    wanted = Buffer.concat([wanted, data]);
    if (wanted.length !== 8) return;
    left = Number(wanted.readBigUInt64BE());
    if (left === 0) socket.end();
    send();
  });
  socket.on("drain", send);
  socket.on("error", () => socket.destroy());
}

const modes = { echo, source };
if (!(args.mode in modes)) {
  console.error(`peer_node.js: no such mode here: ${args.mode}`);
  process.exit(2);
}

const server = args.key
  ? tls.createServer({ key: fs.readFileSync(args.key), cert: fs.readFileSync(args.cert), noDelay: true })
  : net.createServer({ noDelay: true });
server.on(args.key ? "secureConnection" : "connection", modes[args.mode]);
server.listen({ host: "127.0.0.1", port: Number(args.port), backlog: 4096 }, () => {
  console.log(`listening ${server.address().port}`);
});

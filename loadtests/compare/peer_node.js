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

const modes = { echo };
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

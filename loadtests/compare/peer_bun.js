// Bun.listen, one set of handlers shared by all sockets.
//
// `socket.write` takes what the kernel takes and leaves the rest to its caller, so the rest waits in
// `socket.data` for `drain`.  Bun sets TCP_NODELAY on every accepted connection itself.
import { parseArgs } from "node:util";

const NAP = 10; // milliseconds that `--mode sleep` sleeps

const { values: args } = parseArgs({
  options: { mode: { type: "string", default: "echo" }, port: { type: "string", default: "0" } },
});

// The usual case first: nothing is waiting and the kernel takes everything.
function send(socket, data, offset = 0, length = data.length) {
  if (socket.data === undefined) {
    const taken = socket.write(data, offset, length);
    if (taken === length || taken < 0) return; // sent, or the socket is gone
    offset += taken;
    length -= taken;
    socket.data = [];
  }
  socket.data.push(data.slice(offset, offset + length)); // a view: Bun gives each chunk a buffer of its own
}

function drain(socket) {
  const waiting = socket.data;
  while (waiting?.length) {
    const taken = socket.write(waiting[0]);
    if (taken < 0) break;
    if (taken < waiting[0].length) {
      waiting[0] = waiting[0].slice(taken);
      return;
    }
    waiting.shift();
  }
  socket.data = undefined;
}

const replies = {
  echo: (socket, data) => send(socket, data),
  small(socket, data) {
    for (let i = 0; i < data.length; i++) send(socket, data, i, 1);
  },
  sleep: (socket, data) => void setTimeout(send, NAP, socket, data),
};

if (!(args.mode in replies)) {
  console.error(`peer_bun.js: no such mode here: ${args.mode}`);
  process.exit(2);
}

const server = Bun.listen({
  hostname: "127.0.0.1",
  port: Number(args.port),
  backlog: 4096,
  socket: { data: replies[args.mode], drain },
});
console.log(`listening ${server.port}`);

// One TLS connection of Bun's: told by lines of standard input, heard by lines of JSON on standard output.
//
//   bun bun.js connect|listen '{"port": 0, "tls": {...}, ...}'      the options are those of Bun.connect and Bun.listen
//
// Lines: write TEXT, send PATH, end, destroy.
const [role, given] = process.argv.slice(2);
const options = { hostname: "127.0.0.1", ...JSON.parse(given) };

const hash = new Bun.CryptoHasher("sha256");
let size = 0;
let waiting = Buffer.alloc(0); // what the kernel did not take
let opened;
const open = new Promise((resolve) => (opened = resolve));

function say(event, more) {
  console.log(JSON.stringify({ event, ...more }));
}

function write(socket, data) {
  if (waiting.length) {
    waiting = Buffer.concat([waiting, data]);
  } else {
    const taken = Math.max(socket.write(data), 0);
    waiting = Buffer.from(data.subarray(taken));
  }
}

const socket = {
  handshake(socket, success, error) {
    say("open", { authorized: socket.authorized, error: error?.code, version: socket.getTLSVersion(), alpn: socket.alpnProtocol || null });
    opened(socket);
  },
  data(socket, data) {
    size += data.length;
    hash.update(data);
    say("data", { size, sha256: hash.copy().digest("hex") });
    if (options.echo) write(socket, Buffer.from(data));
  },
  drain(socket) {
    const data = waiting;
    waiting = Buffer.alloc(0);
    write(socket, data);
  },
  end() {
    say("end");
  },
  error(socket, error) {
    say("error", { code: error.code, message: error.message });
  },
  connectError(socket, error) {
    say("error", { code: error.code, message: error.message });
    process.exit();
  },
  close(socket, error) {
    say("close", { code: error?.code });
    process.exit();
  },
};

if (role === "listen") {
  const server = Bun.listen({ ...options, socket });
  say("listening", { port: server.port });
} else {
  Bun.connect({ ...options, socket }).catch((error) => {
    say("error", { code: error.code, message: error.message });
    process.exit();
  });
}

for await (const line of console) {
  const [command, argument] = line.split(" ");
  const socket = await open;
  if (command === "write") write(socket, Buffer.from(argument));
  else if (command === "send") write(socket, Buffer.from(await Bun.file(argument).arrayBuffer()));
  else if (command === "destroy") socket.terminate();
  else socket.end();
}

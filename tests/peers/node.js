// One TLS connection of Node's: told by lines of standard input, heard by lines of JSON on standard output.
//
//   node node.js connect|listen '{"port": 0, ...}'      the options are those of node:tls
//
// Lines: write TEXT, send PATH, end, destroy.
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { createInterface } = require("node:readline");
const tls = require("node:tls");

const [role, given] = process.argv.slice(2);
const options = { host: "127.0.0.1", ...JSON.parse(given) };

function say(event, more) {
  console.log(JSON.stringify({ event, ...more }));
}

function watch(socket) {
  const hash = createHash("sha256");
  let size = 0;
  socket.on("data", (data) => {
    size += data.length;
    hash.update(data);
    say("data", { size, sha256: hash.copy().digest("hex") });
    if (options.echo) socket.write(data);
  });
  socket.on("end", () => say("end"));
  socket.on("error", (error) => say("error", { code: error.code, message: error.message }));
  socket.on("close", () => {
    say("close");
    process.exit();
  });
  createInterface({ input: process.stdin }).on("line", (line) => {
    const [command, argument] = line.split(" ");
    if (command === "write") socket.write(argument);
    else if (command === "send") socket.write(readFileSync(argument));
    else socket[command]();
  });
}

function secured(socket) {
  say("open", { authorized: socket.authorized, version: socket.getProtocol(), alpn: socket.alpnProtocol || null });
}

if (role === "listen") {
  const server = tls.createServer(options, (socket) => {
    watch(socket);
    secured(socket);
  });
  server.on("tlsClientError", (error) => say("refused", { code: error.code, message: error.message }));
  server.listen(options.port, options.host, () => say("listening", { port: server.address().port }));
} else {
  const socket = tls.connect(options, () => secured(socket));
  watch(socket);
}

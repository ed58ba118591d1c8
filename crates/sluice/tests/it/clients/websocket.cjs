// A WebSocket client on a leash.
//   node websocket.cjs URL [PROTOCOL...]
// Each line of standard input is one thing to do, each line of standard output one thing that happened, as JSON:
//   {"text": "..."} or {"binary": "BASE64"}   sent, or received
//   {"close": 1000}                           closed, or was closed
//   {"open": "PROTOCOL"}, {"refused": 403}    came of connecting
const readline = require("node:readline");
const WebSocket = require("ws");

const [url, ...protocols] = process.argv.slice(2);
const tell = (what) => console.log(JSON.stringify(what));
const socket = new WebSocket(url, protocols);

socket.on("open", () => tell({ open: socket.protocol }));
socket.on("message", (data, isBinary) =>
  tell(isBinary ? { binary: data.toString("base64") } : { text: data.toString() }),
);
socket.on("unexpected-response", (request, response) => {
  tell({ refused: response.statusCode });
  process.exit();
});
socket.on("error", (error) => tell({ error: error.message }));
socket.on("close", (code) => {
  tell({ close: code });
  process.exit();
});

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const wanted = JSON.parse(line);
  if ("text" in wanted) socket.send(wanted.text);
  else if ("binary" in wanted) socket.send(Buffer.from(wanted.binary, "base64"));
  else socket.close(wanted.close);
});

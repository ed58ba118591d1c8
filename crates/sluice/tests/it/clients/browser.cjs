// A page in a real browser on a leash.
//   node browser.cjs CHROMIUM ORIGIN
// The page is made up, but the browser takes it for one of ORIGIN. Each line of standard input is one thing that
// the page does, each line of standard output one thing that happened to it, as JSON:
//   {"stream": URL}                          opens an EventSource; {"open": true}, {"message": ...}, {"error": STATE}
//   {"socket": NAME, "url": URL}             opens a WebSocket; {"open": PROTOCOL}, {"text": ...}, {"close": CODE}
//   {"socket": NAME, "url": URL, "protocols": [...]}
//   {"socket": NAME, "send": TEXT}
// What happens repeats the name, or the URL of a stream.
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const [executablePath, origin] = process.argv.slice(2);
const tell = (what) => console.log(JSON.stringify(what));

// Runs in the page.
function act(wanted) {
  const sockets = (window.sockets ??= {});
  if ("stream" in wanted) {
    const source = new EventSource(wanted.stream);
    source.onopen = () => window.tell({ stream: wanted.stream, open: true });
    source.onmessage = ({ data }) => window.tell({ stream: wanted.stream, message: data });
    source.onerror = () => window.tell({ stream: wanted.stream, error: source.readyState });
  } else if ("url" in wanted) {
    const socket = (sockets[wanted.socket] = new WebSocket(wanted.url, wanted.protocols ?? []));
    socket.onopen = () => window.tell({ socket: wanted.socket, open: socket.protocol });
    socket.onmessage = ({ data }) => window.tell({ socket: wanted.socket, text: data });
    socket.onclose = ({ code }) => window.tell({ socket: wanted.socket, close: code });
  } else {
    sockets[wanted.socket].send(wanted.send);
  }
}

async function main() {
  const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
  args.push("--disable-background-networking", "--disable-component-update", "--disable-sync");
  // The browser takes a made-up page for one of the internet, which may not call this machine without asking.
  args.push("--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets");
  const browser = await chromium.launch({ executablePath, args });
  const page = await browser.newPage();
  page.on("pageerror", (error) => tell({ pageerror: error.message }));
  await page.exposeFunction("tell", tell);
  const address = `${origin}/page`;
  await page.route(address, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
  await page.goto(address);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    await page.evaluate(act, JSON.parse(line));
  }
  await browser.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

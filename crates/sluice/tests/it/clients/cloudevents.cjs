// Writes and reads CloudEvents with the published library, by the HTTP protocol binding.
//   node cloudevents.cjs
// Each line of standard input is one thing to do, each line of standard output what came of it, as JSON:
//   {"write": "binary", "event": {...}}      {"headers": {...}, "body": "..."}
//   {"read": {"headers": {...}, "body": "..."}}      the event
const readline = require("node:readline");
const { CloudEvent, HTTP } = require("cloudevents");

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const wanted = JSON.parse(line);
  if ("write" in wanted) {
    console.log(JSON.stringify(HTTP[wanted.write](new CloudEvent(wanted.event))));
  } else {
    console.log(JSON.stringify(HTTP.toEvent(wanted.read)));
  }
});

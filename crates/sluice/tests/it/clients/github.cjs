// Sends every example of GitHub's webhooks as GitHub does, signed by GitHub's own library.
//   node github.cjs URL SECRET
// Each line of standard output is one delivery and what came of it, as JSON:
//   {"delivery": "...", "event": "push", "status": 202, "sha256": "of the body, in hex"}
const { createHash, randomUUID } = require("node:crypto");
const { join } = require("node:path");
const { pathToFileURL } = require("node:url");
const examples = require("@octokit/webhooks-examples");

const AT_ONCE = 16;
const [url, secret] = process.argv.slice(2);

async function main() {
  // A package for import only, which does not look at NODE_PATH.
  const methods = join(process.env.NODE_PATH, "@octokit/webhooks-methods/dist-node/index.js");
  const { sign } = await import(pathToFileURL(methods));
  const payloads = examples.flatMap(({ name, examples }) => examples.map((payload) => ({ name, payload })));
  const send = async ({ name, payload }) => {
    const body = JSON.stringify(payload);
    const delivery = randomUUID();
    const headers = {
      "Content-Type": "application/json",
      "User-Agent": "GitHub-Hookshot/0000000",
      "X-GitHub-Event": name,
      "X-GitHub-Delivery": delivery,
      "X-Hub-Signature-256": await sign(secret, body),
    };
    const answer = await fetch(url, { method: "POST", headers, body });
    await answer.arrayBuffer();
    const sha256 = createHash("sha256").update(body).digest("hex");
    console.log(JSON.stringify({ delivery, event: name, status: answer.status, sha256 }));
  };
  const work = async () => {
    for (let next = payloads.pop(); next; next = payloads.pop()) await send(next);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

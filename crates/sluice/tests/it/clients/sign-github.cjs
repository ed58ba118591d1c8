// Signs a delivery with the published library of GitHub.
//   node sign-github.cjs SECRET BODY      prints the header
const { join } = require("node:path");
const { pathToFileURL } = require("node:url");

const [secret, body] = process.argv.slice(2);

async function main() {
  // A package for import only, which does not look at NODE_PATH.
  const methods = join(process.env.NODE_PATH, "@octokit/webhooks-methods/dist-node/index.js");
  const { sign } = await import(pathToFileURL(methods));
  process.stdout.write(await sign(secret, body));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

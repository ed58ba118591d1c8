// Runs parts of the Postman collection, one after the other, as one person would who pauses between them.
//   node collection.cjs COLLECTION VARIABLES
// VARIABLES is JSON. Each line of standard input is the ids of the folders of one part, with spaces between them;
// an empty line is the whole collection. Each line of standard output is what came of a part:
//   {"assertions": 12, "failures": ["..."]}
const fs = require("node:fs");
const readline = require("node:readline");
const newman = require("newman");

const [file, variables] = process.argv.slice(2);
const collection = JSON.parse(fs.readFileSync(file, "utf8"));
const envVar = Object.entries(JSON.parse(variables)).map(([key, value]) => ({ key, value }));

function run(folders) {
  return new Promise((resolve, reject) => {
    const options = {
      collection,
      folder: folders.length ? folders : undefined,
      envVar,
      reporters: [],
      timeoutRequest: 60_000,
    };
    const done = (error, summary) => (error ? reject(error) : resolve(summary));
    // The ids that one part has learned are those that the next one begins with, as in Postman itself.
    newman.run(options, done).on("script", (error, { execution }) => {
      if (execution?.collectionVariables) collection.variable = execution.collectionVariables.values.toJSON();
    });
  });
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { run: ran } = await run(line.split(" ").filter(Boolean));
    const failures = ran.failures.map(
      ({ parent, source, error }) => `${parent?.name} / ${source?.name} / ${error.test ?? ""}: ${error.message}`,
    );
    // A script that could not run is a failure, though no assertion failed.
    if (ran.error) failures.push(String(ran.error));
    console.log(JSON.stringify({ assertions: ran.stats.assertions.total, failures }));
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

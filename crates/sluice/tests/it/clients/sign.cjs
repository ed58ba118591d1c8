// Signs a delivery with the published library of Standard Webhooks.
//   node sign.cjs SECRET ID SECONDS BODY      prints the signature
const { Webhook } = require("standardwebhooks");

const [secret, id, seconds, body] = process.argv.slice(2);
process.stdout.write(new Webhook(secret).sign(id, new Date(Number(seconds) * 1000), body));

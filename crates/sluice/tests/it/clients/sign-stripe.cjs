// Signs a delivery with the published library of Stripe, as Stripe does.
//   node sign-stripe.cjs SECRET SECONDS BODY      prints the header
const Stripe = require("stripe");

const [secret, timestamp, payload] = process.argv.slice(2);
const stripe = new Stripe("sk_test_unused");
process.stdout.write(stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp: Number(timestamp) }));

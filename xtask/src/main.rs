//! The build tool: `cargo xtask COMMAND`. One module per command, and one per thing that commands share.
//!
//! It knows how to fetch, start and stop what tests need; nothing of it is part of the product. It needs no
//! crate besides the standard library, so that `cargo xtask` itself is there within seconds.

mod artemis;
mod autobahn;
mod bench;
mod broker;
mod certificates;
mod chaos;
mod check;
mod debian;
mod gateway;
mod jars;
mod kafka;
mod mosquitto;
mod rabbitmq;
mod run;
mod server;
mod supervised;
mod test;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
The build tool of Sluice.

  cargo xtask test [-- ARGUMENTS]
      Installs the tools below, fetches and starts real brokers (Apache Kafka, Mosquitto, RabbitMQ, Apache
      ActiveMQ Artemis), runs `cargo test --workspace` (or `cargo test ARGUMENTS`) with the variables below set,
      and stops the brokers in every case. The exit code is that of the tests. Where ARGUMENTS name the package
      of a driver alone, for example `-- -p sluice-broker-kafka`, only its brokers are started. Where
      SLUICE_TEST_KAFKA is set already, that broker serves the tests without encryption and credentials; one is
      started for the secured listeners all the same.

  cargo xtask broker kafka|mosquitto|rabbitmq|artemis|all [--port PORT]
      Starts the same brokers for work by hand, on 127.0.0.1, prints the variables to export, and runs until
      Ctrl-C. PORT is that of the listener without encryption of the one broker (of AMQP for Artemis); any free
      one by default.

  cargo xtask tools
      Installs the clients and suites that tests use and prints the variables to export: newman, a WebSocket
      and a Standard Webhooks library and Playwright from xtask/npm, the Autobahn cases from xtask/python,
      Chromium from Debian.

  cargo xtask autobahn [GROUP...]
      Builds the gateway and runs the Autobahn cases 1 to 7, 9, 10, 12 and 13 (or the groups given, for
      example 9.1 or 12) against its WebSocket receiver, each group under a time limit; prints a table. All
      of them take some half an hour. Reports stay in target/autobahn.

  cargo xtask chaos [--seed N] [--rounds N | --minutes N] [--broker log|kafka|both] [--fault NAME]... [--debug]
      Builds the gateway as it is shipped (with --debug, for debugging), starts a Kafka of its own, and lets
      publishers and consumers work while everything around the gateway breaks, in an order drawn from the seed;
      then prints what was lost and what came out of order, which has to be nothing. Without --rounds and --minutes
      every fault comes twice. Faults: kill, term, kafka-stop, kafka-pause, subscriber-down, subscriber-500,
      subscriber-429, subscriber-silent, disk-full, reset, clock, redeploy. Logs stay in target/chaos/SEED.
      A short form is among the tests.

  cargo xtask check
      Formatting and lints: `cargo fmt --check` and `cargo clippy` with warnings as errors.

  cargo xtask bench quick|recovery|catch-up|slow|hub|drivers|mqtt-fanout
      Builds the gateway as it is shipped and prints figures; wants a machine that does nothing else.
      quick: start-up time, idle memory, what POST does on the embedded log and on Kafka (three minutes).
      recovery: from SIGKILL to serving with 100,000 subscriptions on the disk (ten minutes).
      catch-up: latency of live clients while one reads a million older messages (three minutes).
      slow: memory while one of 1,000 clients reads nothing (ten minutes).
      hub: 10,000 WebSub subscribers of one channel, verified and called (a minute).
      drivers: what each driver publishes and reads beside a bare loop on its client library, against brokers started
      for it; no gateway (ten minutes).
      mqtt-fanout: 10,000 SSE clients on one MQTT wildcard, and the sessions at the broker; wants `ulimit -n` of 10,100
      at least (a minute).

  cargo xtask help
      This text.

What is missing on the machine (curl, maven, a Java runtime, openssl, mosquitto, rabbitmq-server, npm, python3,
chromium) is installed with apt-get, as root or through sudo. The jars of Kafka and Artemis come through Maven, are
checked against xtask/kafka/sha256sums and xtask/artemis/sha256sums, and kept under target/brokers. Packages of npm and pip are those of the lock files, and are kept under target/tools.

Every broker takes the user USER with PASSWORD, has certificates of one authority (renewed at every start), and
keeps names that start with `forbidden` from that user. Variables that tests get:
  SLUICE_TEST_BROKER_CA          PEM file of the authority that signed all certificates
  SLUICE_TEST_BROKER_CLIENT_PEM  PEM file of the client's certificate and key; its common name is the user
  SLUICE_TEST_KAFKA              host:port, neither encryption nor credentials
  SLUICE_TEST_KAFKA_SASL         host:port, credentials (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512)
  SLUICE_TEST_KAFKA_SSL          host:port, TLS
  SLUICE_TEST_KAFKA_SASL_SSL     host:port, TLS and credentials
  SLUICE_TEST_KAFKA_MTLS         host:port, TLS with a certificate of the client
  SLUICE_TEST_KAFKA_OAUTH        host:port, OAUTHBEARER
  SLUICE_TEST_KAFKA_USER, _PASSWORD
                                 for the SASL listeners; the password is that of the PKCS#12 file, too
  SLUICE_TEST_KAFKA_CA, _CLIENT_PEM, _CLIENT_P12
                                 the same files as for all brokers, and the second as PKCS#12
  SLUICE_TEST_KAFKA_JARS         directory of Kafka's jars, for tests that break a Kafka of their own
  SLUICE_TEST_MQTT               host:port of Mosquitto, anonymous or with the user
  SLUICE_TEST_MQTT_LOGIN         host:port, only with the user
  SLUICE_TEST_MQTT_TLS, _WS, _WSS
                                 host:port, as the first, over TLS, WebSocket, both
  SLUICE_TEST_MQTT_MTLS          host:port, TLS with a certificate of the client
  SLUICE_TEST_MQTT_SMALL         host:port of a Mosquitto that takes payloads of 32 KiB and packets of 64 KiB
  SLUICE_TEST_MQTT_USER, _PASSWORD
  SLUICE_TEST_RABBITMQ           host:port, AMQP 0-9-1 and 1.0
  SLUICE_TEST_RABBITMQ_TLS       host:port, the same over TLS; certificates of clients are good for EXTERNAL
  SLUICE_TEST_RABBITMQ_USER, _PASSWORD
  SLUICE_TEST_ARTEMIS_AMQP       host:port, AMQP 1.0; prefixes queue:// and topic://, nothing made below fixed.,
                                 ten messages at the most below full.
  SLUICE_TEST_ARTEMIS_AMQPS      host:port, the same over TLS; certificates of clients are good for EXTERNAL
  SLUICE_TEST_ARTEMIS_MQTT       host:port, MQTT 5 and 3.1.1
  SLUICE_TEST_ARTEMIS_USER, _PASSWORD
  SLUICE_TEST_NODE_MODULES       directory of the packages of xtask/npm
  SLUICE_TEST_KOSOKU             program that runs the Autobahn cases
  SLUICE_TEST_CHROMIUM           program of the browser
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &*arguments {
        [] | ["help" | "--help" | "-h"] | [_, "--help" | "-h"] => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        ["test"] => test::run(&[]),
        ["test", "--", rest @ ..] => test::run(rest),
        ["broker", arguments @ ..] => broker::run(arguments),
        ["tools"] => tools::run(),
        ["autobahn", groups @ ..] => autobahn::run(groups),
        ["chaos", arguments @ ..] => chaos::run(arguments),
        ["check"] => check::run(),
        ["bench", name] => bench::run(name),
        other => Err(format!("There is no command '{}'.\n\n{HELP}", other.join(" "))),
    };
    result.unwrap_or_else(|message| {
        eprintln!("error: {message}");
        ExitCode::FAILURE
    })
}

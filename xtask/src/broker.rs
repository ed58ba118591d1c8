//! The brokers of the tests, started side by side; and `cargo xtask broker`, which runs them for work by hand.

use std::{process::ExitCode, thread, time::Duration};

use crate::{
    artemis::Artemis,
    certificates::Certificates,
    kafka::Kafka,
    mosquitto::Mosquitto,
    rabbitmq::RabbitMq,
    server::{Server, Variables},
};

/// How often a broker is asked whether it is still there.
const LOOK: Duration = Duration::from_millis(200);

/// A broker that this tool knows how to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broker {
    Kafka,
    Mosquitto,
    RabbitMq,
    Artemis,
}

impl Broker {
    pub(crate) const ALL: &[Self] = &[Self::Kafka, Self::Mosquitto, Self::RabbitMq, Self::Artemis];

    fn start(
        self,
        port: Option<u16>,
        certificates: &Certificates,
    ) -> Result<(Vec<Server>, Variables), String> {
        Ok(match self {
            Self::Kafka => {
                let kafka = Kafka::start(port, certificates)?;
                let variables = kafka.variables();
                (vec![kafka.server], variables)
            }
            Self::Mosquitto => {
                let mosquitto = Mosquitto::start(port, certificates)?;
                let variables = mosquitto.variables();
                (vec![mosquitto.server, mosquitto.small], variables)
            }
            Self::RabbitMq => {
                let rabbitmq = RabbitMq::start(port, certificates)?;
                let variables = rabbitmq.variables();
                (vec![rabbitmq.server], variables)
            }
            Self::Artemis => {
                let artemis = Artemis::start(port, certificates)?;
                let variables = artemis.variables();
                (vec![artemis.server], variables)
            }
        })
    }
}

/// Running brokers; dropping them stops them and removes what they wrote.
pub(crate) struct Brokers {
    servers: Vec<Server>,
    variables: Variables,
    _certificates: Certificates,
}

impl Brokers {
    /// Starts these side by side and waits until all serve. `port` is for the plain listener of each, and so for one
    /// alone.
    pub(crate) fn start(wanted: &[Broker], port: Option<u16>) -> Result<Self, String> {
        let certificates = Certificates::make()?;
        let started: Vec<_> = thread::scope(|scope| {
            let starting: Vec<_> = wanted
                .iter()
                .map(|broker| (broker, scope.spawn(|| broker.start(port, &certificates))))
                .collect();
            let joined = starting.into_iter().map(|(broker, thread)| {
                thread.join().unwrap_or_else(|_| Err(format!("{broker:?} could not be started: a bug here.")))
            });
            joined.collect()
        });
        let mut brokers =
            Self { servers: Vec::new(), variables: certificates.variables(), _certificates: certificates };
        for one in started {
            let (servers, variables) = one?;
            brokers.servers.extend(servers);
            brokers.variables.extend(variables);
        }
        Ok(brokers)
    }

    /// What tests must know to find them.
    pub(crate) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Waits for an end that nobody asked for, and says how it came.
    fn wait_for_end(&mut self) -> String {
        loop {
            if let Some(ended) =
                self.servers.iter_mut().find_map(|server| server.has_ended().then_some(server))
            {
                return ended.ended();
            }
            thread::sleep(LOOK);
        }
    }
}

/// Runs one broker, or all, until Ctrl-C. Comes back only when one ends by itself, which is an error.
pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode, String> {
    let (name, port) = match arguments {
        [name] => (*name, None),
        [name, "--port", port] => (*name, Some(parse_port(port)?)),
        _ => {
            return Err(
                "`cargo xtask broker` takes the name of a broker, then --port PORT or nothing.".to_owned()
            );
        }
    };
    let wanted = match name {
        "kafka" => &[Broker::Kafka][..],
        "mosquitto" => &[Broker::Mosquitto],
        "rabbitmq" => &[Broker::RabbitMq],
        "artemis" => &[Broker::Artemis],
        "all" if port.is_none() => Broker::ALL,
        "all" => return Err("--port is for one broker, not for all.".to_owned()),
        other => {
            return Err(format!("'{other}' is none of kafka, mosquitto, rabbitmq, artemis, all."));
        }
    };
    let mut brokers = Brokers::start(wanted, port)?;
    for (name, value) in brokers.variables() {
        println!("export {name}={value}");
    }
    eprintln!("xtask: until Ctrl-C.");
    Err(brokers.wait_for_end())
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("--port takes a number from 0 to 65535, not '{text}'."))
}

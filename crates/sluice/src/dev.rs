//! What `sluice dev` adds: event APIs to try, and a few lines that say how.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use sluice_api::{EventApi, Format, parse_document};
use sluice_management::{ManagementOptions, read_definition};

use crate::dev_broker::DevBroker;

/// The example event APIs, which are also there to be copied from `examples/dev`.
const EXAMPLES: [(&str, &str); 6] = [
    ("examples/dev/data-ingestion.yaml", include_str!("../../../examples/dev/data-ingestion.yaml")),
    ("examples/dev/sse.yaml", include_str!("../../../examples/dev/sse.yaml")),
    ("examples/dev/ws.yaml", include_str!("../../../examples/dev/ws.yaml")),
    ("examples/dev/filtered.yaml", include_str!("../../../examples/dev/filtered.yaml")),
    ("examples/dev/resume.yaml", include_str!("../../../examples/dev/resume.yaml")),
    ("examples/dev/ticks.yaml", include_str!("../../../examples/dev/ticks.yaml")),
];

/// The example event APIs, under the names of their files.
pub(crate) fn examples() -> Result<Vec<(PathBuf, EventApi)>, String> {
    let read = |(name, text): (&str, &str)| {
        let document = parse_document(text, Format::Yaml).map_err(|problem| format!("{name}: {problem}"))?;
        let api = read_definition(document, &ManagementOptions::default()).map_err(|problems| {
            problems.iter().map(|problem| format!("{name}: {problem}")).collect::<Vec<_>>().join("\n")
        })?;
        Ok((PathBuf::from(name), api))
    };
    EXAMPLES.into_iter().map(read).collect()
}

/// The example event APIs on this broker, or on the embedded log.
pub(crate) fn examples_on(broker: Option<&DevBroker>) -> Result<Vec<(PathBuf, EventApi)>, String> {
    let mut examples = examples()?;
    if let Some(broker) = broker {
        examples.iter_mut().try_for_each(|(_, api)| broker.stand_in(api))?;
    }
    Ok(examples)
}

/// What a newcomer reads on the terminal.
pub(crate) fn welcome(
    gateway: &[SocketAddr],
    management: &[SocketAddr],
    broker: &str,
    default_password: bool,
    took: Duration,
) -> String {
    let base = url(gateway);
    let socket = base.replacen("http", "ws", 1);
    let password = if default_password { "admin" } else { "as set" };
    format!(
        "\
Sluice {version} is ready after {took} ms. Stop it with Ctrl-C.

  Gateway     {gateway}
  Management  {management}   (user admin, password {password})
  Broker      {broker}

Publish a message:
  curl -X POST -d \"my_payload\" {base}/data/ingestion

See what was published, and in another terminal what is published meanwhile:
  curl -N -H \"Accept:text/event-stream\" {base}/demo/sse

Talk on a WebSocket; what one terminal types the others see, and the stream above too:
  websocat {socket}/demo/ws

More to try:
  curl -N -H \"Accept:text/event-stream\" {base}/demo/ticks      a message each second, from nowhere
  curl -N -H \"Accept:text/event-stream\" {base}/demo/filtered   only JSON with \"feature\": \"demo\"
  curl -X POST -d '{{\"feature\": \"demo\"}}' {base}/data/ingestion
  curl -N -H \"Accept:text/event-stream\" {base}/demo/resume     each event with an id to come back with (Last-Event-ID)

A stream begins with 'retry:', then shows one 'data:' for each message. While there is nothing to show
it sends a ':' every 5 seconds: it is working, publish something.
",
        version = env!("CARGO_PKG_VERSION"),
        took = took.as_millis(),
        gateway = url(gateway),
        management = url(management),
    )
}

/// The first address as a person would type it.
fn url(addresses: &[SocketAddr]) -> String {
    match addresses.first() {
        Some(address) if address.ip().is_loopback() || address.ip().is_unspecified() => {
            format!("http://localhost:{}", address.port())
        }
        Some(address) => format!("http://{address}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_valid_event_api() {
        assert_eq!(examples().unwrap().len(), EXAMPLES.len());
    }
}

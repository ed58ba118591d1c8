//! What the management contracts are given beside the registry: what the operator says, not who writes an API.

use std::{collections::BTreeMap, env, sync::Arc};

use sluice_api::{Broker, BrokerConfig, LogConfig};
use sluice_policy::Environment;

/// What the name of a variable of the process begins with that whoever writes an API may read.
const PREFIX: &str = "SLUICE_TEMPLATE_";

/// What the operator says about APIs that are written in the notation of `WebSubApi` and `WebBrokerApi`.
#[derive(Debug, Clone)]
pub struct ManagementOptions {
    /// The broker behind the hub of each `WebSubApi`, which names none itself; without topics. Default the embedded
    /// log.
    pub hub_broker: Broker,
    /// Where `{{ secret "name" }}` is looked up.
    pub environment: Arc<Environment>,
    /// What `{{ env "name" }}` reads. Nothing else of the process's environment can be read. Default none.
    pub template_variables: BTreeMap<String, String>,
}

impl Default for ManagementOptions {
    fn default() -> Self {
        let hub_broker = Broker {
            name: "hub".to_owned(),
            group: "hub".to_owned(),
            weight: 1,
            secondary: false,
            connector: "log".to_owned(),
            configuration: BrokerConfig::Log(LogConfig::default()),
        };
        Self { hub_broker, environment: Arc::default(), template_variables: BTreeMap::new() }
    }
}

impl ManagementOptions {
    /// The variables of this process that templates may read, by what follows `SLUICE_TEMPLATE_` in their names.
    pub fn variables_of_process() -> BTreeMap<String, String> {
        let variables = env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?.strip_prefix(PREFIX)?.to_owned();
            Some((name, value.into_string().ok()?))
        });
        variables.collect()
    }
}

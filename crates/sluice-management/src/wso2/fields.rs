//! The fields of the model under the names that resources have for them, for problems that are told to who wrote one.

use sluice_api::{EventApi, Problem};
use sluice_policy::Hook;

use super::{broker, resource::Kind, webbroker, websub};
use crate::RegistryError;

/// Where the parts of one API stand in its resource.
#[derive(Debug)]
pub(super) struct Fields {
    kind: Kind,
    /// By flow: where its hooks stand.
    scopes: Vec<String>,
    /// Whether its only receiver stands there without a list.
    one_receiver: bool,
    /// Whether its broker's settings have other names there.
    renames_broker: bool,
}

impl Fields {
    /// The fields of an API that was read from a resource.
    pub(super) fn of(api: &EventApi, kind: Kind, one_receiver: bool) -> Self {
        let scopes = api.flows.iter().map(|flow| match &flow.channel {
            Some(channel) => format!("spec.channels.{}", channel.channel.trim_start_matches('/')),
            None => "spec.allChannels".to_owned(),
        });
        let renames_broker = api.brokers.first().is_none_or(|broker| broker.connector == "kafka");
        Self { kind, scopes: scopes.collect(), one_receiver, renames_broker }
    }

    /// The same error, its problems at the fields of the resource.
    pub(super) fn rename(&self, error: RegistryError) -> RegistryError {
        error.at(|path| self.path(path))
    }

    /// The same problems at the fields of the resource.
    pub(super) fn rename_all(&self, problems: Vec<Problem>) -> Vec<Problem> {
        problems.into_iter().map(|problem| Problem { path: self.path(&problem.path), ..problem }).collect()
    }

    fn path(&self, path: &str) -> String {
        if let Some(channel) = path.strip_prefix("channels.") {
            let topic =
                if path.ends_with(".produceTo") || path.ends_with(".consumeFrom") { ".topic" } else { "" };
            return format!("spec.channels.{channel}{topic}");
        }
        let parts = path.split_once('[').and_then(|(list, rest)| {
            let (index, rest) = rest.split_once(']')?;
            Some((list, index.parse::<usize>().ok()?, rest))
        });
        match parts {
            Some(("flows", index, rest)) => self.in_flow(index, rest),
            Some(("receivers", index, rest)) => self.in_receiver(index, rest),
            Some(("brokers", 0, rest)) => self.in_broker(rest),
            Some(("paths", index, rest)) => match (rest, index) {
                (".host", 0) => "spec.vhosts.main".to_owned(),
                (".host", _) => "spec.vhosts.sandbox".to_owned(),
                _ => "spec.context".to_owned(),
            },
            _ => match path {
                "id" => "metadata.name",
                "name" => "spec.displayName",
                "version" => "spec.version",
                "paths" => "spec.context",
                "brokers" => "spec.broker",
                "receivers" => "spec.receiver",
                "channels" | "flows" => "spec.channels",
                "limits.maxBodyBytes" => "spec.receiver.properties.maxMessageSize",
                other => other,
            }
            .to_owned(),
        }
    }

    fn in_flow(&self, index: usize, rest: &str) -> String {
        let scope = self.scopes.get(index).map_or("spec.channels", String::as_str);
        let hooks: &[(&str, Hook)] = match self.kind {
            Kind::WebSubApi => &websub::HOOKS,
            Kind::WebBrokerApi => &webbroker::HOOKS,
        };
        for (name, hook) in hooks {
            let Some(rest) = rest.strip_prefix(&format!(".{}[", hook.as_str())) else { continue };
            let field = rest.replacen("].policy", "].name", 1).replacen("].configuration", "].params", 1);
            return format!("{scope}.{name}.policies[{field}");
        }
        scope.to_owned()
    }

    /// Those of a hub are not written in a resource.
    fn in_receiver(&self, index: usize, rest: &str) -> String {
        let rest = rest.replacen(".configuration", ".properties", 1).replacen(".qos", ".properties.qos", 1);
        match self.kind {
            Kind::WebSubApi => "spec".to_owned(),
            Kind::WebBrokerApi if self.one_receiver => format!("spec.receiver{rest}"),
            Kind::WebBrokerApi => format!("spec.receiver[{index}]{rest}"),
        }
    }

    fn in_broker(&self, rest: &str) -> String {
        match (self.kind, rest.strip_prefix(".configuration.")) {
            (Kind::WebSubApi, _) => "spec".to_owned(),
            (Kind::WebBrokerApi, Some(field)) if self.renames_broker => {
                format!("spec.broker.properties.{}", broker::property(field))
            }
            (Kind::WebBrokerApi, _) => {
                format!("spec.broker{}", rest.replacen(".configuration", ".properties", 1))
            }
        }
    }
}

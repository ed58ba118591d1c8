//! The fields of the domain under the names that the contract has for them, for problems that are told to its
//! clients.

use sluice_api::{EventApi, Flow, Problem};

use super::connections::listener_of;
use crate::RegistryError;

/// Where the parts of one API stand in the notation of the contract.
#[derive(Debug, Default)]
pub(super) struct Fields {
    paths: String,
    receivers: Vec<String>,
    brokers: Vec<String>,
    /// Which selectors the flows of the API have, in the order in which they are answered.
    flows: Vec<Selectors>,
}

type Selectors = Vec<&'static str>;

impl Fields {
    /// The fields of this API.
    pub(super) fn of(api: &EventApi) -> Self {
        let mut fields = Self { flows: api.flows.iter().map(selectors).collect(), ..Self::default() };
        let mut listeners: Vec<(&str, usize)> = Vec::new();
        for receiver in &api.receivers {
            let (listener, entrypoint) = place(&mut listeners, listener_of(receiver));
            fields.receivers.push(format!("listeners[{listener}].entrypoints[{entrypoint}]"));
        }
        let http = listeners.iter().position(|(kind, _)| *kind == "http").unwrap_or_default();
        fields.paths = format!("listeners[{http}]");
        let mut groups = Vec::new();
        for broker in &api.brokers {
            let (group, endpoint) = place(&mut groups, &broker.group);
            fields.brokers.push(format!("endpointGroups[{group}].endpoints[{endpoint}]"));
        }
        fields
    }

    /// The same error, its problems at the fields that a client of the contract wrote.
    pub(super) fn rename(&self, error: RegistryError) -> RegistryError {
        error.at(|path| self.path(path))
    }

    /// The same problems at the fields that a client of the contract wrote.
    pub(super) fn rename_all(&self, problems: Vec<Problem>) -> Vec<Problem> {
        problems.into_iter().map(|problem| Problem { path: self.path(&problem.path), ..problem }).collect()
    }

    fn path(&self, path: &str) -> String {
        let parts = path.split_once('[').and_then(|(list, rest)| {
            let (index, rest) = rest.split_once(']')?;
            Some((list, index.parse::<usize>().ok()?, rest))
        });
        let renamed = match parts {
            Some(("receivers", index, rest)) => self.receivers.get(index).map(|at| format!("{at}{rest}")),
            Some(("brokers", index, rest)) => self.brokers.get(index).map(|at| format!("{at}{rest}")),
            Some(("paths", index, rest)) => Some(format!("{}.paths[{index}]{rest}", self.paths)),
            Some(("flows", index, rest)) => {
                let selectors = self.flows.get(index).map(Vec::as_slice).unwrap_or_default();
                Some(format!("flows[{index}]{}", in_flow(rest, selectors)))
            }
            Some(("plans", index, rest)) => Some(format!("plans[{index}]{}", plan_path(rest))),
            _ => None,
        };
        renamed.unwrap_or_else(|| match path {
            "paths" => format!("{}.paths", self.paths),
            "brokers" => "endpointGroups".to_owned(),
            "receivers" => "listeners".to_owned(),
            "version" => "apiVersion".to_owned(),
            _ if path.starts_with("cors") => format!("{}.{path}", self.paths),
            _ => path.to_owned(),
        })
    }
}

/// A path below a plan: its flows are written like those of the API.
fn plan_path(path: &str) -> String {
    match path.strip_prefix(".flows[").and_then(|rest| rest.split_once(']')) {
        Some((index, rest)) => format!(".flows[{index}]{}", in_flow(rest, &[])),
        None => path.to_owned(),
    }
}

fn in_flow(path: &str, selectors: &[&str]) -> String {
    const HOOKS: [(&str, &str); 3] =
        [(".connect", ".request"), (".respond", ".response"), (".deliver", ".subscribe")];
    for (ours, theirs) in HOOKS {
        if let Some(rest) = path.strip_prefix(ours) {
            return format!("{theirs}{rest}");
        }
    }
    for kind in ["channel", "http", "condition"] {
        if let Some(rest) = path.strip_prefix('.').and_then(|path| path.strip_prefix(kind)) {
            let index = selectors.iter().position(|selector| *selector == kind).unwrap_or_default();
            let field = if kind == "condition" { ".condition" } else { "" };
            return format!(".selectors[{index}]{field}{rest}");
        }
    }
    path.to_owned()
}

fn selectors(flow: &Flow) -> Selectors {
    let given = [
        ("channel", flow.channel.is_some()),
        ("http", flow.http.is_some()),
        ("condition", flow.condition.is_some()),
    ];
    given.into_iter().filter(|(_, given)| *given).map(|(kind, _)| kind).collect()
}

/// The place of the next part of this group: the group's number, and the part's number in it.
fn place<'a>(groups: &mut Vec<(&'a str, usize)>, name: &'a str) -> (usize, usize) {
    let index = groups.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
        groups.push((name, 0));
        groups.len() - 1
    });
    let number = groups[index].1;
    groups[index].1 += 1;
    (index, number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_named_as_the_contract_names_them() {
        let api = json!({
            "name": "a", "paths": [{"path": "/a"}],
            "receivers": [{"type": "webhook"}, {"type": "http-post"}, {"type": "sse"}],
            "brokers": [
                {"name": "one", "group": "main", "type": "log", "configuration": {"topics": ["t"]}},
                {"name": "two", "group": "dead", "type": "log", "configuration": {"topics": ["d"]}}
            ],
            "flows": [{"channel": {}, "condition": "{#true}"}]
        });
        let fields = Fields::of(&sluice_api::from_value(api).unwrap());
        for (ours, theirs) in [
            ("receivers[0].qos", "listeners[0].entrypoints[0].qos"),
            ("receivers[2].qos", "listeners[1].entrypoints[1].qos"),
            ("paths[0].path", "listeners[1].paths[0].path"),
            ("cors.allowOrigin[0]", "listeners[1].cors.allowOrigin[0]"),
            ("brokers[0].configuration.topics", "endpointGroups[0].endpoints[0].configuration.topics"),
            ("brokers[1].name", "endpointGroups[1].endpoints[0].name"),
            ("flows[0].deliver[0].policy", "flows[0].subscribe[0].policy"),
            ("flows[0].connect[1].policy", "flows[0].request[1].policy"),
            ("flows[0].condition", "flows[0].selectors[1].condition"),
            ("plans[0].flows[0].channel.channel", "plans[0].flows[0].selectors[0].channel"),
            ("version", "apiVersion"),
            ("name", "name"),
        ] {
            assert_eq!(fields.path(ours), theirs);
        }
    }
}

//! Endpoint groups: the brokers behind the API, those that policies can choose, and those that take dead letters.
//!
//! The later split of settings is read too: a group's `sharedConfiguration` and an endpoint's
//! `sharedConfigurationOverride` become part of the endpoint's configuration.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sluice_api::{Balancing, Broker, Problem};

use super::{
    catalogue::ApiCatalogue,
    read::{Services, check_services},
    word,
};

/// The brokers of an API, and how those of each group share the work.
pub(super) type Behind = (Vec<Broker>, BTreeMap<String, Balancing>);

/// An endpoint group as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewEndpointGroup")]
pub(super) struct EndpointGroup {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    load_balancer: Option<WrittenLoadBalancer>,
    shared_configuration: Option<Value>,
    endpoints: Option<Vec<Endpoint>>,
    services: Option<Services>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewLoadBalancer")]
struct WrittenLoadBalancer {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewEndpoint")]
struct Endpoint {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    weight: Option<u32>,
    secondary: Option<bool>,
    inherit_configuration: Option<bool>,
    configuration: Option<Value>,
    shared_configuration_override: Option<Value>,
    tenants: Option<Vec<String>>,
    services: Option<Services>,
}

/// Reads the brokers of an API, group by group.
pub(super) fn read_groups(
    groups: Option<Vec<EndpointGroup>>,
    catalogue: &mut ApiCatalogue,
    problems: &mut Vec<Problem>,
) -> Behind {
    let groups = groups.unwrap_or_default();
    if groups.is_empty() {
        let message = "At least one endpoint group is needed.";
        problems.push(Problem::new("endpointGroups", "endpoints.count", message));
    }
    let (mut brokers, mut balancing): Behind = Default::default();
    for (index, group) in groups.into_iter().enumerate() {
        let path = format!("endpointGroups[{index}]");
        if brokers.iter().any(|broker| Some(&broker.group) == group.name.as_ref()) {
            let message = "There is another endpoint group of this name.";
            problems.push(Problem::new(format!("{path}.name"), "endpoint.name.invalid", message));
        }
        match read_group(group, &path, catalogue, &mut balancing, problems) {
            Ok(found) => brokers.extend(found),
            Err(problem) => problems.push(problem.within(&path)),
        }
    }
    (brokers, balancing)
}

fn read_group(
    group: EndpointGroup,
    path: &str,
    catalogue: &mut ApiCatalogue,
    balancing: &mut BTreeMap<String, Balancing>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Broker>, Problem> {
    check_services(&format!("{path}.services"), group.services.as_ref(), problems);
    let name = group.name.filter(|name| !name.trim().is_empty());
    let name =
        name.ok_or_else(|| Problem::new("name", "field.required", "An endpoint group needs a name."))?;
    if let Some(written) = group.load_balancer.and_then(|balancer| balancer.kind) {
        balancing.insert(name.clone(), read_load_balancer(&written)?);
    }
    let kind = group.kind.ok_or_else(|| {
        Problem::new("type", "field.required", "An endpoint group needs a type, for example kafka.")
    })?;
    let endpoints = group.endpoints.unwrap_or_default();
    if endpoints.is_empty() {
        return Err(Problem::new("endpoints", "endpoints.count", "An endpoint group needs an endpoint."));
    }
    let mut brokers = Vec::new();
    for (index, endpoint) in endpoints.into_iter().enumerate() {
        let path = format!("{path}.endpoints[{index}]");
        check_services(&format!("{path}.services"), endpoint.services.as_ref(), problems);
        match read_endpoint(endpoint, &kind, group.shared_configuration.as_ref(), catalogue) {
            Ok(broker) => brokers.push(Broker { group: name.clone(), ..broker }),
            Err(problem) => problems.push(problem.within(&path)),
        }
    }
    Ok(brokers)
}

fn read_load_balancer(kind: &str) -> Result<Balancing, Problem> {
    let known =
        [Balancing::RoundRobin, Balancing::Random, Balancing::WeightedRoundRobin, Balancing::WeightedRandom];
    known.into_iter().find(|known| known.as_str() == word(kind)).ok_or_else(|| {
        let names = known.map(Balancing::as_str).join(", ");
        let message = format!("'{kind}' is no way of balancing; there are: {names}.");
        Problem::new("loadBalancer.type", "endpoints.loadBalancer.invalid", message)
    })
}

fn read_endpoint(
    endpoint: Endpoint,
    group_kind: &str,
    shared: Option<&Value>,
    catalogue: &mut ApiCatalogue,
) -> Result<Broker, Problem> {
    let kind = endpoint.kind.unwrap_or_else(|| group_kind.to_owned());
    if kind != group_kind {
        let message = format!("The endpoint is of type '{kind}', its group of type '{group_kind}'.");
        return Err(Problem::new("type", "api.endpointsGroup.type.invalid", message));
    }
    let name = endpoint.name.unwrap_or_default();
    if name.trim().is_empty() || name.contains(':') {
        let message = "An endpoint needs a name without ':'.";
        return Err(Problem::new("name", "endpoint.name.invalid", message));
    }
    if let Some(tenants) = endpoint.tenants.filter(|tenants| !tenants.is_empty()) {
        catalogue.tenants.insert(name.clone(), tenants);
    }
    let inherits = endpoint.inherit_configuration == Some(true);
    if inherits && shared.is_some() {
        catalogue.inheriting.push(name.clone());
    }
    let shared = if inherits { shared.cloned() } else { endpoint.shared_configuration_override };
    let configuration = merged(shared, endpoint.configuration);
    let broker = Broker::parse(&name, &kind, configuration)?;
    let (weight, secondary) = (endpoint.weight.unwrap_or(1), endpoint.secondary.unwrap_or_default());
    Ok(Broker { weight, secondary, ..broker })
}

/// Settings over shared settings; objects are merged field by field.
fn merged(shared: Option<Value>, own: Option<Value>) -> Option<Value> {
    match (shared, own) {
        (Some(Value::Object(mut shared)), Some(Value::Object(own))) => {
            for (field, value) in own {
                let value = merged(shared.remove(&field), Some(value)).unwrap_or_default();
                shared.insert(field, value);
            }
            Some(Value::Object(shared))
        }
        (shared, own) => own.or(shared),
    }
}

//! Definitions that another gateway is tested with, read as files. What is refused is refused at its field.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_gateway::GatewayOptions;
use sluice_management::{ManagementOptions, read_definition};

use crate::support::gateway;

const DEFINITIONS: &str = include_str!("data/gateway-definitions.json");

/// What is said of a definition: nothing when it can be deployed.
fn outcome(definition: Value) -> Option<(String, String)> {
    let problems = match read_definition(definition, &ManagementOptions::default()) {
        Ok(api) => gateway(GatewayOptions::default()).check(&api),
        Err(problems) => problems,
    };
    problems.into_iter().next().map(|problem| (problem.code.to_owned(), problem.path))
}

#[tokio::test]
async fn every_definition_is_deployable_or_refused_at_its_field() {
    // The tests that these come from put the address of a broker there.
    let definitions = DEFINITIONS.replace("\"bootstrap-server\"", "\"kafka:9092\"");
    let definitions: BTreeMap<String, Value> = serde_json::from_str(&definitions).unwrap();
    let outcomes: BTreeMap<_, _> =
        definitions.into_iter().map(|(name, definition)| (name, outcome(definition))).collect();
    let told: Vec<_> = outcomes
        .iter()
        .map(|(name, outcome)| match outcome {
            None => format!("{name}: deployable"),
            Some((code, path)) => format!("{name}: {code} at {path}"),
        })
        .collect();
    let expected = include_str!("data/gateway-definitions.txt");
    assert_eq!(told.join("\n"), expected.trim_end(), "\n{}", told.join("\n"));
}

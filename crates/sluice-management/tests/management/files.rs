//! Event APIs that are managed in files.

use std::path::PathBuf;

use serde_json::{Value, json};
use sluice_api::{EventApi, Problem};
use sluice_management::{FileDefinition, ManagementOptions, Registry, read_definition};
use sluice_store::Catalogue;

use crate::support::{api, registry};

/// What a file with this document says.
fn read(document: Value) -> FileDefinition {
    read_definition(document, &ManagementOptions::default())
}

fn file(name: &str, api: EventApi) -> (PathBuf, FileDefinition) {
    (name.into(), Ok(api))
}

fn running(registry: &Registry) -> Vec<(String, String)> {
    let shown = registry.list().into_iter().map(|api| {
        let deployed = api.record.deployed.clone().unwrap();
        (deployed.id.0, deployed.paths[0].path.clone())
    });
    let mut shown: Vec<_> = shown.collect();
    shown.sort();
    shown
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, path)| ((*id).to_owned(), (*path).to_owned())).collect()
}

#[tokio::test]
async fn what_runs_follows_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let first = vec![file("a.yaml", api("a", "/a")), file("b.yaml", api("b", "/b"))];
    assert_eq!(registry.sync_files(first.clone()).await.unwrap(), []);
    let untouched = registry.get(&api("a", "/a").id).unwrap().record.clone();
    let second = vec![first[0].clone(), file("c.yaml", api("c", "/b"))];
    assert_eq!(registry.sync_files(second).await.unwrap(), []);
    assert_eq!(running(&registry), pairs(&[("a", "/a"), ("c", "/b")]));
    assert_eq!(registry.get(untouched.id()).unwrap().record, untouched);
    assert_eq!(registry.sync_files(Vec::new()).await.unwrap(), []);
    assert!(registry.list().is_empty());
}

#[tokio::test]
async fn a_faulty_file_keeps_what_it_had_and_disturbs_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    registry
        .create(EventApi { plans: Vec::new(), ..api("managed", "/managed") }, Catalogue::new())
        .await
        .unwrap();
    let good = vec![file("a.yaml", api("a", "/a")), file("b.yaml", api("b", "/b"))];
    registry.sync_files(good.clone()).await.unwrap();

    let broken = Problem::new("", "document.syntax", "This is not YAML.");
    let edited = vec![
        ("a.yaml".into(), Err(vec![broken.clone()])),
        file("b.yaml", api("b", "/managed/below")),
        file("c.yaml", api("c", "/c")),
        file("d.yaml", api("managed", "/d")),
        file("e.yaml", api("c", "/e")),
    ];
    let told = registry.sync_files(edited).await.unwrap();
    let codes: Vec<_> = told.iter().map(|(path, problem)| (path.to_str().unwrap(), problem.code)).collect();
    assert_eq!(
        codes,
        [
            ("a.yaml", "document.syntax"),
            ("b.yaml", "api.listener.paths.path.exists"),
            ("d.yaml", "api.id.exists"),
            ("e.yaml", "api.id.exists"),
        ]
    );
    assert_eq!(registry.get(&api("a", "/a").id).unwrap().faults, [broken]);
    let shown = registry.list().into_iter().filter(|api| api.record.started).count();
    assert_eq!(shown, 3, "a and b as they were, and c");

    registry.sync_files(good).await.unwrap();
    assert!(registry.list().iter().all(|api| api.faults.is_empty()));
}

#[tokio::test]
async fn a_path_may_change_hands_between_files() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    registry.sync_files(vec![file("a", api("a", "/x")), file("b", api("b", "/y"))]).await.unwrap();
    let moved = vec![file("a", api("a", "/y")), file("b", api("b", "/z"))];
    assert_eq!(registry.sync_files(moved).await.unwrap(), []);
    assert_eq!(running(&registry), pairs(&[("a", "/y"), ("b", "/z")]));
}

#[tokio::test]
async fn two_files_may_swap_their_paths() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    registry.sync_files(vec![file("a", api("a", "/x")), file("b", api("b", "/y"))]).await.unwrap();
    let swapped = vec![file("a", api("a", "/y")), file("b", api("b", "/x"))];
    assert_eq!(registry.sync_files(swapped).await.unwrap(), []);
    assert_eq!(running(&registry), pairs(&[("a", "/y"), ("b", "/x")]));
}

#[tokio::test]
async fn two_files_may_swap_their_ids() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    registry.sync_files(vec![file("a", api("a", "/x")), file("b", api("b", "/y"))]).await.unwrap();
    let swapped = vec![file("a", api("b", "/x")), file("b", api("a", "/y"))];
    assert_eq!(registry.sync_files(swapped).await.unwrap(), []);
    assert_eq!(running(&registry), pairs(&[("a", "/y"), ("b", "/x")]));
}

#[tokio::test]
async fn a_file_whose_api_has_a_new_id_keeps_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    registry.sync_files(vec![file("a", api("former", "/a"))]).await.unwrap();
    assert_eq!(registry.sync_files(vec![file("a", api("renamed", "/a"))]).await.unwrap(), []);
    assert_eq!(running(&registry), pairs(&[("renamed", "/a")]));
}

#[tokio::test]
async fn a_refused_api_with_a_new_id_leaves_the_former_one_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let before = vec![file("a", api("former", "/a")), file("b", api("b", "/b"))];
    registry.sync_files(before).await.unwrap();
    let renamed = vec![
        file("a", api("renamed", "/b/below")),
        file("b", api("b", "/b")),
        // The path and the id that the refused file keeps are not free either.
        file("c", api("c", "/a")),
        file("d", api("former", "/d")),
    ];
    let told = registry.sync_files(renamed).await.unwrap();
    let told: Vec<_> = told.iter().map(|(file, problem)| (file.to_str().unwrap(), problem.code)).collect();
    let taken = "api.listener.paths.path.exists";
    assert_eq!(told, [("a", taken), ("c", taken), ("d", "api.id.exists")]);
    assert_eq!(running(&registry), pairs(&[("b", "/b"), ("former", "/a")]));
    let former = registry.get(&api("former", "/a").id).unwrap();
    assert_eq!(former.faults[0].code, taken);
}

#[tokio::test]
async fn who_has_a_path_or_an_id_keeps_it_against_files_that_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    registry.sync_files(vec![file("m", api("m", "/m"))]).await.unwrap();
    let mut grown = api("m", "/m");
    grown.paths.extend(api("m", "/new").paths);
    let claimed = vec![file("a", api("a", "/m")), file("b", api("m", "/b")), file("m", grown)];
    let told = registry.sync_files(claimed).await.unwrap();
    let told: Vec<_> = told.iter().map(|(file, problem)| (file.to_str().unwrap(), problem.code)).collect();
    assert_eq!(told, [("a", "api.listener.paths.path.exists"), ("b", "api.id.exists")]);
    let shown = registry.list();
    assert_eq!((shown.len(), shown[0].record.draft.paths.len()), (1, 2));
}

#[tokio::test]
async fn files_are_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    {
        let registry = registry(directory.path()).await;
        registry.sync_files(vec![file("a", api("a", "/a"))]).await.unwrap();
    }
    assert!(registry(directory.path()).await.list().is_empty());
}

fn contract(endpoint: &Value, plans: &Value) -> Value {
    json!({
        "id": "my-api", "name": "my-api", "definitionVersion": "4.0.0", "type": "message",
        "listeners": [{"type": "http", "paths": [{"path": "/test"}], "entrypoints": [{"type": "sse"}]}],
        "endpointGroups": [{
            "name": "default-group", "type": "kafka",
            "sharedConfiguration": {"consumer": {"enabled": true, "topics": ["shared"]}},
            "endpoints": [endpoint]
        }],
        "flows": [], "plans": plans, "analytics": {"enabled": false}
    })
}

#[test]
fn a_file_may_be_in_the_notation_of_the_contract() {
    let endpoint = |inherits: bool| {
        json!({
            "name": "default", "type": "kafka", "inheritConfiguration": inherits,
            "configuration": {"bootstrapServers": "kafka:9092"},
            "sharedConfigurationOverride": {"consumer": {"topics": ["own"], "autoOffsetReset": "earliest"}}
        })
    };
    let open = json!({"name": "Open", "security": {"type": "key-less"}, "status": "published"});
    for (inherits, topic) in [(true, "shared"), (false, "own")] {
        for plans in [json!([open]), json!({"open-plan": open})] {
            let named = plans.is_object();
            let api = read(contract(&endpoint(inherits), &plans)).unwrap();
            let settings = api.brokers[0].configuration.to_value();
            assert_eq!(settings["consumer"]["topics"], json!([topic]));
            assert_eq!(settings["bootstrapServers"], "kafka:9092");
            assert_eq!(api.plans[0].id.0, if named { "open-plan" } else { "my-api-open" });
        }
    }
}

#[test]
fn faults_of_a_file_name_the_fields_of_its_notation() {
    let endpoint =
        json!({"name": "default", "type": "kafka", "configuration": {"bootstrapServers": "nowhere"}});
    let problems = read(contract(&endpoint, &json!([]))).unwrap_err();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    let configuration = "endpointGroups[0].endpoints[0].configuration";
    assert!(paths.contains(&format!("{configuration}.bootstrapServers").as_str()), "{paths:?}");
    let native = read(json!({"name": "x"})).unwrap_err();
    assert_eq!(native[0].code, "document.field");
}

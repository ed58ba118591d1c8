//! What the catalogue says of each policy, against the files that clients can rely on.

use std::{fs, path::Path};

use serde_json::Value;
use sluice_api::SECRET_NAMES;

use crate::catalogue;

/// Set to write the files anew, which then shows in the diff.
pub(super) const WRITE: &str = "SLUICE_WRITE_GOLDEN";

#[test]
fn the_schema_of_each_policy_is_as_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas");
    for entry in catalogue() {
        let schema = entry.schema();
        let file = folder.join(format!("{}.json", entry.id));
        if std::env::var_os(WRITE).is_some() {
            fs::write(&file, format!("{schema:#}\n")).unwrap();
        }
        let golden: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(schema, golden, "{}: set {WRITE}=1 if this is meant", entry.id);
    }
    let files = fs::read_dir(folder).unwrap().count();
    assert_eq!(files, catalogue().len(), "a file of a policy that is gone");
}

#[test]
fn every_setting_is_described_and_unknown_ones_are_refused() {
    for entry in catalogue() {
        let schema = entry.schema();
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        assert_eq!(schema["additionalProperties"], false, "{}", entry.id);
        for (name, setting) in schema["properties"].as_object().unwrap() {
            assert!(setting["description"].is_string(), "{}: {name}", entry.id);
        }
        assert!(!entry.hooks.is_empty() && !entry.name.is_empty() && !entry.description.is_empty());
        assert!(!entry.documentation.is_empty());
    }
}

#[test]
fn ids_are_in_order_and_no_two_alike() {
    let names: Vec<_> = catalogue().iter().map(|entry| entry.id).collect();
    assert!(names.is_sorted());
    let mut all: Vec<_> = catalogue().iter().flat_map(|entry| entry.aliases).chain(&names).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn a_setting_that_is_not_to_be_shown_has_a_name_by_which_it_is_hidden() {
    for entry in catalogue() {
        let schema = entry.schema();
        for (name, setting) in schema["properties"].as_object().unwrap() {
            let hidden = SECRET_NAMES.contains(&&**name);
            assert_eq!(setting["writeOnly"] == true, hidden, "{}: {name}", entry.id);
        }
    }
}

//! Definitions in files, in either notation.

use serde_json::Value;
use sluice_api::{EventApi, Problem};

use crate::gravitee;

/// What only a definition in the notation of the 3.20 contract has; the first is what it should have.
const CONTRACT_FIELDS: [&str; 2] = ["definitionVersion", "endpointGroups"];

/// Reads a definition and checks it: one with a `definitionVersion` in the notation of the 3.20 contract,
/// with its plans inline, any other in our own. Ids that were left out are made from the names.
pub fn read_definition(document: Value) -> Result<EventApi, Vec<Problem>> {
    if CONTRACT_FIELDS.iter().any(|field| document.get(field).is_some()) {
        gravitee::read_file(document)
    } else {
        EventApi::from_document(document)
    }
}

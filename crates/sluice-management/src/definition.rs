//! Definitions in files, in any notation.

use serde_json::Value;
use sluice_api::{EventApi, Problem};

use crate::{ManagementOptions, gravitee, wso2};

/// What only a definition in the notation of the 3.20 contract has; the first is what it should have.
const CONTRACT_FIELDS: [&str; 2] = ["definitionVersion", "endpointGroups"];

/// Reads a definition and checks it: one with a `kind` as a resource (`WebSubApi`, `WebBrokerApi`), one with a
/// `definitionVersion` in the notation of the 3.20 contract, with its plans inline, any other in our own. Ids that were
/// left out are made from the names.
pub fn read_definition(document: Value, options: &ManagementOptions) -> Result<EventApi, Vec<Problem>> {
    if wso2::is_resource(&document) {
        wso2::read_file(document, options)
    } else if CONTRACT_FIELDS.iter().any(|field| document.get(field).is_some()) {
        gravitee::read_file(document)
    } else {
        EventApi::from_document(document)
    }
}

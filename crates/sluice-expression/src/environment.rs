//! What expressions see of the place in which a message is handled: the API and the gateway around it. Plain
//! data that is the same for every message; it changes by deploying again.

use std::{collections::BTreeMap, fmt};

/// The API that a message goes through: `#api`, and `#properties`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Api {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Values that its definition names, for its expressions.
    pub properties: BTreeMap<String, String>,
}

/// What is shared by all APIs of a gateway: `#dictionaries`, `#secrets`, `#node`, `#endpoints`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Dictionaries by name.
    pub dictionaries: BTreeMap<String, BTreeMap<String, String>>,
    /// Secrets by the name by which expressions ask for them.
    pub secrets: BTreeMap<String, String>,
    /// The gateway itself.
    pub node: Node,
    /// The addresses of brokers and servers, by name.
    pub endpoints: BTreeMap<String, String>,
}

/// One gateway process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// The version of the product.
    pub version: String,
    /// The tenant that it serves.
    pub tenant: Option<String>,
    /// The zone in which it runs.
    pub zone: Option<String>,
    /// The tags of the APIs that it serves; empty for all.
    pub sharding_tags: Vec<String>,
}

/// What stands in place of a secret.
const MASK: &str = "********";

/// Names secrets, but does not tell them.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets: BTreeMap<_, _> = self.secrets.keys().map(|name| (name, MASK)).collect();
        f.debug_struct("Environment")
            .field("dictionaries", &self.dictionaries)
            .field("secrets", &secrets)
            .field("node", &self.node)
            .field("endpoints", &self.endpoints)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_named_but_not_printed() {
        let secrets = [("/vault/db:password".to_owned(), "hunter2".to_owned())].into();
        let printed = format!("{:?}", Environment { secrets, ..Environment::default() });
        assert!(printed.contains("/vault/db:password") && !printed.contains("hunter2"), "{printed}");
    }
}

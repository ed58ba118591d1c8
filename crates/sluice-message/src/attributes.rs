//! Attributes: named values that policies leave for each other. They never leave the gateway.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

/// Named values. Cheap to clone; a change copies only what is shared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(Arc<BTreeMap<Box<str>, Value>>);

impl Attributes {
    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Sets a value, in place of the one that had this name.
    pub fn set(&mut self, name: impl Into<Box<str>>, value: Value) {
        Arc::make_mut(&mut self.0).insert(name.into(), value);
    }

    /// All attributes in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_does_not_show_in_a_clone_made_before() {
        let mut attributes = Attributes::default();
        attributes.set("a", Value::from(1));
        let before = attributes.clone();
        attributes.set("a", Value::from(2));
        assert_eq!((before.get("a"), attributes.get("a")), (Some(&Value::from(1)), Some(&Value::from(2))));
    }
}

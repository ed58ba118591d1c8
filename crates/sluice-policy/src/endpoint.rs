//! Which of an API's brokers a policy has chosen, for a client or for one message. Whether there is such a one, and
//! what it can do, is for who uses it to find out.

use serde_json::Value;
use sluice_message::Attributes;

/// The attribute that chooses, by the name of a broker or of a group of brokers.
const ATTRIBUTE: &str = "gravitee.attribute.request.endpoint";

/// The name that was chosen, in the first of these places where one was; `None` where none was. Null chooses nothing. What
/// is no name is an empty one, which nothing has.
pub fn chosen_endpoint<'a>(places: &[&'a Attributes]) -> Option<&'a str> {
    let mut filled = places.iter().filter(|place| !place.is_empty());
    match filled.find_map(|place| place.get(ATTRIBUTE).filter(|value| !value.is_null()))? {
        // The contract ends it with a colon, behind which a path may follow where endpoints have paths.
        Value::String(name) => Some(name.trim().strip_suffix(':').unwrap_or(name.trim())),
        _ => Some(""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn noted(value: Value) -> Attributes {
        let mut attributes = Attributes::default();
        attributes.set(ATTRIBUTE, value);
        attributes
    }

    #[test]
    fn a_choice_for_the_message_goes_before_one_for_the_client() {
        let (message, client) = (noted(json!("one")), noted(json!("two:")));
        assert_eq!(chosen_endpoint(&[&message, &client]), Some("one"));
        assert_eq!(chosen_endpoint(&[&Attributes::default(), &client]), Some("two"));
        assert_eq!(chosen_endpoint(&[&noted(Value::Null), &client]), Some("two"));
        assert_eq!(chosen_endpoint(&[&noted(Value::Null)]), None);
        assert_eq!(chosen_endpoint(&[&noted(json!(7))]), Some(""));
        assert_eq!(chosen_endpoint(&[]), None);
    }
}

//! Bodies to values: JSON as it is, XML by a tree that is bounded before it is built.
//!
//! Documents come from outside. A document type declaration is refused, so there are no entities to expand
//! and nothing is fetched.

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Map, Value as Json};
use sluice_message::MAX_JSON_BYTES;

use crate::{error::EvalError, value::Value};

/// The largest XML document, in bytes.
const MAX_XML_BYTES: usize = 1 << 20;
/// How many elements, attributes' owners and texts an XML document may have.
const MAX_XML_NODES: u32 = 1 << 17;
/// How deep elements may nest where they become maps.
const MAX_XML_DEPTH: usize = 128;
/// How many attributes one element may have: the parser compares each with each.
const MAX_ATTRIBUTES: usize = 256;
/// How many namespaces a document may declare: the parser compares those of an element with all around it.
const MAX_NAMESPACES: usize = 64;

/// The value of a JSON document.
pub(crate) fn json(bytes: &[u8]) -> Result<Value<'static>, EvalError> {
    if bytes.len() > MAX_JSON_BYTES {
        return Err(EvalError::NotJson);
    }
    serde_json::from_slice(bytes).map(Value::from_owned_json).map_err(|_| EvalError::NotJson)
}

/// An XML document as maps: the name of the root leads to what is in it. An element without attributes and
/// elements is its text; otherwise attributes and elements stand side by side under their names, a text
/// between them under the empty name, and what repeats is a list. Prefixes are left out.
pub(crate) fn xml(bytes: &[u8]) -> Result<Value<'static>, EvalError> {
    let text = std::str::from_utf8(bytes).map_err(|_| EvalError::NotXml)?;
    let document = parse_xml(text)?;
    let root = document.root_element();
    let members = [(root.tag_name().name().to_owned(), element(root, 1)?)];
    Ok(Value::from_owned_json(Json::Object(members.into_iter().collect())))
}

/// The tree of an XML document.
pub(crate) fn parse_xml(text: &str) -> Result<Document<'_>, EvalError> {
    if text.len() > MAX_XML_BYTES {
        return Err(EvalError::Bound("1 MiB of XML"));
    }
    // A tag lies between two opening angles, as none may stand in an attribute unescaped.
    let attributes = |between: &str| between.bytes().filter(|byte| *byte == b'=').count();
    if text.split('<').any(|between| attributes(between) > MAX_ATTRIBUTES) {
        return Err(EvalError::Bound("256 attributes of an XML element"));
    }
    if text.matches("xmlns").count() > MAX_NAMESPACES {
        return Err(EvalError::Bound("64 namespaces of an XML document"));
    }
    let options = ParsingOptions { nodes_limit: MAX_XML_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|_| EvalError::NotXml)
}

fn element(node: Node<'_, '_>, depth: usize) -> Result<Json, EvalError> {
    if depth > MAX_XML_DEPTH {
        return Err(EvalError::Bound("128 levels of XML"));
    }
    let mut members = Map::new();
    for attribute in node.attributes() {
        add(&mut members, attribute.name(), attribute.value().into());
    }
    for child in node.children().filter(Node::is_element) {
        add(&mut members, child.tag_name().name(), element(child, depth + 1)?);
    }
    let text: String = node.children().filter(Node::is_text).filter_map(|child| child.text()).collect();
    if members.is_empty() {
        return Ok(text.into());
    }
    if !text.trim().is_empty() {
        add(&mut members, "", text.trim().into());
    }
    Ok(members.into())
}

/// Adds a member; what repeats becomes a list.
fn add(members: &mut Map<String, Json>, name: &str, value: Json) {
    match members.get_mut(name) {
        None => drop(members.insert(name.to_owned(), value)),
        Some(Json::Array(items)) => items.push(value),
        Some(first) => *first = Json::Array(vec![first.take(), value]),
    }
}

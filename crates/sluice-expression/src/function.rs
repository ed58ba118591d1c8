//! The functions: `#jsonPath`, `#jsonEscape`, `#xmlEscape`, resolved while parsing.

use crate::{
    error::ExpressionError,
    jsonpath::JsonPath,
    parser::{Parsed, Parser},
    tree::{Escape, Kind, Node, Path},
};

/// The functions with their arguments, as an error lists them.
pub(crate) const fn names() -> &'static str {
    "#jsonPath(document, path), #jsonEscape(text), #xmlEscape(text)"
}

/// Reads the arguments of the function `name`, whose name stands at byte `at`.
pub(crate) fn call(parser: &mut Parser<'_>, name: &str, at: usize) -> Parsed<Node> {
    let escape = match name {
        "jsonPath" => None,
        "jsonEscape" => Some(Escape::Json),
        "xmlEscape" => Some(Escape::Xml),
        _ => return Err(parser.refuse(at, format!("There is no function #{name}. Known are: {}.", names()))),
    };
    let first_at = parser.at();
    let arguments = parser.until(")")?;
    let Some(escape) = escape else { return json_path(parser, arguments, at, first_at) };
    match <[Node; 1]>::try_from(arguments) {
        Ok([text]) if text.kind() == Kind::Map => {
            Err(parser.refuse(first_at, "A map has no text to escape."))
        }
        Ok([text]) => Ok(Node::Escape(escape, Box::new(text))),
        Err(_) => Err(wrong_number(parser, name, at)),
    }
}

fn wrong_number(parser: &Parser<'_>, name: &str, at: usize) -> ExpressionError {
    parser.refuse(at, format!("#{name} has another number of arguments; the functions are: {}.", names()))
}

fn json_path(parser: &Parser<'_>, arguments: Vec<Node>, at: usize, first_at: usize) -> Parsed<Node> {
    let Ok([document, path]) = <[Node; 2]>::try_from(arguments) else {
        return Err(wrong_number(parser, "jsonPath", at));
    };
    if matches!(document.kind(), Kind::Null | Kind::Boolean | Kind::Number) {
        let noun = document.kind().noun();
        return Err(parser.refuse(first_at, format!("#jsonPath reads a JSON document, not {noun}.")));
    }
    let path = match path {
        Node::Text(text) => {
            let compiled = JsonPath::compile(&text);
            Path::Compiled(compiled.map_err(|reason| parser.refuse(at, reason))?)
        }
        computed => Path::Computed(Box::new(computed)),
    };
    Ok(Node::JsonPath { document: Box::new(document), path })
}

//! The functions: `#jsonPath`, `#xpath`, `#jsonEscape`, `#xmlEscape`, resolved while parsing.

use crate::{
    error::ExpressionError,
    jsonpath::JsonPath,
    parser::{Parsed, Parser},
    tree::{Document, Escape, Kind, Node, Path, XPathResult},
    xpath::XPath,
};

/// The results of `#xpath` by their names.
const RESULTS: [(&str, XPathResult); 5] = [
    ("string", XPathResult::Text),
    ("boolean", XPathResult::Boolean),
    ("number", XPathResult::Number),
    ("node", XPathResult::Node),
    ("node_list", XPathResult::Nodes),
];

/// The functions with their arguments, as an error lists them.
pub(crate) const fn names() -> &'static str {
    "#jsonPath(document, path), #xpath(document, path, result), #jsonEscape(text), #xmlEscape(text)"
}

/// Reads the arguments of the function `name`, whose name stands at byte `at`.
pub(crate) fn call(parser: &mut Parser<'_>, name: &str, at: usize) -> Parsed<Node> {
    let first_at = parser.at();
    match name {
        "jsonPath" => {
            let arguments = parser.until(")")?;
            json_path(parser, arguments, at, first_at)
        }
        "xpath" => {
            let arguments = parser.until(")")?;
            xpath(parser, arguments, at, first_at)
        }
        "jsonEscape" => escape(parser, Escape::Json, name, at),
        "xmlEscape" => escape(parser, Escape::Xml, name, at),
        _ => Err(parser.refuse(at, format!("There is no function #{name}. Known are: {}.", names()))),
    }
}

fn wrong_number(parser: &Parser<'_>, name: &str, at: usize) -> ExpressionError {
    parser.refuse(at, format!("#{name} has another number of arguments; the functions are: {}.", names()))
}

fn escape(parser: &mut Parser<'_>, escape: Escape, name: &str, at: usize) -> Parsed<Node> {
    let first_at = parser.at();
    match <[Node; 1]>::try_from(parser.until(")")?) {
        Ok([text]) if !text.kind().has_text() => {
            let noun = text.kind().noun();
            Err(parser.refuse(first_at, format!("#{name} needs a text; there is none for {noun}.")))
        }
        Ok([text]) => Ok(Node::Escape(escape, Box::new(text))),
        Err(_) => Err(wrong_number(parser, name, at)),
    }
}

fn json_path(parser: &Parser<'_>, arguments: Vec<Node>, at: usize, first_at: usize) -> Parsed<Node> {
    let Ok([document, path]) = <[Node; 2]>::try_from(arguments) else {
        return Err(wrong_number(parser, "jsonPath", at));
    };
    check_document(parser, &document, "#jsonPath reads a JSON document", first_at)?;
    let document = match document {
        Node::Property(property) if property.is_payload() => Document::Payload,
        computed => Document::Computed(Box::new(computed)),
    };
    Ok(Node::JsonPath { document, path: compile(parser, path, JsonPath::compile, at)? })
}

fn xpath(parser: &Parser<'_>, arguments: Vec<Node>, at: usize, first_at: usize) -> Parsed<Node> {
    let mut arguments = arguments.into_iter();
    let (Some(document), Some(path), result, None) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next())
    else {
        return Err(wrong_number(parser, "xpath", at));
    };
    check_document(parser, &document, "#xpath reads an XML document", first_at)?;
    let known = |wanted: &str| RESULTS.iter().find(|(name, _)| *name == wanted).map(|(_, result)| *result);
    let result = match &result {
        None => Some(XPathResult::Text),
        Some(Node::Text(name)) => known(name),
        Some(_) => None,
    };
    let Some(result) = result else {
        let names = RESULTS.map(|(name, _)| format!("'{name}'")).join(", ");
        return Err(parser.refuse(at, format!("The third argument of #xpath is one of {names}.")));
    };
    Ok(Node::XPath { document: Box::new(document), path: compile(parser, path, XPath::compile, at)?, result })
}

fn check_document(parser: &Parser<'_>, document: &Node, reads: &str, at: usize) -> Parsed<()> {
    if matches!(document.kind(), Kind::Any | Kind::Text | Kind::List | Kind::Map) {
        return Ok(());
    }
    Err(parser.refuse(at, format!("{reads}, not {}.", document.kind().noun())))
}

fn compile<P>(
    parser: &Parser<'_>,
    path: Node,
    compile: fn(&str) -> Result<P, String>,
    at: usize,
) -> Parsed<Path<P>> {
    match path {
        Node::Text(text) => Ok(Path::Compiled(compile(&text).map_err(|reason| parser.refuse(at, reason))?)),
        computed => Ok(Path::Computed(Box::new(computed))),
    }
}

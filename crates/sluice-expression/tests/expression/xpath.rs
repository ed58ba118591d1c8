//! `#xpath`.

use sluice_expression::{EvalContext, EvalError, Expression, Value};
use sluice_message::Message;

const DOCUMENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<shop:root xmlns:shop="urn:shop" kind="test"><lastname>DOE</lastname><firstname>JOHN</firstname><age>35</age>
<book price="8"><title>A</title></book><book price="12"><title>B</title><title>B2</title></book>
<deep><deep><x>1</x></deep><x>2</x></deep><note> one <b>two</b> three </note></shop:root>"#;

fn evaluate(payload: &str, call: &str) -> Result<Value<'static>, EvalError> {
    let message = Message::builder().payload(payload.to_owned()).build();
    let source = format!("{{#xpath(#message.content, {call})}}");
    let expression = Expression::parse(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let value = expression.evaluate(&EvalContext::new().with_message(&message))?;
    Ok(match value {
        Value::Text(text) => Value::Text(text.into_owned().into()),
        Value::Boolean(flag) => Value::Boolean(flag),
        Value::Float(number) => Value::Float(number),
        Value::List(items) => {
            let texts = items.iter().map(|item| match item {
                Value::Text(text) => Value::Text(text.to_string().into()),
                _ => Value::Null,
            });
            Value::List(texts.collect())
        }
        _ => Value::Null,
    })
}

#[test]
fn paths_lead_to_texts() {
    for (path, wanted) in [
        (".//lastname", "DOE"),
        ("/root/age", "35"),
        ("/shop:root/age/text()", "35"),
        ("//something", ""),
        ("/*/@kind", "test"),
        ("//book[2]/title", "B"),
        ("//book[@price=''8'']/title", "A"),
        ("//book[@price > 10]/title[last()]", "B2"),
        ("//book[title = ''B2'' and not(title = ''A'')]/@price", "12"),
        ("//title[. = ''B2'']/../@price", "12"),
        ("//book[position() < 2 or @price = 99]/@price", "8"),
        ("//note", " one two three "),
        ("normalize-space(//note)", "one two three"),
        ("concat(//firstname, '' '', //lastname)", "JOHN DOE"),
        ("local-name(/*)", "root"),
        ("string-length(//lastname)", "3"),
        ("count(//deep//x)", "2"),
        ("sum(//book/@price)", "20"),
        ("//deep/x[1]", "1"),
        ("(''a'' = ''a'') and true()", "true"),
    ] {
        assert_eq!(evaluate(DOCUMENT, &format!("'{path}'")).unwrap(), Value::Text(wanted.into()), "{path}");
    }
}

#[test]
fn the_result_has_the_kind_that_is_asked_for() {
    let found = |call: &str| evaluate(DOCUMENT, call).unwrap();
    assert_eq!(found("'//age', 'number'"), Value::Float(35.0));
    assert_eq!(found("'//age', 'boolean'"), Value::Boolean(true));
    assert_eq!(found("'//nothing', 'boolean'"), Value::Boolean(false));
    assert_eq!(found("'starts-with(//firstname, ''JO'')', 'boolean'"), Value::Boolean(true));
    assert_eq!(found("'//nothing', 'node'"), Value::Null);
    assert_eq!(found("'//title', 'node'"), Value::Text("A".into()));
    let titles = ["A", "B", "B2"].map(|title| Value::Text(title.into()));
    assert_eq!(found("'//title', 'node_list'"), Value::List(titles.into()));
    assert_eq!(found("'//a' + 'ge'"), Value::Text("35".into()));
}

#[test]
fn documents_that_expand_or_are_none_are_refused() {
    let laughs = "<!DOCTYPE a [<!ENTITY l 'lol'><!ENTITY m '&l;&l;&l;'>]><a>&m;</a>";
    let outside = "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>";
    for payload in [laughs, outside, "plain", "", "<a>", "<a></b>"] {
        assert_eq!(evaluate(payload, "'//a'").err(), Some(EvalError::NotXml), "{payload}");
    }
    assert!(matches!(evaluate("<a/>", "'//a' + '['"), Err(EvalError::XPath(_))));
}

#[test]
fn documents_and_walks_are_bounded() {
    let attributes = |count: usize| (0..count).map(|at| format!(" a{at}=''")).collect::<String>();
    assert_eq!(
        evaluate(&format!("<a{}/>", attributes(256)), "'//@*', 'boolean'").unwrap(),
        Value::Boolean(true)
    );
    let namespaces = (0..65).map(|at| format!(" xmlns:a{at}='x'")).collect::<String>();
    let deep = format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000));
    let wide = format!("<a>{}</a>", "<b/>".repeat(5000));
    assert!(evaluate(&deep, "'count(//a)'").is_ok());
    for (payload, path) in [
        (format!("<a{}/>", attributes(257)), "//a"),
        (format!("<a{namespaces}/>"), "//a"),
        ("<a/>".to_owned() + &" ".repeat(1 << 20), "//a"),
        (deep, "//a//a//a"),
        (wide, "//b[count(//b) > 1]"),
    ] {
        let error = evaluate(&payload, &format!("'{path}'")).err();
        assert!(matches!(error, Some(EvalError::Bound(_))), "{path}: {error:?}");
    }
}

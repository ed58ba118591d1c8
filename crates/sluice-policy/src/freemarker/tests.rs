//! Templates: what they make of messages, what is refused, and that none of it runs away.

use std::sync::Arc;

use proptest::prelude::*;
use sluice_api::Problem;
use sluice_expression::EvalContext;
use sluice_message::{Attributes, Message};

use super::{MAX_MADE_BYTES, MAX_TEMPLATE_BYTES, RenderError, Template, parse};
use crate::{
    site::{Needs, Site},
    tests::environment,
};

fn parsed(source: &str) -> Result<Template, Problem> {
    let (environment, credentials, needs) = (environment(), Arc::default(), Needs::default());
    let site =
        Site { environment: &environment, credentials: &credentials, has_message: true, needs: &needs };
    parse("body", source, &site)
}

fn try_render(source: &str) -> Result<String, RenderError> {
    let mut attributes = Attributes::default();
    attributes.set("name", "Ann".into());
    attributes.set("true", true.into());
    let message =
        Message::builder().payload("He said \"no\"\n").headers([("X-A", " a ")].into_iter().collect());
    let message = message.metadata("key.x", "it's").build();
    let context = EvalContext::new().with_message(&message).with_attributes(&attributes);
    parsed(source).unwrap().render(&context)
}

fn render(source: &str) -> String {
    try_render(source).unwrap()
}

fn refusal(source: &str) -> String {
    let problem = parsed(source).unwrap_err();
    assert_eq!(problem.path, "body");
    problem.message
}

#[test]
fn text_without_marks_is_printed_as_it_stands() {
    for text in
        ["", "plain", "{\"a\": {\"b\": 1}}", "$5 and # and <b>{}</b> { x }", "<iffy> ${\"$\"}", "é\n\t€"]
    {
        assert_eq!(render(&text.replace("${\"$\"}", "")), text.replace("${\"$\"}", ""));
    }
    assert_eq!(render("${\"$\"}{x}"), "${x}");
}

#[test]
fn values_are_those_of_expressions() {
    assert_eq!(render("[${message.headers['x-a'][0]}]"), "[ a ]");
    assert_eq!(render("${ message . content }".replace(" . ", ".").as_str()), "He said \"no\"\n");
    assert_eq!(render("${message.metadata[\"key.x\"]}"), "it's");
    assert_eq!(render("${message.headers[\"it's\"]!\"-\"}"), "-");
    assert_eq!(render("${context.attributes['name']}/${context.attributes.name}"), "Ann/Ann");
    assert_eq!(render("{#message.headers['x-a'][0]}:{(1 + 1)}:{ #message.contentLength }"), " a :2:13");
    assert_eq!(render("{#message.metadata['none']}"), "");
}

#[test]
fn built_ins_and_defaults_are_applied_from_left_to_right() {
    assert_eq!(render("${message.content?json_string}"), r#"He said \"no\"\n"#);
    assert_eq!(render("${message.content?trim?upper_case}"), "HE SAID \"NO\"");
    assert_eq!(render("${'Ab'?lower_case}${\"\\n\\\"\"?json_string}"), r#"ab\n\""#);
    assert_eq!(render("${message.metadata.none!\"none\"}"), "none");
    assert_eq!(render("[${message.metadata.none!}]"), "[]");
    assert_eq!(render("${(message.headers['none'][0])!'n'}"), "n");
    assert_eq!(render("${message.metadata.none!message.metadata.nope!7}"), "7");
    assert_eq!(render("${message.headers['x-a'][0]!'n'}"), " a ");
    assert_eq!(
        try_render("${message.metadata.none?trim}"),
        Err(RenderError::Missing("message.metadata.none".into()))
    );
}

#[test]
fn conditions_choose_what_is_printed() {
    assert_eq!(render("<#if message.metadata.none??>a<#else>b</#if>"), "b");
    assert_eq!(render("<#if message.content?trim != 'x' && !false>a</#if>"), "a");
    let chain = |name: &str| {
        render(&format!("<#if '{name}' == 'a'>1<#elseif '{name}' == 'b' || '{name}' == 'c'>2<#else>3</#if>"))
    };
    assert_eq!(
        (chain("a"), chain("b"), chain("c"), chain("d")),
        ("1".into(), "2".into(), "2".into(), "3".into())
    );
    assert_eq!(render("<#if (false || true) && context.attributes['true']><#if true>x</#if>y</#if>"), "xy");
    assert_eq!(render("${1 == 1}<#-- ${nothing} <#if -->."), "true.");
    assert_eq!(try_render("<#if 'x'></#if>"), Err(RenderError::NotBoolean("\"x\"".to_owned())));
    assert_eq!(
        try_render("<#if message.metadata.none></#if>"),
        Err(RenderError::Missing("message.metadata.none".into()))
    );
}

#[test]
fn what_is_not_known_is_refused_with_line_and_column() {
    for (source, place, says) in [
        ("${", "Line 1, column 3: ", "A value is missing"),
        ("a\n é${message.content", "Line 2, column 20: ", "'}' is missing"),
        ("${message.content?html}", "Line 1, column 19: ", "no built-in 'html' here. Known are: json_string"),
        ("${message.colour}", "Line 1, column 3: ", "#message has no property 'colour'"),
        ("${colour}", "Line 1, column 3: ", "colour"),
        ("${message.content + 'x'}", "Line 1, column 19: ", "'}' is missing"),
        ("${message.}", "Line 1, column 11: ", "name is missing"),
        ("${message.headers[x]}", "Line 1, column 19: ", "number or a text"),
        ("${message.headers['x'}", "Line 1, column 22: ", "']' is missing"),
        ("${secrets.get('pin')}", "Line 1, column 14: ", "Nothing can be called"),
        ("#{message.id}", "Line 1, column 1: ", "not known here"),
        ("x <#list a as b>${b}</#list>", "Line 1, column 3: ", "not known here"),
        ("<#assign a=1>", "Line 1, column 1: ", "not known here"),
        ("<@macro/>", "Line 1, column 1: ", "not known here"),
        ("<#iffy>", "Line 1, column 1: ", "not known here"),
        ("</#if>", "Line 1, column 1: ", "none is open"),
        ("<#else>", "Line 1, column 1: ", "none is open"),
        ("<#if true>", "Line 1, column 1: ", "no end"),
        ("<#if true>\n<#else>\n<#else></#if>", "Line 3, column 1: ", "After <#else>"),
        ("<#if true", "Line 1, column 10: ", "'>' is missing"),
        ("<#-- x", "Line 1, column 1: ", "no end"),
        ("${'x}", "Line 1, column 3: ", "no end"),
        ("${'${x}'}", "Line 1, column 4: ", "cannot have values"),
        ("${'\\q'}", "Line 1, column 4: ", "Known are"),
        ("\n{#message.colour}", "Line 2, column 11: ", "#message has no property 'colour'"),
        ("a {#secrets.get('pan')}", "Line 1, column 3: ", "no secret 'pan'"),
        ("{#message.id", "Line 1, column 1: ", "no end"),
    ] {
        let message = refusal(source);
        assert!(message.starts_with(place) && message.contains(says), "{source:?}: {message}");
    }
}

#[test]
fn hostile_templates_end_soon() {
    let many = MAX_TEMPLATE_BYTES;
    assert!(refusal(&"x".repeat(1 << 20)).contains("at most 65536 bytes"));
    assert!(parsed(&"x".repeat(many)).is_ok());
    assert!(refusal(&format!("${{{}", "(".repeat(many - 2))).contains("at most 32 deep"));
    assert!(refusal(&"<#if true>".repeat(many / 10)).contains("at most 32 deep"));
    for chain in ["!", "?trim", "??", "||true", "&& true", "!'a'"] {
        let count = (many - 10) / chain.len();
        assert!(
            refusal(&format!("${{true{}}}", chain.repeat(count))).contains("at most 128 operators"),
            "{chain}"
        );
    }
    assert!(refusal(&format!("${{{}true}}", "!".repeat(many - 10))).contains("at most 128 operators"));
    for text in ["${", "{#", "<#", "<#--", "${'", "{('", "${a[", "}", "</#if>"] {
        let _ = parsed(&text.repeat(many / text.len()));
    }
    assert!(
        parsed(&"<#if true>".repeat(32).chars().chain("</#if>".repeat(32).chars()).collect::<String>())
            .is_ok()
    );
}

#[test]
fn no_more_is_made_than_the_largest_body() {
    let template = parsed(&"${message.content}".repeat(70)).unwrap();
    let message = Message::builder().payload("x".repeat(1 << 20)).build();
    let made = template.render(&EvalContext::new().with_message(&message));
    assert_eq!(made, Err(RenderError::TooLong));
    let template = parsed(&"${message.content}".repeat(64)).unwrap();
    let made = template.render(&EvalContext::new().with_message(&message)).unwrap();
    assert_eq!(made.len(), MAX_MADE_BYTES);
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_and_then_rendered_or_not(source in "\\PC{0,200}") {
        let _ = parsed(&source).map(|template| template.render(&EvalContext::new()));
    }

    #[test]
    fn any_pieces_are_parsed_or_refused_and_nothing_of_the_language_is_printed(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "${", "}", "{#", "{(", "#{", "<#if ", "<#elseif ", "<#else>", "</#if>", "<#--", "-->", ">", "(", ")", "'a'",
            "\"", "!", "?", "??", "?trim", "==", "!=", "&&", "||", "message.content", "message", ".", "[", "]", "['x']",
            "[0]", "true", " ", "\n", "é", "<@", "$", "{", "text", "\\",
        ]), 0..30),
    ) {
        let source = pieces.concat();
        if let Ok(template) = parsed(&source) {
            let message = Message::builder().payload("true").build();
            if let Ok(text) = template.render(&EvalContext::new().with_message(&message)) {
                for mark in ["<#if", "<#else", "</#if", "<@"] {
                    prop_assert!(!text.contains(mark), "{source:?} made {text:?}");
                }
            }
        }
    }

    #[test]
    fn a_text_without_marks_stays_as_it_is(source in "[^$#{<]{0,200}") {
        prop_assert_eq!(parsed(&source).unwrap().render(&EvalContext::new()).unwrap(), source);
    }

    #[test]
    fn a_json_string_is_read_back_as_it_was(payload in "\\PC{0,60}[\u{0}-\u{1f}]{0,4}") {
        let template = parsed("\"${message.content?json_string}\"").unwrap();
        let message = Message::builder().payload(payload.clone()).build();
        let made = template.render(&EvalContext::new().with_message(&message)).unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(&made).unwrap(), payload);
    }
}

//! What expressions mean.

use sluice_expression::{EvalContext, EvalError, Expression, Value};
use sluice_message::Message;

use crate::{World, failure, holds, text};

#[test]
fn filters_of_the_use_cases_hold() {
    assert!(holds("{#jsonPath(#message.content, '$.feature') == #subscription.metadata.feature}"));
    assert!(holds("{#jsonPath(#message.content,'$.feature') == #subscription.metadata.feature}"));
    assert!(holds("{#jsonPath(#message.content, '$.feature') == 'demo-filter'}"));
    assert!(holds("{#message.headers.foo == #subscription.metadata['bar']}"));
    assert!(!holds("{#jsonPath(#message.content, '$.feature') == 'another'}"));
}

#[test]
fn values_of_the_use_cases_are_read() {
    assert_eq!(text("{#message.headers['x-header-test'][0]}"), "one");
    assert_eq!(text("{#message.metadata['key']}"), "the-key");
    assert!(text("{#message.content}").starts_with(r#"{"feature":"demo-filter""#));
    assert_eq!(text("kafka://{#message.metadata['topic']}/x"), "kafka://orders/x");
}

#[test]
fn every_property_of_the_roots_is_read() {
    assert_eq!(text("{#message.id}"), "id-1");
    assert!(holds("{#message.contentLength > 10}"));
    assert_eq!(text("{#message.metadata.partition}/{#message.metadata.offset}"), "3/42");
    assert_eq!(text("{#message.metadata.extra}"), "more");
    assert_eq!(text("{#subscription.id} {#subscription.type}"), "sub-1 push");
    assert_eq!(text("{#subscription['metadata']['feature']}"), "demo-filter");
}

#[test]
fn a_client_without_subscription_has_an_empty_one() {
    let world = World::new();
    let context = EvalContext::new().with_message(&world.message);
    for source in [
        "{#subscription.id == null}",
        "{#subscription.type == null}",
        "{#subscription.metadata.feature == null}",
        "{#subscription.metadata['feature'] == null && #subscription.metadata.isEmpty()}",
        "{#jsonPath(#message.content, '$.feature') != #subscription.metadata.feature}",
    ] {
        assert_eq!(Expression::parse(source).unwrap().holds(&context), Ok(true), "{source}");
    }
}

#[test]
fn one_expression_alone_keeps_the_kind_of_its_value() {
    let world = World::new();
    let kind = |source: &str| {
        let expression = Expression::parse(source).unwrap();
        format!("{:?}", expression.evaluate(&world.context()).unwrap())
    };
    assert_eq!(kind("{#jsonPath(#message.content, '$.count')}"), "Integer(3)");
    assert_eq!(kind("{#jsonPath(#message.content, '$.price')}"), "Float(12.5)");
    assert_eq!(kind("{#jsonPath(#message.content, '$.ok')}"), "Boolean(true)");
    assert_eq!(kind("{#jsonPath(#message.content, '$.none')}"), "Null");
    assert_eq!(kind("{(1 + 2)}"), "Integer(3)");
    assert_eq!(kind("{(1 + 2)} "), "Text(\"3 \")");
}

#[test]
fn braces_that_begin_no_expression_are_plain_text() {
    for plain in ["", "plain", "{}", "{\"a\": {\"b\": 1}}", "{ \n#message.id }", "}{", "#message.id"] {
        let expression = Expression::parse(plain).unwrap();
        assert!(expression.is_plain());
        assert_eq!(expression.evaluate(&EvalContext::new()).unwrap(), Value::Text(plain.into()));
    }
    assert_eq!(text(r#"{"id":"{#message.id}"}"#), r#"{"id":"id-1"}"#);
    assert_eq!(text("{  #message.id }"), "id-1");
}

#[test]
fn a_condition_is_true_by_value_or_by_word() {
    for truth in
        ["true", "{(true)}", "{('yes')}", "{#jsonPath(#message.content, '$.ok')} ", "{(1 == 1)}", "On"]
    {
        assert!(holds(truth), "{truth}");
    }
    for falsehood in ["false", "", "{(null)}", "no", "{#message.headers['absent']}"] {
        assert!(!holds(falsehood), "{falsehood}");
    }
    let number = Expression::parse("{(1)}").unwrap();
    assert_eq!(number.holds(&EvalContext::new()), Err(EvalError::NotBoolean));
    let unbraced = Expression::parse("#message.content == 'x'").unwrap();
    assert_eq!(unbraced.holds(&EvalContext::new()), Err(EvalError::NotBoolean));
}

#[test]
fn operators_bind_as_in_arithmetic_and_logic() {
    for truth in [
        "{(1 + 2 * 3 == 7)}",
        "{((1 + 2) * 3 == 9)}",
        "{(10 - 4 - 3 == 3)}",
        "{(7 / 2 == 3 and 7 % 4 == 3 and 7 div 2 == 3 and 7 mod 4 == 3)}",
        "{(7 / 2.0 == 3.5)}",
        "{(-2 + 3 == 1 && - (2) == -2)}",
        "{(false && false || true)}",
        "{(true or false and false)}",
        "{(not false and !(1 eq 2))}",
        "{(1 lt 2 and 2 gt 1 and 1 le 1 and 1 ge 1 and 1 ne 2 and 'a' < 'b')}",
        "{(1 == 1.0 and 1e3 == 1000 and 5L == 5)}",
        "{(null < 1 and null == null and 1 > null)}",
        "{('it''s' == \"it's\")}",
        "{('5' != 5)}",
        "{('a' + 1 + true + null == 'a1truenull')}",
        "{({1, 'a', {2}} == {1.0, 'a', {2}})}",
        "{(1 > 2 ? false : true)}",
        "{((false ? 1 : false ? 2 : 3) == 3)}",
        "{((null ?: 'x') == 'x' and ('' ?: 'y') == 'y' and ('z' ?: 'y') == 'z')}",
        "{#message.content matches '(?s).*demo.*'}",
        "{(not ('xabcx' matches 'abc'))}",
        "{(not ('abc' matches 'a|b|ab'))}",
        "{#jsonPath(#message.content, '$.feature') matches #subscription.metadata.pattern}",
        "{(TRUE AND NOT FALSE)}",
    ] {
        assert!(holds(truth), "{truth}");
    }
}

#[test]
fn both_sides_are_evaluated_only_where_they_matter() {
    assert!(holds("{#message.headers['absent'] == null || #message.headers['absent'][0] == 'x'}"));
    assert!(!holds("{#message.headers['absent'] != null && #message.headers['absent'][0] == 'x'}"));
}

#[test]
fn headers_are_lists_that_equal_their_joined_text() {
    assert!(holds("{#message.headers['X-HEADER-test'] == 'one,two'}"));
    assert!(holds("{#subscription.metadata.both == #message.headers['x-header-test']}"));
    assert!(!holds("{#message.headers['x-header-test'] == 'one'}"));
    assert!(!holds("{#message.headers['x-header-test'] == 'one,two,'}"));
    assert!(holds("{#message.headers['x-header-test'].contains('two')}"));
    assert!(holds("{#message.headers['x-header-test'][1] == 'two' and #message.headers.size() == 2}"));
    assert!(holds("{#message.headers['absent'] == null}"));
    assert!(holds("{#message.headers['absent']?.[0] == null and #message.headers.absent?.size() == null}"));
}

#[test]
fn methods_do_what_their_names_say() {
    for truth in [
        "{('abc'.length() == 3 and 'äöü'.length() == 3)}",
        "{('abc'.contains('b') and 'abc'.startsWith('a') and 'abc'.endsWith('c'))}",
        "{('aBc'.toLowerCase() == 'abc' and 'aBc'.toUpperCase() == 'ABC' and 'aBc'.equalsIgnoreCase('AbC'))}",
        "{(' a '.trim() == 'a' and ' '.isBlank() and ''.isEmpty() and not 'a'.isEmpty())}",
        "{('hello'.substring(2) == 'llo' and 'hello'.substring(1, 3) == 'el' and 'äöü'.substring(1,2) == 'ö')}",
        "{('hello'.indexOf('l') == 2 and 'hello'.indexOf('z') == -1 and 'äb'.indexOf('b') == 1)}",
        "{('aXbX'.replace('X', '--') == 'a--b--' and 'ab'.replace('', '.') == '.a.b.')}",
        "{('a'.equals('a') and not 'a'.equals(1))}",
        "{({1,2,3}.contains(2) and {1,2}.size() == 2 and {1,2}.get(1) == 2 and {}.isEmpty() and {4,5}.indexOf(5) == 1)}",
        "{#subscription.metadata.containsKey('bar') and #subscription.metadata.get('nope') == null}",
        "{#subscription.metadata.getOrDefault('nope', 'x') == 'x' and #subscription.metadata.size() == 4}",
        "{('abc'[1] == 'b')}",
    ] {
        assert!(holds(truth), "{truth}");
    }
}

#[test]
fn a_definite_json_path_gives_one_value_and_others_a_list() {
    for truth in [
        "{#jsonPath(#message.content, '$.missing') == null}",
        "{#jsonPath(#message.content, '$.tags[9]') == null and #jsonPath(#message.content, '$.tags[-1]') == 'b'}",
        "{#jsonPath(#message.content, '$[''deep''][\"er\"].x') == 'y'}",
        "{#jsonPath(#message.content, '$.deep').er.x == 'y' and #jsonPath(#message.content, '$.deep')['er'].size() == 1}",
        "{#jsonPath(#message.content, '$.tags') == 'a,b' and #jsonPath(#message.content, '$.tags')[1] == 'b'}",
        "{#jsonPath(#message.content, '$.book[*].title') == {'A','B','C'}}",
        "{#jsonPath(#message.content, '$..title').size() == 3}",
        "{#jsonPath(#message.content, '$.book[?(@.price < 10)].title') == {'A'}}",
        "{#jsonPath(#message.content, '$.book[?@.price && @.title == ''B''].title')[0] == 'B'}",
        "{#jsonPath(#message.content, '$.nothing.*').isEmpty()}",
        "{#jsonPath(#message.content, '$.' + 'count') == 3}",
        "{#jsonPath(#jsonPath(#message.content, '$.text'), '$.in') == 1}",
        "{#jsonPath(#jsonPath(#message.content, '$.deep'), '$.er.x') == 'y'}",
        "{#jsonPath(#message.content.replace('demo', 'new'), '$.feature') == 'new-filter'}",
    ] {
        assert!(holds(truth), "{truth}");
    }
}

#[test]
fn escapes_make_text_fit_for_a_document() {
    assert_eq!(text(r#"{#jsonEscape('a"b\c')}"#), r#"a\"b\\c"#);
    assert_eq!(text("{#jsonEscape('a\n\u{1}')}"), r"a\n\u0001");
    assert_eq!(text("{#xmlEscape('<a b=\"c\">&''')}"), "&lt;a b=&quot;c&quot;&gt;&amp;&apos;");
    assert_eq!(text("[{#jsonEscape(null)}]"), "[]");
}

#[test]
fn what_has_no_value_says_why() {
    assert_eq!(failure("{#message.headers['absent'][0]}"), EvalError::OfNull("index"));
    assert_eq!(failure("{#message.metadata.absent.length()}"), EvalError::OfNull("method"));
    assert_eq!(failure("{#jsonPath(#message.content, '$.missing').x}"), EvalError::OfNull("property"));
    assert_eq!(failure("{({1,2}[2])}"), EvalError::OutOfRange(2));
    assert_eq!(failure("{({1,2}[-1])}"), EvalError::OutOfRange(-1));
    assert_eq!(failure("{('abc'.substring(2,1))}"), EvalError::OutOfRange(2));
    assert_eq!(failure("{(1 / 0)}"), EvalError::Arithmetic("/"));
    assert_eq!(failure("{(9223372036854775807 + 1)}"), EvalError::Arithmetic("+"));
    assert_eq!(failure("{#jsonPath('{', '$.a')}"), EvalError::NotJson);
    assert_eq!(failure("{#message.id < 5}"), EvalError::Unfit { operation: "<", found: "a number" });
    assert!(matches!(failure("{('a' matches #message.id + '(')}"), EvalError::Pattern(_)));
    assert!(matches!(failure("{#jsonPath(#message.content, #message.id)}"), EvalError::JsonPath(_)));
    let plain = Message::builder().payload("no json").build();
    let filter = Expression::parse("{#jsonPath(#message.content, '$.a') == null}").unwrap();
    assert_eq!(filter.holds(&EvalContext::new().with_message(&plain)), Err(EvalError::NotJson));
    assert_eq!(filter.holds(&EvalContext::new()), Err(EvalError::NoMessage));
}

#[test]
fn it_is_known_whether_an_expression_reads_the_message() {
    assert!(Expression::parse("a {#message.id}").unwrap().reads_message());
    assert!(!Expression::parse("{#subscription.metadata.filter}").unwrap().reads_message());
}

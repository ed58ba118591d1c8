//! Nothing that is written and nothing that is received makes an evaluation panic, hang or grow.

use proptest::prelude::*;
use sluice_expression::{EvalContext, EvalError, Expression, Request};
use sluice_message::Message;

use crate::{World, failure};

#[test]
fn a_long_expression_is_refused() {
    assert!(Expression::parse(&"x".repeat(8193)).is_err());
    assert!(Expression::parse(&"x".repeat(8192)).is_ok());
}

#[test]
fn a_deep_expression_is_refused_and_the_deepest_works() {
    let nested = |depth: usize| format!("{{{}1{}}}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(63)).unwrap().evaluate(&EvalContext::new()).is_ok());
    assert!(Expression::parse(&nested(64)).unwrap_err().message.contains("64"));
    assert!(Expression::parse(&nested(4000)).is_err());
    for prefix in ["!", "-", "{", "not ", "#jsonEscape(", "true ? 1 : ", "'a'.contains(", "{1}.?[", "{a:"] {
        assert!(Expression::parse(&format!("{{({}", prefix.repeat(8000 / prefix.len()))).is_err());
    }
}

#[test]
fn a_chain_of_operators_is_bounded_and_the_longest_works() {
    let chain = |links: usize| format!("{{(1{})}}", "+1".repeat(links));
    let longest = Expression::parse(&chain(256)).unwrap();
    assert!(longest.evaluate(&EvalContext::new()).is_ok());
    assert!(Expression::parse(&chain(257)).unwrap_err().message.contains("256"));
    let indices = format!("{{#message.content{}}}", "[0]".repeat(255));
    assert!(Expression::parse(&indices).unwrap().evaluate(&World::new().context()).is_ok());
}

#[test]
fn made_text_is_bounded() {
    let mut source = "'xxxxxxxx'".to_owned();
    for _ in 0..20 {
        source.push_str(".replace('x', 'xxxxxxxx')");
    }
    assert_eq!(failure(&format!("{{({source})}}")), EvalError::Bound("1 MiB of made text"));
    let big = Message::builder().payload(vec![b'x'; 1 << 20]).build();
    let context = EvalContext::new().with_message(&big);
    for source in [
        "{#message.content + 'x'}",
        "a{#message.content}b{#message.content}",
        "{#message.content.toUpperCase() + ''}",
    ] {
        let expression = Expression::parse(source).unwrap();
        assert_eq!(
            expression.evaluate(&context).err(),
            Some(EvalError::Bound("1 MiB of made text")),
            "{source}"
        );
    }
    assert!(Expression::parse("{#message.content}").unwrap().evaluate(&context).is_ok());
}

#[test]
fn patterns_that_are_too_long_are_refused() {
    let long = "x".repeat(8193);
    let message = Message::builder().payload(long.clone()).build();
    for (source, error) in [
        ("{('x' matches #message.content)}", "8192 bytes"),
        ("{T(java.time.format.DateTimeFormatter).ofPattern(#message.content)}", "256 bytes"),
        ("{#xpath('<a/>', #message.content)}", "1024 bytes"),
        ("{#jsonPath('{}', #message.content)}", "1024 bytes"),
    ] {
        let expression = Expression::parse(source).unwrap();
        let refused = expression.evaluate(&EvalContext::new().with_message(&message)).unwrap_err();
        assert!(refused.to_string().contains(error), "{source}: {refused}");
    }
}

#[test]
fn all_matches_are_looked_for_in_short_texts_only() {
    let evaluate = |bytes: usize, call: &str| {
        let message = Message::builder().payload("x".repeat(bytes)).build();
        let expression = Expression::parse(&format!("{{#message.content.{call}.isEmpty()}}")).unwrap();
        expression.holds(&EvalContext::new().with_message(&message))
    };
    for call in ["split('[xy]')", "replaceAll('x.*[^x]|x', 'y')"] {
        assert!(evaluate(8000, call).is_ok(), "{call}");
        assert_eq!(evaluate(8192, call), Err(EvalError::Bound("1,048,576 nodes")), "{call}");
    }
    for call in ["split('y')", "replaceAll('x', 'y')"] {
        assert_eq!(evaluate(500_000, call), Ok(false), "{call}");
    }
}

#[test]
fn loops_are_bounded() {
    let items = format!("[{}1]", "1,".repeat(2000));
    let long = format!("[\"{}\"{}]", "x".repeat(100_000), ",1".repeat(5000));
    let message = |payload: &str| Message::builder().payload(payload.to_owned()).build();
    for (payload, body) in [
        (&items, "#jsonPath(#message.content, '$').?[#this == 1].size() > 1"),
        (&items, "#jsonPath(#message.content, '$').contains(2)"),
        (&items, "#message.content.split(',').contains('x')"),
        (&items, "#message.content.replace('1', '2') == ''"),
        (&long, "#message.content.length() == #this"),
        (&long, "#message.content.matches('x+')"),
        (&items, "'a'.matches('x' + #this)"),
        (&items, "#jsonPath(#message.content, '$[' + #this + ']') == 1"),
        (&items, "#jsonPath('[' + #message.content + ']', '$[0]') == 1"),
    ] {
        let source = format!("{{#jsonPath(#message.content, '$').?[{body}]}}");
        let (expression, message) = (Expression::parse(&source).unwrap(), message(payload));
        let value = expression.evaluate(&EvalContext::new().with_message(&message));
        assert!(matches!(value, Err(EvalError::Bound(_))), "{body}: {value:?}");
    }
    // A body that is long and comes to little is paid for by its length.
    let request = Request { content: Some(format!("1{}", " ".repeat(1 << 19)).into()), ..Request::default() };
    let source = "{#jsonPath(#message.content, '$').?[#request.jsonContent == #this].size()}";
    let (expression, many) = (Expression::parse(source).unwrap(), message(&items));
    let context = EvalContext::new().with_message(&many).with_request(Some(&request));
    assert!(matches!(expression.evaluate(&context), Err(EvalError::Bound(_))));
    let nested = "{#jsonPath(#message.content, '$').?[#this == 1].![#this + 1].^[#this > 2] == null}";
    let (expression, message) = (Expression::parse(nested).unwrap(), message(&items));
    assert_eq!(expression.holds(&EvalContext::new().with_message(&message)), Ok(true));
}

#[test]
fn json_paths_that_multiply_are_bounded() {
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let wide = format!("[{}1]", "1,".repeat(200_000));
    let heavy = format!("[\"{}\"{}]", "x".repeat(500_000), ",1".repeat(100_000));
    for (payload, path) in [
        (
            &deep,
            "$[*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*][*,*]",
        ),
        (&deep, "$..*..*..*..*..*"),
        (&wide, "$[?$..[?$..[?$..*]]]"),
        (&wide, "$[?count($[*]) > 1]"),
        (&heavy, "$[?search($[0], ''y'')]"),
        (&heavy, "$[?$[0] == $[0]]"),
        (&heavy, "$[?length($[0]) == 1]"),
        (&wide, "$[*,*,*,*,*,*,*,*]"),
    ] {
        let message = Message::builder().payload(payload.clone()).build();
        let expression = Expression::parse(&format!("{{#jsonPath(#message.content, '{path}')}}")).unwrap();
        let value = expression.evaluate(&EvalContext::new().with_message(&message));
        assert_eq!(value.err(), Some(EvalError::Bound("1,048,576 nodes")), "{path}");
    }
}

#[test]
fn json_paths_that_are_hard_to_parse_are_refused() {
    for path in [
        format!("$[?{}@.a", "length(".repeat(100)),
        format!("$[?{}@.a", "(".repeat(100)),
        format!("$[?{}1", "@[?".repeat(100)),
        format!("$[?{}", "!".repeat(900)),
        format!("${}", "[".repeat(1000)),
        format!("$.{}", "a".repeat(1100)),
        format!("$[?{}@.a", "length(".repeat(7)),
    ] {
        assert!(Expression::parse(&format!("{{#jsonPath(#message.content, '{path}')}}")).is_err());
    }
}

/// Source text of an expression of any kind, mostly one that works.
fn source() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("#message.content".to_owned()),
        Just("#message.headers['x-header-test']".to_owned()),
        Just("#message.metadata.offset".to_owned()),
        Just("#message.headers".to_owned()),
        Just("#subscription.metadata".to_owned()),
        Just("#message.attributes".to_owned()),
        Just("#request.params".to_owned()),
        Just("#request.paths".to_owned()),
        Just("#request.jsonContent".to_owned()),
        Just("#context.attributes['jwt.claims']".to_owned()),
        Just("#dictionaries".to_owned()),
        Just("#this".to_owned()),
        Just("key".to_owned()),
        Just("T(java.util.Base64).getEncoder()".to_owned()),
        Just("new java.util.Date(0)".to_owned()),
        Just("null".to_owned()),
        Just("'x''y'".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<u32>().prop_map(|number| number.to_string()),
        any::<i16>().prop_map(|number| format!("({number} / 7.5)")),
        "[a-zäß ]{0,8}".prop_map(|text| format!("'{text}'")),
        "[a-z.*@?()\\[\\]$]{0,12}".prop_map(|path| format!("#jsonPath(#message.content, '$' + '{path}')")),
        prop::sample::select(vec![
            "$",
            "$.*",
            "$..*",
            "$.book[?@.price > 8]",
            "$.tags[::-1]",
            "$.book[-2:].title"
        ])
        .prop_map(|path| format!("#jsonPath(#message.content, '{path}')")),
    ];
    let operators =
        vec!["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "and", "or", "matches", "?:", "^", "between"];
    let calls = vec![
        ".length()",
        ".isEmpty()",
        ".size()",
        ".trim()",
        "[0]",
        "['er']",
        ".er",
        "?.er",
        ".get(1)",
        ".toUpperCase()",
        ".substring(1)",
        ".contains('a')",
        ".indexOf('a')",
        ".replace('a', 'b')",
        ".containsKey('a')",
        "?.[1]",
        ".keySet()",
        ".values()",
        ".split('')",
        ".repeat(1000)",
        ".replaceAll('.', '$0$0')",
        ".toSingleValueMap()",
        ".toString()",
        ".compareTo('a')",
        ".format(T(java.time.format.DateTimeFormatter).ofPattern('yyyy HH z'))",
        ".plusMonths(99999)",
        ".encodeToString('ä')",
        ".intValue()",
    ];
    leaf.prop_recursive(5, 24, 3, move |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(operators.clone()), inner.clone())
                .prop_map(|(one, operator, two)| format!("({one} {operator} {two})")),
            (inner.clone(), prop::sample::select(calls.clone())).prop_map(|(of, call)| format!("{of}{call}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("{{{}}}", items.join(", "))),
            inner.clone().prop_map(|of| format!("-({of})")),
            inner.clone().prop_map(|of| format!("!({of})")),
            inner.clone().prop_map(|of| format!("#jsonEscape({of})")),
            inner.clone().prop_map(|of| format!("{{a: {of}, b: 1}}")),
            inner.clone().prop_map(|of| format!("T(String).format('%5s|%d|%S', {of}, {of}, {of})")),
            inner.clone().prop_map(|of| format!("T(Integer).valueOf({of})")),
            (inner.clone(), inner.clone()).prop_map(|(low, high)| format!("(5 between {{{low}, {high}}})")),
            (inner.clone(), prop::sample::select(vec!["?", "!", "^", "$"]), inner.clone())
                .prop_map(|(of, pick, body)| format!("{of}.{pick}[{body}]")),
            (inner.clone(), inner.clone()).prop_map(|(of, path)| format!("#xpath({of}, {path})")),
            (inner.clone(), inner).prop_map(|(of, path)| format!("#jsonPath({of}, {path})")),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,200}") {
        let _ = Expression::parse(&text);
        let _ = Expression::parse(&format!("{{#{text}"));
        let _ = Expression::parse(&format!("{{({text})}}"));
    }

    #[test]
    fn any_words_of_the_language_parse_or_are_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "(", ")", "[", "]", "#", "#message", ".", "?.", "content", "headers", "'a'", "\"", "'",
                "1", "1.5", "==", "<", "and", "not", "!", "-", "+", "?", ":", "?:", ",", "matches", "jsonPath", "ä",
                "#subscription.metadata", ".size()", "T", "null", " ", "{#", "{(",
                "T(java.lang.Math)", ".abs(", "new ", ".?[", ".![", "?.^[", "#this", "#secrets", ".get(", "xpath", "^",
                "instanceof", "between", "#request", "#context.attributes", "a:",
            ]),
            0..40,
        ),
    ) {
        let text = words.concat();
        for source in [format!("{{#{text}}}"), format!("{{({text})}}")] {
            match Expression::parse(&source) {
                Ok(expression) => prop_assert_eq!(expression.to_string(), source),
                Err(error) => prop_assert!((1..=source.chars().count() + 1).contains(&error.column)),
            }
        }
    }

    #[test]
    fn any_json_path_compiles_or_is_refused(path in "\\$[ a-z0-9.*@?()\\[\\]$:,<>=!&|\"-]{0,60}") {
        let _ = Expression::parse(&format!("{{#jsonPath(#message.content, '{path}')}}"));
    }

    #[test]
    fn any_xpath_compiles_or_is_refused_and_its_walk_ends(
        path in "[ a-c0-2/.*@()\\[\\]=<>,:\"-]{0,40}",
        document in "[<>/abc=\"&; x]{0,60}",
    ) {
        for path in [path.clone(), format!("//{path}"), format!("count({path})"), format!("a[{path}]")] {
            let Ok(expression) = Expression::parse(&format!("{{#xpath(#message.content, '{path}')}}")) else { continue };
            for document in [&document, "<a b=\"1\"><b>2</b><c/><a><b/></a></a>"] {
                let message = Message::builder().payload(document.to_owned()).build();
                let _ = expression.evaluate(&EvalContext::new().with_message(&message));
            }
        }
    }

    #[test]
    fn whatever_parses_evaluates_or_says_why_not(source in source(), payload in prop::collection::vec(any::<u8>(), 0..40)) {
        let world = World::new();
        for braced in [format!("{{({source})}}"), format!("x{{({source})}}y")] {
            let Ok(expression) = Expression::parse(&braced) else { continue };
            let _ = expression.evaluate(&world.context());
            let _ = expression.holds(&world.context());
            let _ = expression.evaluate(&EvalContext::new());
            let other = Message::builder().payload(payload.clone()).build();
            let _ = expression.evaluate(&EvalContext::new().with_message(&other));
        }
    }
}

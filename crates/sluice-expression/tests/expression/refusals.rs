//! What is refused when an expression is written, and where the error points.

use sluice_expression::Expression;

/// The source, with `^` before the character at which the error points, and a part of its message.
const REFUSED: &[(&str, &str)] = &[
    ("{#^nothing.at}", "There is no #nothing. Known are: #message, #subscription, #jsonPath"),
    ("{#message.^colour}", "Known are: content, contentLength, headers, metadata, id"),
    ("{#message[^'colour']}", ""),
    ("ä{#message.^colour}", ""),
    ("{#message^}", "Expected a property of #message"),
    ("{#^xpath(#message.content, '//a')}", "There is no function #xpath. Known are: #jsonPath"),
    ("{^T(java.lang.Math).abs(1)}", "not available"),
    ("{(^new String('a'))}", "not available"),
    ("{(^foo == 1)}", "'foo' is not known"),
    ("{(1 ^= 1)}", "use '=='"),
    ("{(1 == 1^", "Expected ')', found the end"),
    ("{(1 == 1)^", "Expected an operator or the closing '}', found the end"),
    ("{(1 ^1)}", "Expected ')', found '1'"),
    ("{(1 < 2 ^< 3)}", "do not chain"),
    ("{('a' ^< 1)}", "no order between a text and a number"),
    ("{('a' ^- 1)}", "'-' does not work on a text"),
    ("{(^'abc)}", "not closed"),
    ("{(^99999999999999999999)}", "too large"),
    ("{(1^a)}", "followed by a letter"),
    ("{(1 ^§ 2)}", "no meaning here"),
    ("{('a'.^size())}", "There is no method 'size' on a text. Known are: contains"),
    ("{('a'.^getClass())}", ""),
    ("{('a'.^contains())}", "takes 1 arguments, not 0"),
    ("{('a'^.length)}", "There is no property 'length' of a text"),
    ("{#message.contentLength^[0]}", "no index into a number"),
    ("{#message.headers^.?[true]}", "Selection"),
    ("{#message.id ^instanceof 'x'}", "not available"),
    ("{('a' matches ^'(')}", "The pattern '(' cannot be used"),
    ("{('a' matches ^'a)|(b')}", "cannot be used"),
    ("{('a' matches ^'(a{1000}){1000}')}", "cannot be used"),
    ("{#^jsonPath(#message.content, 'feature')}", "is no JSONPath"),
    ("{#^jsonPath(#message.content, '$.my-key')}", "['…']"),
    ("{#^jsonPath(#message.content)}", "another number of arguments"),
    ("{#^jsonPath(#message.content, '$.a', 'b')}", "another number of arguments"),
    ("{#jsonPath(^5, '$.a')}", "not a number"),
    ("{#^jsonPath(#message.content, '$[?foo(@.a)]')}", "is no JSONPath"),
    ("{#^jsonPath(#message.content, '$[?match(@.a, @.b)]')}", "text in quotes"),
    ("{('a' ^+ #message.headers)}", "'+' does not work on a map"),
    ("{(true ^+ 1)}", "'+' does not work on a boolean"),
    ("x^{#message.headers}", "A map has no text"),
];

#[test]
fn refusals_point_at_the_character() {
    for (marked, wanted) in REFUSED {
        let source = marked.replacen('^', "", 1);
        let column = marked.chars().take_while(|character| *character != '^').count() + 1;
        let error = Expression::parse(&source).expect_err(&source);
        assert_eq!(error.column, column, "{source}: {error}");
        assert!(error.message.contains(wanted), "{source}: {error}");
    }
}

//! What is refused when an expression is written, and where the error points.

use sluice_expression::Expression;

/// The source, with `^` before the character at which the error points, and a part of its message.
const REFUSED: &[(&str, &str)] = &[
    ("{#^nothing.at}", "There is no #nothing. Known are: #message, #subscription, #request"),
    ("{#message.^colour}", "Known are: content, contentLength, headers, metadata, attributes, id"),
    ("{#message[^'colour']}", ""),
    ("ä{#message.^colour}", ""),
    ("{#message^}", "Expected a property of #message"),
    ("{#message.^attributeNames}", "Known are: content"),
    ("{#response.^content}", "Known are: status, headers"),
    ("{#^jwt('a')}", "There is no function #jwt. Known are: #jsonPath"),
    ("{#^this}", "There is no #this"),
    ("{#secrets^['/a:b']}", "Expected '.'"),
    ("{#secrets.^list()}", "#secrets.get"),
    ("{#secrets.get(^#message.id)}", "Expected the name of a secret, in quotes"),
    ("{#xpath(^5, '//a')}", "not a number"),
    ("{#^xpath(#message.content)}", "another number of arguments"),
    ("{#^xpath(#message.content, '//a', 'document_list')}", "'node_list'"),
    ("{#^xpath(#message.content, '//a[')}", "is no XPath that is known here: expected"),
    ("{#^xpath(#message.content, 'child::a')}", "Axes such as 'child::' are not available"),
    ("{#^xpath(#message.content, 'id(1)')}", "The XPath function 'id' is not available. Known are: boolean"),
    ("{#^xpath(#message.content, 'count()')}", "does not take 0 arguments"),
    ("{T(^java.lang.Runtime).getRuntime()}", "not available. Known are: java.lang.Math, java.lang.String"),
    ("{T(^java.math.BigDecimal).valueOf(1)}", "not available"),
    ("{T(java.lang.Math).^exit(1)}", "Known are: abs, ceil"),
    ("{T(java.lang.Math).^abs()}", "does not take 0 arguments"),
    ("{T(java.lang.Math).^TAU}", "no constant 'TAU'"),
    ("{T(java.lang.Math)^}", "Expected '.'"),
    ("{(new ^java.lang.Thread())}", "not available"),
    ("{(^new)}", "'new' is not known"),
    ("{T(java.time.format.DateTimeFormatter).ofPattern(^'bb')}", "asks for 'b'"),
    ("{(new java.text.SimpleDateFormat(^'o''clock'))}", "not closed"),
    ("{('a'.split(^'('))}", "cannot be used"),
    ("{('a' instanceof ^T(Thread))}", "No value here is of the class 'Thread'"),
    ("{('a' instanceof ^String)}", "as in T(String)"),
    ("{(1 between ^5)}", "a list of two"),
    ("{({a: 1, ^a: 2})}", "'a' twice"),
    ("{(5^.?[true])}", "nothing to select from in a number"),
    ("{({1}.?[x] and ^y)}", "'y' is not known"),
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
    ("{('a'.^size())}", "There is no method 'size' on a text. Known are: charAt"),
    ("{('a'.^getClass())}", ""),
    ("{('a'.^contains())}", "takes 1 arguments, not 0"),
    ("{('a'^.length)}", "There is no property 'length' of a text"),
    ("{#message.contentLength^[0]}", "no index into a number"),
    ("{('a' matches ^'(')}", "The pattern '(' cannot be used"),
    ("{('a' matches ^'a)|(b')}", "cannot be used"),
    ("{('a' matches ^'(a{1000}){1000}')}", "cannot be used"),
    ("{#^jsonPath(#message.content, 'feature')}", "is no JSONPath"),
    ("{#^jsonPath(#message.content, '$.my-key')}", "['…']"),
    ("{#^jsonPath(#message.content)}", "another number of arguments"),
    ("{#^jsonPath(#message.content, '$.a', 'b')}", "another number of arguments"),
    ("x^{T(java.util.Base64).getEncoder()}", "no text for a Base64 codec"),
    ("{#jsonPath(^5, '$.a')}", "not a number"),
    ("{#^jsonPath(#message.content, '$[?foo(@.a)]')}", "is no JSONPath"),
    ("{#^jsonPath(#message.content, '$[?match(@.a, @.b)]')}", "text in quotes"),
    ("{('a' ^+ #message.headers)}", "'+' does not work on a map"),
    ("{(true ^+ 1)}", "'+' does not work on a boolean"),
    ("x^{#message.headers}", "There is no text for a map"),
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

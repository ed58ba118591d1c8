//! Lists and maps: made in place, selected from, projected.

use sluice_expression::EvalError;

use crate::{failure, holds, text};

#[test]
fn a_selection_keeps_the_items_for_which_its_condition_holds() {
    for truth in [
        "{({1,2,3,4}.?[#this > 2] == {3,4})}",
        "{({1,2,3,4}.^[#this > 2] == 3 and {1,2,3,4}.$[#this < 3] == 2)}",
        "{({1,2}.^[#this > 2] == null and {1,2}.?[#this > 2].isEmpty())}",
        "{#jsonPath(#message.content, '$.book').?[price != null and price > 8].![title] == {'B'}}",
        "{#jsonPath(#message.content, '$.book').^[title == 'B'].price == 12}",
        "{#jsonPath(#message.content, '$.book').![title.toLowerCase()] == 'a,b,c'}",
        "{#message.headers['x-header-test'].?[startsWith('t')] == 'two'}",
        "{#message.metadata.absent?.?[true] == null and #message.metadata.absent?.![#this] == null}",
        "{({{1,2},{3}}.![#this.?[#this > 1]] == {{2},{3}})}",
    ] {
        assert!(holds(truth), "{truth}");
    }
}

#[test]
fn entries_of_a_map_have_a_key_and_a_value() {
    for truth in [
        "{#subscription.metadata.?[value == 'bar-value'].size() == 1}",
        "{#subscription.metadata.?[value == 'bar-value'].bar == 'bar-value'}",
        "{#subscription.metadata.^[key == 'bar'].keySet() == 'bar'}",
        "{#subscription.metadata.![key].contains('feature')}",
        "{#jsonPath(#message.content, '$.deep').![key] == 'er'}",
    ] {
        assert!(holds(truth), "{truth}");
    }
}

#[test]
fn maps_are_made_in_place() {
    for truth in [
        "{({a: 1, 'b-c': 'x'}.a == 1 and {a: 1, 'b-c': 'x'}['b-c'] == 'x')}",
        "{({:}.isEmpty() and {}.isEmpty() and {a: {b: 2}}.a.b == 2)}",
        "{({a: 1, b: {2}} == {b: {2}, a: 1} and {a: 1} != {a: 2} and {a: 1} != {:})}",
        "{({a: 1, b: 2}.keySet() == 'a,b' and {a: 1, b: 2}.values() == {1, 2})}",
        "{({a: 1}.containsValue(1) and {a: 1}.getOrDefault('b', 5) == 5 and {a: {7, 8}}.getFirst('a') == 7)}",
    ] {
        assert!(holds(truth), "{truth}");
    }
}

#[test]
fn values_are_asked_for_their_class_and_range() {
    for truth in [
        "{('a' instanceof T(String) and 1 instanceof T(java.lang.Integer) and not ('1' instanceof T(Integer)))}",
        "{(1.5 instanceof T(Double) and 1.5 instanceof T(Number) and true instanceof T(Boolean))}",
        "{({1} instanceof T(java.util.List) and #message.headers instanceof T(java.util.Map))}",
        "{(5 between {1, 5} and 'b' between {'a', 'c'} and not (6 between {1, 5}))}",
        "{(2 ^ 10 == 1024 and 2 * 3 ^ 2 == 18 and 2 ^ -1 == 0.5 and 2.0 ^ 3 == 8)}",
    ] {
        assert!(holds(truth), "{truth}");
    }
    assert_eq!(failure("{(10 ^ 30)}"), EvalError::Arithmetic("^"));
    assert!(matches!(failure("{(5 between {1, 'x'})}"), EvalError::Unfit { .. }));
}

#[test]
fn texts_have_the_usual_methods() {
    for (source, wanted) in [
        ("'a,b,,c,,'.split(',')", "a,b,,c"),
        ("'a1b22c'.split('[0-9]+')", "a,b,c"),
        ("'abc'.split('')", "a,b,c"),
        ("''.split(',').size()", "1"),
        ("'a-b-c'.replaceAll('-([bc])', '$1+')", "ab+c+"),
        ("'a-b-c'.replaceFirst('-', '\\$')", "a$b-c"),
        ("'ab'.repeat(3) + 'ab'.concat('c')", "ababababc"),
        ("'hello'.charAt(1) + 'hello'.lastIndexOf('l') + 'hello'.indexOf('l', 3)", "e33"),
        ("'' + 'a'.compareTo('b') + 'A'.compareToIgnoreCase('a')", "-10"),
        ("' x '.strip() + ' x '.stripLeading() + ' x '.stripTrailing()", "xx  x"),
        ("'hello'.subSequence(1, 3) + 5.toString() + true.toString() + {1,2}.toString()", "el5true1,2"),
        ("'' + (7.9).intValue() + (7).doubleValue() + (3).compareTo(5)", "77.0-1"),
        ("'/user/42'.matches('^\\/user\\/[0-9]{1,3}$')", "true"),
    ] {
        assert_eq!(text(&format!("{{({source})}}")), wanted, "{source}");
    }
}

//! What can be reached of classes.

use sluice_expression::EvalError;

use crate::{failure, holds, text};

#[test]
fn numbers_are_worked_with() {
    for truth in [
        "{T(java.lang.Math).abs(60) == 60}",
        "{T(Math).abs(-1.5) == 1.5 && T(Math).max(2, 3) == 3 && T(Math).min(2, 3.5) == 2}",
        "{(T(Math).round(2.5) == 3 && T(Math).round(-2.5) == -2 && T(Math).ceil(1.2) == 2 && T(Math).floor(-1.2) == -2)}",
        "{T(Math).pow(2, 3) == 8.0 && T(Math).sqrt(9) == 3 && T(Math).PI > 3.14 && T(Math).E < 2.72}",
        "{T(Math).random() >= 0 && T(Math).random() < 1 && T(Math).random() != T(Math).random()}",
        "{(T(java.lang.Math).random() * 60).intValue() < 60}",
        "{T(Integer).parseInt('42') == 42 && T(Integer).valueOf('-7') == -7 && T(Integer).parseInt('ff', 16) == 255}",
        "{T(Long).parseLong('9999999999') > T(Integer).MAX_VALUE && T(Integer).MIN_VALUE == -2147483648}",
        "{T(Double).parseDouble('1e3') == 1000 && T(Float).valueOf(2) == 2 && T(Integer).compare(1, 2) == -1}",
        "{T(Boolean).parseBoolean('TRUE') && !T(Boolean).valueOf('yes') && T(Boolean).TRUE}",
        "{T(Short).MAX_VALUE == 32767 && T(Long).toString(5) == '5'}",
    ] {
        assert!(holds(truth), "{truth}");
    }
    assert_eq!(failure("{T(Integer).parseInt('9999999999')}"), EvalError::NotANumber("parseInt"));
    assert_eq!(failure("{T(Short).valueOf(32768)}"), EvalError::NotANumber("valueOf"));
    assert_eq!(failure("{T(Integer).parseInt('z', 99)}"), EvalError::NotANumber("parseInt"));
    assert_eq!(failure("{T(Double).parseDouble('x')}"), EvalError::NotANumber("parseDouble"));
    assert_eq!(failure("{T(Math).abs(T(Long).MIN_VALUE)}"), EvalError::Arithmetic("abs"));
}

#[test]
fn texts_are_made() {
    for (source, wanted) in [
        ("T(String).valueOf(12.5) + T(String).valueOf(null)", "12.5null"),
        ("T(String).join('-', 'a', 1, true) + T(String).join('+', {1, 2})", "a-1-true1+2"),
        ("T(String).format('%s|%5s|%-5s|%S|%.2s', 'a', 'b', 'c', 'd', 'efg')", "a|    b|c    |D|ef"),
        (
            "T(String).format('%d|%05d|%+d|%,d|%x|%X', 7, -42, 7, 1234567, 255, 255)",
            "7|-0042|+7|1,234,567|ff|FF",
        ),
        (
            "T(String).format('%.2f|%08.3f|%f|%b|%c|%%', 1.005, -3.14159, 0.5, true, 'x')",
            "1.00|-003.142|0.500000|true|x|%",
        ),
        ("new java.lang.String('Gravitee')", "Gravitee"),
    ] {
        assert_eq!(text(&format!("{{({source})}}")), wanted, "{source}");
    }
    for bad in ["%q", "%", "%s %s", "%9999s"] {
        assert_eq!(failure(&format!("{{T(String).format('{bad}', 1)}}")), EvalError::Format, "{bad}");
    }
    assert!(matches!(failure("{T(String).format('%d', 'x')}"), EvalError::Unfit { .. }));
}

#[test]
fn base64_goes_both_ways() {
    for (source, wanted) in [
        ("T(java.util.Base64).getEncoder().encodeToString('id:secret'.getBytes())", "aWQ6c2VjcmV0"),
        ("T(java.util.Base64).getUrlEncoder().withoutPadding().encodeToString('ü?>')", "w7w_Pg"),
        ("T(java.util.Base64).getEncoder().encodeToString('a')", "YQ=="),
        ("new String(T(java.util.Base64).getDecoder().decode('w7w/Pg=='))", "ü?>"),
        ("T(java.util.Base64).getUrlDecoder().decode('w7w_Pg')", "ü?>"),
    ] {
        assert_eq!(text(&format!("{{({source})}}")), wanted, "{source}");
    }
    assert_eq!(failure("{T(java.util.Base64).getDecoder().decode('%')}"), EvalError::NotBase64);
    assert_eq!(failure("{T(java.util.Base64).getDecoder().decode('/w==')}"), EvalError::NotBase64);
    assert!(matches!(failure("{T(java.util.Base64).getDecoder().encode('x')}"), EvalError::Unfit { .. }));
}

#[test]
fn dates_are_made_and_written() {
    for truth in [
        "{T(java.time.LocalDate).now().getYear() > 2025}",
        "{T(java.time.LocalDate).now().plusDays(1).isAfter(T(java.time.LocalDate).now())}",
        "{T(java.time.LocalDateTime).now().minusHours(1).isBefore(T(java.time.LocalDateTime).now())}",
        "{T(java.time.ZonedDateTime).now().toString().endsWith('Z')}",
        "{T(java.lang.System).currentTimeMillis() > 1700000000000}",
        "{(new java.util.Date().getTime() > 1700000000000)}",
        "{T(java.util.UUID).randomUUID().toString() matches '[0-9a-f-]{36}'}",
    ] {
        assert!(holds(truth), "{truth}");
    }
    for (source, wanted) in [
        (
            "new java.text.SimpleDateFormat('yyyy-MM-dd HH:mm').format(new java.util.Date(0))",
            "1970-01-01 00:00",
        ),
        (
            "new java.util.Date(0).plusMonths(1).format(T(java.time.format.DateTimeFormatter).ofPattern('EEE d MMM'))",
            "Sun 1 Feb",
        ),
        ("'' + new java.util.Date(86400000).getDayOfMonth() + new java.util.Date(0).getHour()", "20"),
    ] {
        assert_eq!(text(&format!("{{({source})}}")), wanted, "{source}");
    }
    assert!(matches!(failure("{T(java.time.LocalDate).now().getHour()}"), EvalError::Unfit { .. }));
    assert!(matches!(
        failure("{T(java.time.format.DateTimeFormatter).ofPattern('b' + 'b')}"),
        EvalError::TimePattern(_)
    ));
}

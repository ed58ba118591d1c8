//! Values of AMQP as JSON, for bodies that are neither bytes nor text.

use std::fmt::Display;

use fe2o3_amqp::types::primitives::{Symbol, Value};
use serde_json::{Map, Value as Json};

/// The nearest that JSON has. Bytes are a list of numbers, times are milliseconds since 1970, keys of maps are text;
/// what stands behind a descriptor stands alone.
pub(crate) fn of(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(flag),
        Value::Ubyte(number) => number.into(),
        Value::Ushort(number) => number.into(),
        Value::Uint(number) => number.into(),
        Value::Ulong(number) => number.into(),
        Value::Byte(number) => number.into(),
        Value::Short(number) => number.into(),
        Value::Int(number) => number.into(),
        Value::Long(number) => number.into(),
        Value::Float(number) => number.into_inner().into(),
        Value::Double(number) => number.into_inner().into(),
        Value::Timestamp(time) => time.milliseconds().into(),
        Value::Char(character) => text(character),
        Value::Uuid(uuid) => text(uuid::Uuid::from_bytes(uuid.into_inner())),
        Value::String(string) => Json::String(string),
        Value::Symbol(Symbol(symbol)) => Json::String(symbol),
        Value::Binary(bytes) => bytes.into_vec().into(),
        Value::List(values) => Json::Array(values.into_iter().map(of).collect()),
        Value::Array(values) => Json::Array(values.0.into_iter().map(of).collect()),
        Value::Map(entries) => Json::Object(entries.into_iter().map(entry).collect::<Map<_, _>>()),
        Value::Described(described) => of(described.value),
        // JSON has no decimal fractions of so many digits.
        Value::Decimal32(number) => text(format_args!("{number:?}")),
        Value::Decimal64(number) => text(format_args!("{number:?}")),
        Value::Decimal128(number) => text(format_args!("{number:?}")),
    }
}

fn entry((key, value): (Value, Value)) -> (String, Json) {
    let key = match of(key) {
        Json::String(text) => text,
        other => other.to_string(),
    };
    (key, of(value))
}

fn text(value: impl Display) -> Json {
    Json::String(value.to_string())
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp::types::primitives::{OrderedMap, Timestamp};
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_lists_and_numbers_are_as_json_has_them() {
        let mut map = OrderedMap::new();
        map.insert(Value::Symbol(Symbol::from("list")), Value::List(vec![Value::Int(1), Value::Null]));
        map.insert(Value::Uint(7), Value::Double(1.5.into()));
        map.insert(Value::String("time".to_owned()), Value::Timestamp(Timestamp::from_milliseconds(5)));
        assert_eq!(of(Value::Map(map)), json!({"list": [1, null], "7": 1.5, "time": 5}));
        assert_eq!(of(Value::Double(f64::NAN.into())), Json::Null, "JSON has no such number");
    }
}

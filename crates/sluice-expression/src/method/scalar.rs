//! Methods of numbers, booleans, times, and of the tools that write times and Base64.

use Kind::{Boolean, Formatter, Number, Text, Time};

use super::{Method, equals, to_string};
use crate::{
    base64::Base64,
    call::{Call, Called},
    error::EvalError,
    time::{self, Unit},
    tree::{Comparison, Kind},
    value::Value,
};

const fn method(
    on: Kind,
    name: &'static str,
    arguments: (usize, usize),
    result: Kind,
    body: super::Body,
) -> Method {
    Method::new(on, name, arguments, result, body)
}

pub(super) static METHODS: &[Method] = &[
    method(Boolean, "booleanValue", (0, 0), Boolean, |of, _| Ok(of)),
    method(Boolean, "equals", (1, 1), Boolean, |of, call| equals(&of, call)),
    method(Boolean, "toString", (0, 0), Text, |of, call| to_string(&of, call)),
    method(Number, "compareTo", (1, 1), Number, |of, call| {
        let less = of.stands(Comparison::Less, call.value(0))?;
        let greater = of.stands(Comparison::Greater, call.value(0))?;
        Ok(Value::Integer(i64::from(greater) - i64::from(less)))
    }),
    method(Number, "doubleValue", (0, 0), Number, |of, _| Ok(of.as_float().map_or(of, Value::Float))),
    method(Number, "equals", (1, 1), Boolean, |of, call| equals(&of, call)),
    method(Number, "intValue", (0, 0), Number, truncate),
    method(Number, "longValue", (0, 0), Number, truncate),
    method(Number, "toString", (0, 0), Text, |of, call| to_string(&of, call)),
    method(Time, "equals", (1, 1), Boolean, |of, call| equals(&of, call)),
    method(Time, "format", (1, 1), Text, |of, call| match call.value(0) {
        Value::Formatter(pattern) => write(&of, pattern, call),
        other => Err(call.unfit(other)),
    }),
    method(Time, "getDayOfMonth", (0, 0), Number, |of, _| civil(&of, |at| at.day().into())),
    method(Time, "getDayOfYear", (0, 0), Number, |of, _| civil(&of, |at| at.day_of_year().into())),
    method(Time, "getHour", (0, 0), Number, |of, call| clock(&of, call, |at| at.hour().into())),
    method(Time, "getMinute", (0, 0), Number, |of, call| clock(&of, call, |at| at.minute().into())),
    method(Time, "getMonthValue", (0, 0), Number, |of, _| civil(&of, |at| at.month().into())),
    method(Time, "getSecond", (0, 0), Number, |of, call| clock(&of, call, |at| at.second().into())),
    method(Time, "getTime", (0, 0), Number, |of, _| this(&of)?.millis().map(Value::Integer)),
    method(Time, "getYear", (0, 0), Number, |of, _| civil(&of, |at| at.year().into())),
    method(Time, "isAfter", (1, 1), Boolean, |of, call| Ok(Value::Boolean(this(&of)? > other(call)?))),
    method(Time, "isBefore", (1, 1), Boolean, |of, call| Ok(Value::Boolean(this(&of)? < other(call)?))),
    method(Time, "minusDays", (1, 1), Time, |of, call| shift(&of, call, -1, Unit::Days)),
    method(Time, "minusHours", (1, 1), Time, |of, call| shift(&of, call, -1, Unit::Hours)),
    method(Time, "minusMinutes", (1, 1), Time, |of, call| shift(&of, call, -1, Unit::Minutes)),
    method(Time, "minusMonths", (1, 1), Time, |of, call| shift(&of, call, -1, Unit::Months)),
    method(Time, "minusSeconds", (1, 1), Time, |of, call| shift(&of, call, -1, Unit::Seconds)),
    method(Time, "minusWeeks", (1, 1), Time, |of, call| shift(&of, call, -1, Unit::Weeks)),
    method(Time, "minusYears", (1, 1), Time, |of, call| shift(&of, call, -1, Unit::Years)),
    method(Time, "plusDays", (1, 1), Time, |of, call| shift(&of, call, 1, Unit::Days)),
    method(Time, "plusHours", (1, 1), Time, |of, call| shift(&of, call, 1, Unit::Hours)),
    method(Time, "plusMinutes", (1, 1), Time, |of, call| shift(&of, call, 1, Unit::Minutes)),
    method(Time, "plusMonths", (1, 1), Time, |of, call| shift(&of, call, 1, Unit::Months)),
    method(Time, "plusSeconds", (1, 1), Time, |of, call| shift(&of, call, 1, Unit::Seconds)),
    method(Time, "plusWeeks", (1, 1), Time, |of, call| shift(&of, call, 1, Unit::Weeks)),
    method(Time, "plusYears", (1, 1), Time, |of, call| shift(&of, call, 1, Unit::Years)),
    method(Time, "toString", (0, 0), Text, |of, call| to_string(&of, call)),
    method(Formatter, "format", (1, 1), Text, |of, call| match &of {
        Value::Formatter(pattern) => write(call.value(0), pattern, call),
        other => Err(call.unfit(other)),
    }),
    method(Kind::Base64, "decode", (1, 1), Text, |of, call| codec(&of, call, false)),
    method(Kind::Base64, "encode", (1, 1), Text, |of, call| codec(&of, call, true)),
    method(Kind::Base64, "encodeToString", (1, 1), Text, |of, call| codec(&of, call, true)),
    method(Kind::Base64, "withoutPadding", (0, 0), Kind::Base64, |of, _| {
        Ok(if let Value::Base64(base64) = of {
            Value::Base64(Base64 { padded: false, ..base64 })
        } else {
            of
        })
    }),
];

/// The whole part of a number.
fn truncate<'a>(of: Value<'a>, _: &mut Call<'_, 'a>) -> Called<'a> {
    // A float that is too large becomes the largest whole number, as a cast has it.
    Ok(if let Value::Float(number) = of { Value::Integer(number as i64) } else { of })
}

fn this(of: &Value<'_>) -> Result<time::Time, EvalError> {
    match of {
        Value::Time(time) => Ok(*time),
        other => Err(EvalError::Unfit { operation: "A time", found: other.noun() }),
    }
}

fn other(call: &Call<'_, '_>) -> Result<time::Time, EvalError> {
    this(call.value(0))
}

fn civil<'a>(of: &Value<'a>, read: fn(jiff::civil::DateTime) -> i64) -> Called<'a> {
    Ok(Value::Integer(read(this(of)?.civil())))
}

/// As [`civil`], of a time that knows the time of day.
fn clock<'a>(of: &Value<'a>, call: &Call<'_, 'a>, read: fn(jiff::civil::DateTime) -> i64) -> Called<'a> {
    if this(of)?.has_clock() {
        return civil(of, read);
    }
    Err(EvalError::Unfit { operation: call.name, found: "a date without a time of day" })
}

fn shift<'a>(of: &Value<'a>, call: &Call<'_, 'a>, direction: i64, unit: Unit) -> Called<'a> {
    let count = call.integer(0)?;
    let count = count.checked_mul(direction).ok_or(EvalError::OutOfRange(count))?;
    this(of)?.plus(count, unit).map(Value::Time)
}

fn write<'a>(of: &Value<'_>, pattern: &str, call: &mut Call<'_, 'a>) -> Called<'a> {
    let time = this(of)?;
    let mut made = call.budget.text();
    time.format(pattern, &mut made)?;
    Ok(Value::made(made.finish()))
}

fn codec<'a>(of: &Value<'a>, call: &mut Call<'_, 'a>, encodes: bool) -> Called<'a> {
    let text = call.text(0)?;
    call.budget.take_text(text.len().saturating_mul(2))?;
    match of {
        Value::Base64(base64) if base64.encodes == encodes => {
            Ok(Value::made(if encodes { base64.encode(text) } else { base64.decode(text)? }))
        }
        other => Err(call.unfit(other)),
    }
}

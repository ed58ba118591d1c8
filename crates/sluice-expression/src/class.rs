//! What can be reached of classes, by `T(java.lang.Math).abs(1)` or `new java.util.Date()`: one table of
//! functions without effects. There is no reflection; what is not named here is refused.

use Kind::{Base64 as Codec, Boolean, Formatter, Number, Text};

use crate::{
    base64::Base64,
    call::{Call, Called},
    error::EvalError,
    format,
    method::text::join,
    time::{self, Shape, Time},
    tree::{Class, Kind, Node},
    value::Value,
};

/// A function of a class.
#[derive(Debug)]
pub(crate) struct Function {
    class: &'static str,
    pub(crate) name: &'static str,
    /// The fewest and the most arguments.
    arguments: (usize, usize),
    pub(crate) result: Kind,
    body: Body,
}

type Body = for<'a> fn(&mut Call<'_, 'a>) -> Called<'a>;

/// The name under which constructors stand in the table.
pub(crate) const CONSTRUCTOR: &str = "new";
/// More arguments than any function takes that takes any number of them.
const ANY_NUMBER: usize = usize::MAX;

const MATH: &str = "java.lang.Math";
const STRING: &str = "java.lang.String";
const INTEGER: &str = "java.lang.Integer";
const LONG: &str = "java.lang.Long";
const SHORT: &str = "java.lang.Short";
const DOUBLE: &str = "java.lang.Double";
const FLOAT: &str = "java.lang.Float";
const BOOLEAN: &str = "java.lang.Boolean";
const SYSTEM: &str = "java.lang.System";
const UUID: &str = "java.util.UUID";
const BASE64: &str = "java.util.Base64";
const DATE: &str = "java.util.Date";
const LOCAL_DATE: &str = "java.time.LocalDate";
const LOCAL_DATE_TIME: &str = "java.time.LocalDateTime";
const ZONED_DATE_TIME: &str = "java.time.ZonedDateTime";
const FORMATTER: &str = "java.time.format.DateTimeFormatter";
const SIMPLE_FORMAT: &str = "java.text.SimpleDateFormat";

const fn function(
    class: &'static str,
    name: &'static str,
    arguments: (usize, usize),
    result: Kind,
    body: Body,
) -> Function {
    Function { class, name, arguments, result, body }
}

static FUNCTIONS: &[Function] = &[
    function(MATH, "abs", (1, 1), Number, |call| match call.value(0) {
        Value::Integer(number) => whole(number.checked_abs(), call),
        _ => Ok(Value::Float(call.float(0)?.abs())),
    }),
    function(MATH, "ceil", (1, 1), Number, |call| Ok(Value::Float(call.float(0)?.ceil()))),
    function(MATH, "floor", (1, 1), Number, |call| Ok(Value::Float(call.float(0)?.floor()))),
    function(MATH, "max", (2, 2), Number, |call| pick(call, i64::max, f64::max)),
    function(MATH, "min", (2, 2), Number, |call| pick(call, i64::min, f64::min)),
    function(MATH, "pow", (2, 2), Number, |call| Ok(Value::Float(call.float(0)?.powf(call.float(1)?)))),
    function(MATH, "random", (0, 0), Number, |_| Ok(Value::Float(random()))),
    // A half goes up, also below zero; a float that is too large becomes the largest whole number.
    function(MATH, "round", (1, 1), Number, |call| Ok(Value::Integer((call.float(0)? + 0.5).floor() as i64))),
    function(MATH, "sqrt", (1, 1), Number, |call| Ok(Value::Float(call.float(0)?.sqrt()))),
    function(STRING, "format", (1, ANY_NUMBER), Text, |call| {
        let template = call.text(0)?;
        format::format(template, call).map(Value::made)
    }),
    function(STRING, "join", (2, ANY_NUMBER), Text, join_texts),
    function(STRING, "valueOf", (1, 1), Text, |call| call.shown(0).map(Value::Text)),
    function(STRING, CONSTRUCTOR, (0, 1), Text, |call| match call.arguments {
        [] => Ok(Value::borrowed_text("")),
        _ => call.text(0).map(|_| call.value(0).clone()),
    }),
    function(INTEGER, "compare", (2, 2), Number, compare),
    function(INTEGER, "parseInt", (1, 2), Number, |call| parse_whole(call, 32)),
    function(INTEGER, "toString", (1, 1), Text, |call| call.shown(0).map(Value::Text)),
    function(INTEGER, "valueOf", (1, 2), Number, |call| parse_whole(call, 32)),
    function(LONG, "compare", (2, 2), Number, compare),
    function(LONG, "parseLong", (1, 2), Number, |call| parse_whole(call, 64)),
    function(LONG, "toString", (1, 1), Text, |call| call.shown(0).map(Value::Text)),
    function(LONG, "valueOf", (1, 2), Number, |call| parse_whole(call, 64)),
    function(SHORT, "compare", (2, 2), Number, compare),
    function(SHORT, "parseShort", (1, 2), Number, |call| parse_whole(call, 16)),
    function(SHORT, "toString", (1, 1), Text, |call| call.shown(0).map(Value::Text)),
    function(SHORT, "valueOf", (1, 2), Number, |call| parse_whole(call, 16)),
    function(DOUBLE, "compare", (2, 2), Number, compare),
    function(DOUBLE, "parseDouble", (1, 1), Number, parse_float),
    function(DOUBLE, "toString", (1, 1), Text, |call| call.shown(0).map(Value::Text)),
    function(DOUBLE, "valueOf", (1, 1), Number, parse_float),
    function(FLOAT, "compare", (2, 2), Number, compare),
    function(FLOAT, "parseFloat", (1, 1), Number, parse_float),
    function(FLOAT, "toString", (1, 1), Text, |call| call.shown(0).map(Value::Text)),
    function(FLOAT, "valueOf", (1, 1), Number, parse_float),
    function(BOOLEAN, "parseBoolean", (1, 1), Boolean, parse_boolean),
    function(BOOLEAN, "toString", (1, 1), Text, |call| call.shown(0).map(Value::Text)),
    function(BOOLEAN, "valueOf", (1, 1), Boolean, parse_boolean),
    function(SYSTEM, "currentTimeMillis", (0, 0), Number, |_| {
        Time::now(Shape::Zoned).millis().map(Value::Integer)
    }),
    function(UUID, "randomUUID", (0, 0), Text, |_| Ok(Value::made(uuid::Uuid::new_v4().to_string()))),
    function(BASE64, "getDecoder", (0, 0), Codec, |_| Ok(codec(false, false))),
    function(BASE64, "getEncoder", (0, 0), Codec, |_| Ok(codec(true, false))),
    function(BASE64, "getUrlDecoder", (0, 0), Codec, |_| Ok(codec(false, true))),
    function(BASE64, "getUrlEncoder", (0, 0), Codec, |_| Ok(codec(true, true))),
    function(DATE, CONSTRUCTOR, (0, 1), Kind::Time, |call| match call.arguments {
        [] => Ok(Value::Time(Time::now(Shape::Zoned))),
        _ => Time::from_millis(call.integer(0)?, Shape::Zoned).map(Value::Time),
    }),
    function(LOCAL_DATE, "now", (0, 0), Kind::Time, |_| Ok(Value::Time(Time::now(Shape::Date)))),
    function(LOCAL_DATE_TIME, "now", (0, 0), Kind::Time, |_| Ok(Value::Time(Time::now(Shape::DateTime)))),
    function(ZONED_DATE_TIME, "now", (0, 0), Kind::Time, |_| Ok(Value::Time(Time::now(Shape::Zoned)))),
    function(FORMATTER, "ofPattern", (1, 1), Formatter, formatter),
    function(SIMPLE_FORMAT, CONSTRUCTOR, (1, 1), Formatter, formatter),
];

/// What can be named of a class without calling it.
const CONSTANTS: [(&str, &str, Node); 10] = [
    (MATH, "E", Node::Float(std::f64::consts::E)),
    (MATH, "PI", Node::Float(std::f64::consts::PI)),
    (INTEGER, "MAX_VALUE", Node::Integer(i32::MAX as i64)),
    (INTEGER, "MIN_VALUE", Node::Integer(i32::MIN as i64)),
    (LONG, "MAX_VALUE", Node::Integer(i64::MAX)),
    (LONG, "MIN_VALUE", Node::Integer(i64::MIN)),
    (SHORT, "MAX_VALUE", Node::Integer(i16::MAX as i64)),
    (SHORT, "MIN_VALUE", Node::Integer(i16::MIN as i64)),
    (BOOLEAN, "TRUE", Node::Boolean(true)),
    (BOOLEAN, "FALSE", Node::Boolean(false)),
];

impl Function {
    /// The function of a class that takes so many arguments; an error is a sentence.
    pub(crate) fn find(class: &str, name: &str, arguments: usize) -> Result<&'static Self, String> {
        let of_class = || FUNCTIONS.iter().filter(|function| is_named(function.class, class));
        let Some(function) = of_class().find(|function| function.name == name) else {
            let mut known: Vec<_> = of_class().map(|function| function.name).collect();
            known.dedup();
            return Err(format!("{class} has no function '{name}' here. Known are: {}.", known.join(", ")));
        };
        let (fewest, most) = function.arguments;
        if (fewest..=most).contains(&arguments) {
            return Ok(function);
        }
        Err(format!("The function '{name}' of {class} does not take {arguments} arguments."))
    }

    /// Calls it; the parser has seen to the number of arguments.
    pub(crate) fn call<'a>(&self, arguments: &[Value<'a>], budget: &mut crate::bound::Budget) -> Called<'a> {
        // A constructor is known by the name of its class.
        let name = if self.name == CONSTRUCTOR { self.class } else { self.name };
        (self.body)(&mut Call { name, arguments, budget })
    }
}

/// What a constant of a class stands for.
pub(crate) fn constant(class: &str, name: &str) -> Option<Node> {
    let found =
        CONSTANTS.into_iter().find(|(known, constant, _)| is_named(known, class) && *constant == name);
    found.map(|(_, _, node)| node)
}

/// Whether there is anything of a class; an error is a sentence that lists those there are.
pub(crate) fn check(class: &str) -> Result<(), String> {
    if FUNCTIONS.iter().any(|function| is_named(function.class, class)) {
        return Ok(());
    }
    let mut known: Vec<_> = FUNCTIONS.iter().map(|function| function.class).collect();
    known.dedup();
    Err(format!("The class '{class}' is not available. Known are: {}.", known.join(", ")))
}

/// What `instanceof` asks for by the name of a class.
pub(crate) fn for_instanceof(class: &str) -> Option<Class> {
    Some(
        match class.strip_prefix("java.lang.").or_else(|| class.strip_prefix("java.util.")).unwrap_or(class) {
            "String" | "CharSequence" => Class::Text,
            "Integer" | "Long" | "Short" => Class::Whole,
            "Double" | "Float" => Class::Fraction,
            "Number" => Class::Number,
            "Boolean" => Class::Boolean,
            "List" | "Collection" => Class::List,
            "Map" => Class::Map,
            _ => return None,
        },
    )
}

/// Classes of java.lang need not be written out.
fn is_named(known: &str, class: &str) -> bool {
    known == class || known.strip_prefix("java.lang.") == Some(class)
}

fn whole<'a>(number: Option<i64>, call: &Call<'_, 'a>) -> Called<'a> {
    number.map(Value::Integer).ok_or(EvalError::Arithmetic(call.name))
}

fn pick<'a>(
    call: &Call<'_, 'a>,
    of_whole: fn(i64, i64) -> i64,
    of_floats: fn(f64, f64) -> f64,
) -> Called<'a> {
    match (call.value(0), call.value(1)) {
        (Value::Integer(one), Value::Integer(two)) => Ok(Value::Integer(of_whole(*one, *two))),
        _ => Ok(Value::Float(of_floats(call.float(0)?, call.float(1)?))),
    }
}

/// A number from 0 to below 1, of 53 random bits: those of a random id that tell nothing of its version.
fn random() -> f64 {
    const BITS: u32 = 53;
    let bits = uuid::Uuid::new_v4().as_u64_pair().1 & ((1 << BITS) - 1);
    bits as f64 / (1_u64 << BITS) as f64
}

/// The texts between which the first one stands: the others, or the items of a list.
fn join_texts<'a>(call: &mut Call<'_, 'a>) -> Called<'a> {
    let between = call.text(0)?;
    let items: Vec<Value<'_>> = match call.value(1) {
        list if list.list_len().is_some() && call.arguments.len() == 2 => list.items().collect(),
        _ => call.arguments[1..].to_vec(),
    };
    let texts = items.iter().map(|item| call.budget.show(item)).collect::<Result<Vec<_>, _>>()?;
    join(texts.iter().map(|text| &**text), between, call)
}

/// -1, 0 or 1 as the first number is below, equal to or above the second.
fn compare<'a>(call: &mut Call<'_, 'a>) -> Called<'a> {
    let order = match (call.value(0), call.value(1)) {
        (Value::Integer(one), Value::Integer(two)) => one.cmp(two),
        _ => call.float(0)?.total_cmp(&call.float(1)?),
    };
    Ok(Value::Integer(order as i64))
}

/// A whole number of so many bits, from a number or from a text in a base from 2 to 36.
fn parse_whole<'a>(call: &mut Call<'_, 'a>, bits: u32) -> Called<'a> {
    let parsed = match (call.value(0), call.value(1)) {
        (Value::Integer(number), Value::Null) => Some(*number),
        (Value::Text(text), Value::Null) => text.parse().ok(),
        (Value::Text(text), Value::Integer(radix)) => {
            let radix = u32::try_from(*radix).ok().filter(|radix| (2..=36).contains(radix));
            radix.and_then(|radix| i64::from_str_radix(text, radix).ok())
        }
        (misfit, Value::Null) | (_, misfit) => return Err(call.unfit(misfit)),
    };
    let fits = |number: &i64| number.checked_shr(bits - 1).is_some_and(|sign| sign == 0 || sign == -1);
    parsed.filter(fits).map(Value::Integer).ok_or(EvalError::NotANumber(call.name))
}

fn parse_float<'a>(call: &mut Call<'_, 'a>) -> Called<'a> {
    match call.value(0) {
        Value::Text(text) => {
            text.trim().parse().map(Value::Float).map_err(|_| EvalError::NotANumber(call.name))
        }
        _ => call.float(0).map(Value::Float),
    }
}

/// The word for yes, in any case, is true; everything else is false.
fn parse_boolean<'a>(call: &mut Call<'_, 'a>) -> Called<'a> {
    Ok(Value::Boolean(match call.value(0) {
        Value::Boolean(flag) => *flag,
        Value::Text(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }))
}

const fn codec<'a>(encodes: bool, for_urls: bool) -> Value<'a> {
    Value::Base64(Base64 { encodes, for_urls, padded: true })
}

fn formatter<'a>(call: &mut Call<'_, 'a>) -> Called<'a> {
    time::check_pattern(call.text(0)?).map_err(EvalError::TimePattern)?;
    Ok(match call.value(0) {
        Value::Text(pattern) => Value::Formatter(pattern.clone()),
        other => return Err(call.unfit(other)),
    })
}

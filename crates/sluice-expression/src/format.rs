//! `String.format`: a text with places for values, written `%[-0+,][width][.digits]` and a letter of
//! `s S d f x X b c`, or `%%` and `%n`.

use crate::{call::Call, error::EvalError, value::Value};

/// The widest place, and the most digits behind the point.
const MAX_WIDTH: usize = 1000;

/// One place for a value.
#[derive(Default)]
struct Place {
    left: bool,
    zeros: bool,
    plus: bool,
    groups: bool,
    width: usize,
    digits: Option<usize>,
    letter: char,
}

/// Writes the arguments from the second on into the places of a text.
pub(crate) fn format(template: &str, call: &mut Call<'_, '_>) -> Result<String, EvalError> {
    let (mut made, mut rest, mut next) = (String::new(), template, 1);
    loop {
        let plain = rest.find('%').unwrap_or(rest.len());
        call.budget.take_text(plain)?;
        made.push_str(&rest[..plain]);
        let Some(after) = rest[plain..].strip_prefix('%') else { return Ok(made) };
        let (place, behind) = Place::read(after).ok_or(EvalError::Format)?;
        let text = match place.letter {
            '%' => "%".to_owned(),
            'n' => "\n".to_owned(),
            _ => {
                next += 1;
                place.text(next - 1, call)?
            }
        };
        let text = place.fill(text);
        call.budget.take_text(text.len())?;
        made.push_str(&text);
        rest = behind;
    }
}

impl Place {
    /// Reads what follows a percent sign; gives the rest behind it.
    fn read(mut rest: &str) -> Option<(Self, &str)> {
        let mut place = Self::default();
        loop {
            let flag = match rest.as_bytes().first()? {
                b'-' => &mut place.left,
                b'0' => &mut place.zeros,
                b'+' => &mut place.plus,
                b',' => &mut place.groups,
                _ => break,
            };
            *flag = true;
            rest = &rest[1..];
        }
        (place.width, rest) = number(rest).unwrap_or((0, rest));
        if let Some(after) = rest.strip_prefix('.') {
            let (digits, behind) = number(after)?;
            (place.digits, rest) = (Some(digits), behind);
        }
        place.letter = rest.chars().next().filter(|letter| "sSdfxXbcn%".contains(*letter))?;
        let bounded = place.width.max(place.digits.unwrap_or_default()) <= MAX_WIDTH;
        bounded.then_some((place, &rest[1..]))
    }

    /// The text of the argument `index`, without the spaces or zeros before or behind it.
    fn text(&self, index: usize, call: &mut Call<'_, '_>) -> Result<String, EvalError> {
        if index >= call.arguments.len() {
            return Err(EvalError::Format);
        }
        Ok(match (self.letter, call.value(index)) {
            ('d', Value::Integer(number)) => self.signed(&number.unsigned_abs().to_string(), *number < 0),
            ('x', Value::Integer(number)) => format!("{number:x}"),
            ('X', Value::Integer(number)) => format!("{number:X}"),
            ('f', Value::Float(number)) => {
                let digits = self.digits.unwrap_or(6);
                self.signed(&format!("{:.digits$}", number.abs()), *number < 0.0)
            }
            ('b', value) => value.truth().unwrap_or(true).to_string(),
            ('c', Value::Text(text)) if text.chars().nth(1).is_none() => text.to_string(),
            ('s' | 'S', _) => {
                let mut text = call.shown(index)?.into_owned();
                if let Some(digits) = self.digits {
                    text = text.chars().take(digits).collect();
                }
                if self.letter == 'S' { text.to_uppercase() } else { text }
            }
            (_, misfit) => return Err(call.unfit(misfit)),
        })
    }

    /// A number with its sign and, where asked for, a comma before each three digits.
    fn signed(&self, digits: &str, negative: bool) -> String {
        let mut text = match (negative, self.plus) {
            (true, _) => "-".to_owned(),
            (false, true) => "+".to_owned(),
            (false, false) => String::new(),
        };
        let whole = digits.find('.').unwrap_or(digits.len());
        for (index, digit) in digits.char_indices() {
            if self.groups && index > 0 && index < whole && (whole - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }

    fn fill(&self, text: String) -> String {
        let Some(missing) = self.width.checked_sub(text.chars().count()) else { return text };
        if self.left {
            return text + &" ".repeat(missing);
        }
        if self.zeros && !matches!(self.letter, 's' | 'S') {
            let digits = text.find(|character: char| character.is_ascii_alphanumeric()).unwrap_or(0);
            return format!("{}{}{}", &text[..digits], "0".repeat(missing), &text[digits..]);
        }
        " ".repeat(missing) + &text
    }
}

/// The number at the beginning of a text, and what is behind it.
fn number(text: &str) -> Option<(usize, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..len].parse().ok()?, &text[len..]))
}

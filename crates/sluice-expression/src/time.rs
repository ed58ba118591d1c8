//! Dates and times of day. Everything is UTC: what a rule says must not depend on where a gateway runs.

use std::fmt;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::{bound::BoundedText, error::EvalError};

/// A moment, as much of it as its shape shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    at: DateTime,
    shape: Shape,
}

/// What a [`Time`] knows of its moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// The day only.
    Date,
    /// Day and time of day.
    DateTime,
    /// Day, time of day and that it is UTC.
    Zoned,
}

/// What can be added to a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
    Weeks,
    Months,
    Years,
}

/// What a pattern letter stands for, and what it asks of the shape.
const LETTERS: &str = "yuMdDEaHhmsSXxZz";
/// Letters that ask for a time of day.
const OF_THE_DAY: &str = "aHhmsS";
/// Letters that ask for a zone.
const OF_THE_ZONE: &str = "XxZz";
/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 256;
/// How often a letter may repeat.
const MAX_REPEATS: usize = 9;

impl Time {
    /// This moment.
    pub(crate) fn now(shape: Shape) -> Self {
        Self::from_timestamp(Timestamp::now(), shape)
    }

    /// The moment so many milliseconds after 1970-01-01 UTC.
    pub(crate) fn from_millis(millis: i64, shape: Shape) -> Result<Self, EvalError> {
        let timestamp = Timestamp::from_millisecond(millis).map_err(|_| EvalError::OutOfRange(millis))?;
        Ok(Self::from_timestamp(timestamp, shape))
    }

    fn from_timestamp(timestamp: Timestamp, shape: Shape) -> Self {
        let at = timestamp.to_zoned(TimeZone::UTC).datetime();
        Self { at: if shape == Shape::Date { at.date().into() } else { at }, shape }
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) fn millis(self) -> Result<i64, EvalError> {
        let zoned = self.at.to_zoned(TimeZone::UTC).map_err(|_| EvalError::Arithmetic("getTime"))?;
        Ok(zoned.timestamp().as_millisecond())
    }

    /// Day and time of day.
    pub(crate) const fn civil(self) -> DateTime {
        self.at
    }

    /// Whether it knows the time of day.
    pub(crate) fn has_clock(self) -> bool {
        self.shape != Shape::Date
    }

    /// The time so much later, or earlier where `count` is negative.
    pub(crate) fn plus(self, count: i64, unit: Unit) -> Result<Self, EvalError> {
        if self.shape == Shape::Date && matches!(unit, Unit::Seconds | Unit::Minutes | Unit::Hours) {
            return Err(EvalError::Unfit { operation: "plus", found: "a date without a time of day" });
        }
        let out_of_range = |_| EvalError::OutOfRange(count);
        let span = jiff::Span::new();
        let span = match unit {
            Unit::Seconds => span.try_seconds(count),
            Unit::Minutes => span.try_minutes(count),
            Unit::Hours => span.try_hours(count),
            Unit::Days => span.try_days(count),
            Unit::Weeks => span.try_weeks(count),
            Unit::Months => span.try_months(count),
            Unit::Years => span.try_years(count),
        };
        let at = self.at.checked_add(span.map_err(out_of_range)?).map_err(out_of_range)?;
        Ok(Self { at, ..self })
    }

    /// Writes the time by a pattern that [`check_pattern`] let pass.
    pub(crate) fn format(self, pattern: &str, out: &mut BoundedText<'_>) -> Result<(), EvalError> {
        for part in parts(pattern) {
            match part {
                Part::Plain(text) => out.push(text)?,
                Part::Letter(letter, count) => out.push(&self.field(letter, count)?)?,
            }
        }
        Ok(())
    }

    fn field(self, letter: char, count: usize) -> Result<String, EvalError> {
        let missing = (OF_THE_DAY.contains(letter) && self.shape == Shape::Date)
            || (OF_THE_ZONE.contains(letter) && self.shape != Shape::Zoned);
        if missing {
            return Err(EvalError::Unfit { operation: "format", found: "a time that does not know as much" });
        }
        let padded = |number: i64| format!("{number:0count$}");
        let at = self.at;
        let hour = i64::from(at.hour());
        Ok(match letter {
            'y' | 'u' if count == 2 => format!("{:02}", at.year().rem_euclid(100)),
            'y' | 'u' => padded(at.year().into()),
            'M' if count >= 3 => at.strftime(if count == 3 { "%b" } else { "%B" }).to_string(),
            'M' => padded(at.month().into()),
            'd' => padded(at.day().into()),
            'D' => padded(at.day_of_year().into()),
            'E' => at.strftime(if count <= 3 { "%a" } else { "%A" }).to_string(),
            'a' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'H' => padded(hour),
            'h' => padded((hour + 11) % 12 + 1),
            'm' => padded(at.minute().into()),
            's' => padded(at.second().into()),
            'S' => format!("{:09}", at.subsec_nanosecond())[..count].to_owned(),
            'X' => "Z".to_owned(),
            'x' | 'Z' => if count == 3 { "+00:00" } else { "+0000" }.to_owned(),
            _ => "UTC".to_owned(),
        })
    }
}

/// As ISO 8601 has it.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            Shape::Date => write!(f, "{}", self.at.date()),
            Shape::DateTime => write!(f, "{}", self.at),
            Shape::Zoned => write!(f, "{}Z", self.at),
        }
    }
}

enum Part<'p> {
    Plain(&'p str),
    /// A letter and how often it repeats.
    Letter(char, usize),
}

/// Whether times can be written by a pattern; an error is a sentence.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!("The pattern of a time has at most {MAX_PATTERN_BYTES} bytes."));
    }
    if pattern.split('\'').count().is_multiple_of(2) {
        return Err(format!("The pattern '{pattern}' has a quote that is not closed."));
    }
    for part in parts(pattern) {
        if let Part::Letter(letter, count) = part
            && (!LETTERS.contains(letter) || count > MAX_REPEATS)
        {
            return Err(format!(
                "The pattern '{pattern}' asks for '{letter}' {count} times. Known are the letters {LETTERS}, \
                 each at most {MAX_REPEATS} times; other letters stand between single quotes."
            ));
        }
    }
    Ok(())
}

/// The parts of a pattern in order: letters, text in quotes, and all other characters as they are.
fn parts(pattern: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let (part, len) = if first == '\'' {
            match rest[1..].find('\'') {
                Some(0) => (Part::Plain("'"), 2),
                // A doubled quote inside is one: this part takes it, and the next begins with it.
                Some(end) if rest[end + 2..].starts_with('\'') => (Part::Plain(&rest[1..end + 2]), end + 2),
                Some(end) => (Part::Plain(&rest[1..=end]), end + 2),
                None => (Part::Plain(&rest[1..]), rest.len()),
            }
        } else if first.is_ascii_alphabetic() {
            let count = rest.chars().take_while(|letter| *letter == first).count();
            (Part::Letter(first, count), count)
        } else {
            (Part::Plain(&rest[..first.len_utf8()]), first.len_utf8())
        };
        rest = &rest[len..];
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::Budget;

    fn format(shape: Shape, pattern: &str) -> Result<String, EvalError> {
        check_pattern(pattern).unwrap();
        let mut budget = Budget::new();
        let mut text = budget.text();
        // 2026-11-05 16:07:09.045 UTC, a Thursday.
        Time::from_millis(1_793_894_829_045, shape)?.format(pattern, &mut text)?;
        Ok(text.finish())
    }

    #[test]
    fn patterns_are_followed() {
        for (pattern, wanted) in [
            ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2026-11-05T16:07:09.045Z"),
            ("EEE, d MMM yy h:mm a z", "Thu, 5 Nov 26 4:07 PM UTC"),
            ("EEEE MMMM D Z ''''", "Thursday November 309 +0000 ''"),
            ("h 'o''clock'", "4 o'clock"),
            ("", ""),
        ] {
            assert_eq!(format(Shape::Zoned, pattern).unwrap(), wanted, "{pattern}");
        }
    }

    #[test]
    fn a_date_has_no_hour_and_a_local_time_no_zone() {
        assert!(format(Shape::Date, "HH").is_err());
        assert!(format(Shape::DateTime, "HH z").is_err());
        assert_eq!(format(Shape::Date, "dd.MM.").unwrap(), "05.11.");
    }

    #[test]
    fn patterns_that_nobody_knows_are_refused() {
        for pattern in ["b", "'open", "SSSSSSSSSS"] {
            assert!(check_pattern(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn calendars_are_kept() {
        let day = Time::from_millis(1_706_659_200_000, Shape::Date).unwrap();
        assert_eq!(day.to_string(), "2024-01-31");
        assert_eq!(day.plus(1, Unit::Months).unwrap().to_string(), "2024-02-29");
        assert!(day.plus(i64::MAX, Unit::Years).is_err());
        assert!(day.plus(1, Unit::Hours).is_err());
    }
}

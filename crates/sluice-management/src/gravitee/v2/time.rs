//! Times as ISO 8601 in UTC, with milliseconds: `2026-11-21T04:48:04.123Z`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use sluice_api::Problem;
use sluice_store::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// Four digits of a year are written; what lies outside has no form.
const MIN_MS: i64 = -62_135_596_800_000;
const MAX_MS: i64 = 253_402_300_799_999;

/// A moment as it is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(pub(super) Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&written(self.0.0))
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// The moment, or the nearest that can be written.
fn written(ms: i64) -> String {
    let ms = ms.clamp(MIN_MS, MAX_MS);
    let (days, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = date(days);
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    let (seconds, millis) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// Reads a moment: a date, `T`, a time with or without a fraction, and `Z` or an offset.
pub(super) fn read(path: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let moment = parse(text).ok_or_else(|| {
        let message = format!("'{text}' is no time; write it as 2026-11-21T04:48:04.123Z.");
        Problem::new(path, "document.field", message)
    })?;
    Ok(Some(Timestamp(moment)))
}

fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut parts = date.splitn(3, '-').map(|part| number(part, part.len()));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (time, offset_minutes) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], offset(&time[at..])?),
        None => return None,
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':').map(|part| number(part, 2));
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let millis = number(&format!("{:0<3}", fraction.get(..fraction.len().min(3))?), 3)?;
    number(fraction, fraction.len())?;
    let valid = date.len() == 10
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hours < 24
        && minutes < 60
        && seconds < 60;
    let ms = ((hours * 60 + minutes - offset_minutes) * 60 + seconds) * 1000 + millis;
    valid.then(|| days_since_1970(year, month, day) * DAY_MS + ms)
}

/// Exactly `digits` digits, at most nine.
fn number(text: &str, digits: usize) -> Option<i64> {
    let fits = text.len() == digits && (1..=9).contains(&digits);
    (fits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = text.split_at(1);
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
    Some(if sign == "-" { -minutes } else { minutes })
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that the day that
/// comes and goes is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_210_096_789, "2024-02-29T12:34:56.789Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0001-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(written(ms), text);
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for ms in (-62_135_596_800_000..253_402_300_799_999_i64).step_by(9_876_543_219_999) {
            assert_eq!(parse(&written(ms)), Some(ms));
        }
    }

    #[test]
    fn offsets_and_fractions_are_understood() {
        for text in [
            "2024-02-29T12:34:56Z",
            "2024-02-29t12:34:56z",
            "2024-02-29T14:34:56+02:00",
            "2024-02-29T07:04:56.000000-05:30",
        ] {
            assert_eq!(parse(text), Some(1_709_210_096_000), "{text}");
        }
        assert_eq!(parse("2024-02-29T12:34:56.7Z"), Some(1_709_210_096_700));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "", "T", "2024-02-30T00:00:00Z", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-1-1T00:00:00Z",
            "2024-01-01T24:00:00Z", "2024-01-01T00:00Z", "2024-01-01T00:00:00", "2024-01-01", "1709210096",
            "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00+99:00", "2024-01-01T00:00:00.äZ", "20240-01-0T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

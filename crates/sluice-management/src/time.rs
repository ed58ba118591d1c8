//! Times as ISO 8601 in UTC, with milliseconds: `2026-11-21T04:48:04.123Z`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use sluice_api::Problem;
use sluice_store::Timestamp;

/// A moment as it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Moment {
    /// So many milliseconds after the beginning of 1970, UTC.
    pub(crate) fn from_ms(ms: u64) -> Self {
        Self(Timestamp(i64::try_from(ms).unwrap_or(i64::MAX)))
    }
}

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

/// The moment, or the nearest of which there is a date.
fn written(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms);
    let nearest = if ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    format!("{:.3}", time.unwrap_or(nearest))
}

/// Reads a moment: a date, `T`, a time with or without a fraction, and `Z` or an offset.
pub(crate) fn read(path: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let moment = parse(text).ok_or_else(|| {
        let message = format!("'{text}' is no time; write it as 2026-11-21T04:48:04.123Z.");
        Problem::new(path, "document.field", message)
    })?;
    Ok(Some(Timestamp(moment)))
}

fn parse(text: &str) -> Option<i64> {
    text.parse().ok().map(jiff::Timestamp::as_millisecond)
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
            (253_402_207_200_999, "9999-12-30T22:00:00.999Z"),
        ] {
            assert_eq!(written(ms), text);
        }
    }

    #[test]
    fn what_has_no_date_is_written_as_the_nearest_that_has() {
        assert!(written(i64::MAX).starts_with("9999-12-30"));
        assert!(written(i64::MIN).starts_with('-'));
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
            "",
            "2024-02-30T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01",
            "1709210096",
            "2024-01-01T00:00:00+99:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

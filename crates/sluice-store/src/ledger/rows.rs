//! Many rows in one statement, as a JSON array, because each statement is a trip to the thread that owns the
//! connection.

use std::iter;

use serde_json::Value;

/// The most rows in one statement.
const ROWS: usize = 1000;

/// The length of an array, in bytes, from which on no further row is added.
const BYTES: usize = 1 << 20;

/// The rows as JSON arrays, each for one statement.
pub(crate) fn in_statements(rows: Vec<Value>) -> impl Iterator<Item = String> {
    let mut rows = rows.into_iter();
    iter::from_fn(move || {
        let mut array = format!("[{}", rows.next()?);
        for row in rows.by_ref().take(ROWS - 1) {
            array.push(',');
            array.push_str(&row.to_string());
            if array.len() >= BYTES {
                break;
            }
        }
        array.push(']');
        Some(array)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lengths(rows: impl IntoIterator<Item = Value>) -> Vec<usize> {
        let length = |array: String| serde_json::from_str::<Vec<Value>>(&array).unwrap().len();
        in_statements(rows.into_iter().collect()).map(length).collect()
    }

    #[test]
    fn a_statement_takes_so_many_rows_and_bytes() {
        assert!(lengths([]).is_empty());
        assert_eq!(lengths((0..ROWS).map(|row| json!([row]))), [ROWS]);
        assert_eq!(lengths((0..=ROWS).map(|row| json!([row]))), [ROWS, 1]);
        let half = json!("x".repeat(BYTES / 2));
        assert_eq!(lengths(iter::repeat_n(half, 5)), [2, 2, 1]);
    }
}

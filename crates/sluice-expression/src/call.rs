//! What a method or a function is given: its arguments, and what is left to spend.

use std::borrow::Cow;

use crate::{bound::Budget, error::EvalError, value::Value};

/// One call under way. The parser has seen to the number of arguments.
pub(crate) struct Call<'c, 'a> {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'c [Value<'a>],
    pub(crate) budget: &'c mut Budget,
}

pub(crate) type Called<'a> = Result<Value<'a>, EvalError>;

impl<'c, 'a> Call<'c, 'a> {
    /// An argument; null where it was left out.
    pub(crate) fn value(&self, index: usize) -> &'c Value<'a> {
        self.arguments.get(index).unwrap_or(&Value::Null)
    }

    /// An argument that has to be a text.
    pub(crate) fn text(&self, index: usize) -> Result<&'c str, EvalError> {
        match self.value(index) {
            Value::Text(text) => Ok(text),
            other => Err(self.unfit(other)),
        }
    }

    /// An argument that has to be a whole number.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, EvalError> {
        match self.value(index) {
            Value::Integer(number) => Ok(*number),
            other => Err(self.unfit(other)),
        }
    }

    /// An argument that has to be a number.
    pub(crate) fn float(&self, index: usize) -> Result<f64, EvalError> {
        let value = self.value(index);
        value.as_float().ok_or_else(|| self.unfit(value))
    }

    /// An argument as text, whatever it is; null shows as such.
    pub(crate) fn shown(&mut self, index: usize) -> Result<Cow<'a, str>, EvalError> {
        match self.value(index) {
            Value::Null => Ok(Cow::Borrowed("null")),
            value => self.budget.show(value),
        }
    }

    pub(crate) fn unfit(&self, found: &Value<'_>) -> EvalError {
        EvalError::Unfit { operation: self.name, found: found.noun() }
    }
}

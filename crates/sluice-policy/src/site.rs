//! The place for which expressions are written: what can be read there is checked when they are parsed, so
//! that one that can never have a value is refused when an API is deployed.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    sync::Arc,
};

use sluice_api::Problem;
use sluice_expression::{Environment, Expression, ExpressionError};

use crate::{Credentials, cel::Condition};

/// Why an expression cannot stand where it does.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The character at which it went wrong, from 1; `None` where it is about the whole.
    pub(crate) column: Option<usize>,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// A place in a definition, as seen by the expressions that stand there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) environment: &'a Environment,
    /// The keys and secrets of the API, for policies that keep them at hand.
    pub(crate) credentials: &'a Arc<Credentials>,
    /// Whether there is a message.
    pub(crate) has_message: bool,
    pub(crate) needs: &'a Needs,
}

/// What the parts of an API turn out to need while it is compiled.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// The HTTP request of each client.
    pub(crate) request: Cell<bool>,
    /// Values that policies choose for settings of connections.
    pub(crate) client_settings: Cell<bool>,
    /// Headers that must not get to a broker, in lower case.
    pub(crate) withheld: RefCell<BTreeSet<Box<str>>>,
}

impl Site<'_> {
    /// The same place before or after messages.
    pub(crate) const fn with_messages(self, has_message: bool) -> Self {
        Self { has_message, ..self }
    }

    /// Asks for the HTTP request of each client.
    pub(crate) fn read_request(&self) {
        self.needs.request.set(true);
    }

    /// Lets policies choose values for settings of connections.
    pub(crate) fn choose_settings(&self) {
        self.needs.client_settings.set(true);
    }

    /// Keeps a header of clients from the broker.
    pub(crate) fn withhold(&self, header: &str) {
        self.needs.withheld.borrow_mut().insert(header.to_ascii_lowercase().into());
    }

    /// Parses a text that may have expressions in it; a problem is told at `path`.
    pub(crate) fn text(&self, path: &str, source: &str) -> Result<Expression, Problem> {
        self.parse(source).map_err(|Refused { column, code, message }| {
            let message =
                column.map_or_else(|| message.clone(), |column| format!("Column {column}: {message}"));
            Problem::new(path, code, message)
        })
    }

    /// Parses a text that may have expressions in it.
    pub(crate) fn parse(&self, source: &str) -> Result<Expression, Refused> {
        let expression = Expression::parse(source).map_err(|ExpressionError { column, message }| {
            Refused { column: Some(column), code: "expression.invalid", message }
        })?;
        let refuse = |code, message: String| Err(Refused { column: None, code, message });
        if expression.reads_message() && !self.has_message {
            let message = "There is no message to read here: #message is for publish and deliver.";
            return refuse("expression.invalid", message.to_owned());
        }
        if let Some(name) = expression.secrets().find(|name| !self.environment.secrets.contains_key(*name)) {
            return refuse(
                "expression.secret.unknown",
                format!("There is no secret '{name}'. Add it to the secrets of the gateway."),
            );
        }
        let mut dictionaries = expression.dictionaries();
        if let Some(name) = dictionaries.find(|name| !self.environment.dictionaries.contains_key(*name)) {
            return refuse(
                "expression.dictionary.unknown",
                format!("There is no dictionary '{name}'. Add it to the dictionaries of the gateway."),
            );
        }
        drop(dictionaries);
        if expression.reads_request() {
            self.read_request();
        }
        Ok(expression)
    }

    /// Parses an expression that is to be true or false.
    pub(crate) fn condition(&self, path: &str, source: &str) -> Result<Expression, Problem> {
        let expression = self.text(path, source)?;
        // Without braces it is a plain text, true for no message. Nobody means that, and a filter that is never
        // asked for protects nothing.
        if expression.is_plain() && !matches!(source.trim(), "true" | "false") {
            let message = "There is no expression in this text, so it would never be true. Write it in \
                           braces, as in {#message.headers['x'] == 'y'}.";
            return Err(Problem::new(path, "expression.invalid", message));
        }
        Ok(expression)
    }

    /// Parses the CEL condition of a step, which may be left out.
    pub(crate) fn execution(&self, path: &str, source: Option<&str>) -> Result<Option<Condition>, Problem> {
        let Some(source) = source.filter(|source| !source.trim().is_empty()) else { return Ok(None) };
        let condition = Condition::parse(source, self.has_message);
        let condition = condition.map_err(|message| Problem::new(path, "expression.invalid", message))?;
        if condition.reads_request() {
            self.read_request();
        }
        Ok(Some(condition))
    }

    /// Parses a condition that may be left out; a blank one is none, as both dialects have it.
    pub(crate) fn optional(&self, path: &str, source: Option<&str>) -> Result<Option<Expression>, Problem> {
        let written = source.filter(|source| !source.trim().is_empty());
        written.map(|source| self.condition(path, source)).transpose()
    }
}

/// The parts of a list that were understood, or everything that is wrong with the others.
pub(crate) fn all<T>(parts: impl IntoIterator<Item = Result<T, Problem>>) -> Result<Vec<T>, Vec<Problem>> {
    let (mut good, mut problems) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Ok(part) => good.push(part),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(good) } else { Err(problems) }
}

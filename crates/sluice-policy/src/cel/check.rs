//! What can be told of an expression before it is evaluated: names that there are not, and what would cost too much.

use std::collections::BTreeMap;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};
use regex::{Regex, RegexBuilder};

/// How deep parts may stand in each other. Evaluation takes much of the stack for each.
const DEEPEST: usize = 16;
/// As much memory as a pattern may take when compiled, in bytes.
const PATTERN_BYTES: usize = 64 << 10;

/// The variables that there are, with what they have in them.
const VARIABLES: [(&str, &[&str]); 6] = [
    ("api", &["id", "name", "version"]),
    ("channel", &[]),
    ("message", &["headers", "json", "key", "payload"]),
    ("request", &["headers", "host", "method", "params", "path", "remoteAddress"]),
    ("roles", &[]),
    ("subject", &[]),
];

/// The functions that there are, beside operators and macros.
const FUNCTIONS: [&str; 13] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

/// The names of types, to compare what `type` gives with.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// One walk through an expression.
pub(super) struct Check<'e> {
    has_message: bool,
    /// The variables of the loops around.
    bound: Vec<&'e str>,
    pub(super) reads_request: bool,
    pub(super) patterns: BTreeMap<String, Regex>,
}

impl<'e> Check<'e> {
    pub(super) const fn new(has_message: bool) -> Self {
        Self { has_message, bound: Vec::new(), reads_request: false, patterns: BTreeMap::new() }
    }

    pub(super) fn whole(&mut self, expression: &'e IdedExpr) -> Result<(), String> {
        self.part(expression, 1)
    }

    fn part(&mut self, part: &'e IdedExpr, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("The parts of a condition stand in each other at most {DEEPEST} deep."));
        }
        let inside = depth + 1;
        match &part.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select, inside),
            Expr::Call(call) => self.call(call, inside),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, inside),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.part(element, inside)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.part(&entry.key, inside)?;
                    self.part(&entry.value, inside)
                }
                EntryExpr::StructField(_) => Err(no_types()),
            }),
            Expr::Struct(_) | Expr::Unspecified => Err(no_types()),
        }
    }

    fn variable(&mut self, name: &str) -> Result<(), String> {
        if self.is_bound(name) {
            return Ok(());
        }
        match name {
            "message" if !self.has_message => {
                Err("There is no message to read here: 'message' is for publish and deliver.".to_owned())
            }
            "request" => {
                self.reads_request = true;
                Ok(())
            }
            _ if members(name).is_some() || TYPES.contains(&name) => Ok(()),
            _ => {
                let known = VARIABLES.map(|(name, _)| name).join(", ");
                Err(format!("There is no variable '{name}'. Known are: {known}."))
            }
        }
    }

    fn select(&mut self, select: &'e SelectExpr, depth: usize) -> Result<(), String> {
        self.part(&select.operand, depth)?;
        let Expr::Ident(name) = &select.operand.expr else { return Ok(()) };
        let Some(members) = members(name).filter(|_| !self.is_bound(name)) else { return Ok(()) };
        if members.contains(&&*select.field) {
            return Ok(());
        }
        let field = &select.field;
        let known = if members.is_empty() { "nothing".to_owned() } else { members.join(", ") };
        Err(format!("'{name}' has no '{field}' in it. It has: {known}."))
    }

    fn call(&mut self, call: &'e CallExpr, depth: usize) -> Result<(), String> {
        let name = &*call.func_name;
        // Operators have signs for names.
        if name.starts_with(|first: char| first.is_alphabetic()) && !FUNCTIONS.contains(&name) {
            let known = FUNCTIONS.join(", ");
            return Err(format!("There is no function '{name}'. Known are: {known}."));
        }
        if name == "matches" {
            self.pattern(call)?;
        }
        call.target.iter().try_for_each(|target| self.part(target, depth))?;
        call.args.iter().try_for_each(|argument| self.part(argument, depth))
    }

    /// Patterns are compiled once, so what they are has to stand in the text.
    fn pattern(&mut self, call: &CallExpr) -> Result<(), String> {
        let Some(Expr::Literal(LiteralValue::String(pattern))) = call.args.last().map(|last| &last.expr)
        else {
            return Err("What 'matches' compares with has to be a text in quotes.".to_owned());
        };
        let pattern = pattern.inner();
        let regex = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
        let regex = regex.map_err(|_| format!("'{pattern}' is no pattern, or one that is too large."))?;
        self.patterns.insert(pattern.to_owned(), regex);
        Ok(())
    }

    fn comprehension(&mut self, comprehension: &'e ComprehensionExpr, depth: usize) -> Result<(), String> {
        self.part(&comprehension.iter_range, depth)?;
        self.part(&comprehension.accu_init, depth)?;
        if !self.bound.is_empty() {
            return Err("A loop (all, exists, exists_one, filter, map) cannot stand in another.".to_owned());
        }
        self.bound.extend([&*comprehension.iter_var, &*comprehension.accu_var]);
        self.bound.extend(comprehension.iter_var2.as_deref());
        for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
            self.part(part, depth)?;
        }
        self.bound.clear();
        Ok(())
    }

    fn is_bound(&self, name: &str) -> bool {
        self.bound.contains(&name)
    }
}

fn members(variable: &str) -> Option<&'static [&'static str]> {
    VARIABLES.iter().find(|(name, _)| *name == variable).map(|(_, members)| *members)
}

fn no_types() -> String {
    "There are no types here of which something could be made.".to_owned()
}

//! The `{#…}` language, in which filters and conditions are written: lexer, parser, a tree that is built
//! once, and its evaluation. No I/O, no policy; the callers decide what follows from a value.
//!
//! ```
//! use sluice_expression::{EvalContext, Expression};
//! use sluice_message::Message;
//!
//! let filter = Expression::parse("{#jsonPath(#message.content, '$.feature') == 'demo'}")?;
//! let message = Message::builder().payload(r#"{"feature":"demo"}"#).build();
//! assert!(filter.holds(&EvalContext::new().with_message(&message)).unwrap());
//!
//! let error = Expression::parse("{#message.colour}").unwrap_err();
//! assert_eq!(error.column, 11);
//! # Ok::<(), sluice_expression::ExpressionError>(())
//! ```
//!
//! What is not known is refused when an expression is parsed, with the column. Evaluation never panics and
//! always ends: the tree, the patterns, the text made and the JSON walked are all bounded.

mod base64;
mod bound;
mod call;
mod class;
mod context;
mod document;
mod environment;
mod error;
mod evaluate;
mod expression;
mod format;
mod function;
mod jsonpath;
mod lexer;
mod map;
mod method;
mod operator;
mod parser;
mod pattern;
mod request;
mod root;
mod time;
mod tree;
mod value;
mod xpath;

pub use base64::Base64;
pub use context::{EvalContext, Subscription, SubscriptionKind};
pub use environment::{Api, Environment, Node};
pub use error::{EvalError, ExpressionError};
pub use expression::{Expression, Piece};
pub use map::{Entries, Map};
pub use request::{Request, Response};
pub use time::Time;
pub use value::Value;

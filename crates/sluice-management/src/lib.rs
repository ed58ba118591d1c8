//! Managing event APIs: the registry that all ways of managing go through, and the REST contracts over it.
//!
//! [`Registry`] decides what is kept and what runs; [`router`] serves the REST contracts;
//! [`Auth`] lets the administrator in; [`read_definition`] reads files in any notation. No message
//! passes through here.

mod auth;
mod contract;
mod definition;
mod gravitee;
mod key_words;
mod native;
mod options;
mod page;
mod refusal;
mod registry;
mod replay;
mod request;
mod rest;
mod schema;
mod time;
mod wso2;

pub use auth::{Auth, DEFAULT_PASSWORD, Password, USER};
pub use definition::read_definition;
pub use options::ManagementOptions;
pub use registry::{
    Decision, Expected, FileDefinition, ManagedApi, NewApiKey, NewApplication, NewSubscription, Origin,
    Registry, RegistryError, Side, SubscriptionFilter, SubscriptionUpdate,
};
pub use rest::router;

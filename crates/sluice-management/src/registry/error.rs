//! Why the registry did not do what it was asked.

use std::path::PathBuf;

use sluice_api::{ApiId, ApplicationId, PlanId, Problem, SubscriptionId};
use sluice_broker::DriverError;
use sluice_delivery::ReplayError;
use sluice_store::StoreError;

/// A refused or failed call to the registry. Nothing was changed, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no such event API.
    #[error("Api [{0}] can not be found.")]
    ApiNotFound(ApiId),
    /// The event API has no such plan.
    #[error("Plan [{0}] can not be found.")]
    PlanNotFound(PlanId),
    /// There is no such application.
    #[error("Application [{0}] can not be found.")]
    ApplicationNotFound(ApplicationId),
    /// There is no such subscription.
    #[error("Subscription [{0}] can not be found.")]
    SubscriptionNotFound(SubscriptionId),
    /// The event API has no such key.
    #[error("API key [{0}] can not be found.")]
    ApiKeyNotFound(String),
    /// The event API has no such webhook secret.
    #[error("Webhook secret [{0}] can not be found.")]
    WebhookSecretNotFound(String),
    /// What there is already, or as much as there may be, stands against it.
    #[error("{0}")]
    Conflict(Problem),
    /// A definition breaks rules, or the step is not possible from where the API or plan is.
    #[error("{}", sentences(.0))]
    Invalid(Vec<Problem>),
    /// The event API comes from a file and is changed there.
    #[error("Api [{id}] is managed by the file {}; change it there.", .file.display())]
    ManagedByFile {
        /// The event API.
        id: ApiId,
        /// Its file.
        file: PathBuf,
    },
    /// Somebody else changed the event API after the caller last saw it.
    #[error("Api [{0}] was changed meanwhile; read it again and repeat the change.")]
    Outdated(ApiId),
    /// The record in the store cannot be read; it can only be deleted.
    #[error("Api [{id}] can not be read from the store: {reason}")]
    Unreadable {
        /// The event API.
        id: ApiId,
        /// What is wrong with its record.
        reason: String,
    },
    /// The change is kept, but the gateway refused to serve it although it had agreed before.
    #[error("Api [{id}] is kept, but can not be served: {}", sentences(.problems))]
    NotServed {
        /// The event API.
        id: ApiId,
        /// What the gateway said.
        problems: Vec<Problem>,
    },
    /// Messages of a subscription are not delivered once more.
    #[error(transparent)]
    NotReplayed(#[from] ReplayError),
    /// The spool of the event API could not be written to.
    #[error("The spool of the API can not be written to: {0}")]
    Spool(DriverError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change broke off inside the gateway; what came of it shows when the API is read again.
    #[error("The change broke off: {0}.")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl RegistryError {
    /// A step that is not possible now.
    pub(crate) fn refused(path: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Problem::new(path, code, message)])
    }

    /// The same with its problems at the fields that a client of a contract wrote.
    pub(crate) fn at(self, field: impl Fn(&str) -> String) -> Self {
        let renamed = |problem: Problem| Problem { path: field(&problem.path), ..problem };
        match self {
            Self::Invalid(problems) => Self::Invalid(problems.into_iter().map(renamed).collect()),
            Self::NotServed { id, problems } => {
                Self::NotServed { id, problems: problems.into_iter().map(renamed).collect() }
            }
            Self::Conflict(problem) if !problem.path.is_empty() => Self::Conflict(renamed(problem)),
            other => other,
        }
    }

    /// Something that is there already stands against it.
    pub(crate) fn conflict(path: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict(Problem::new(path, code, message))
    }
}

pub(crate) fn sentences(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

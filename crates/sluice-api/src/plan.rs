//! Plans: who may use an event API.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Flow, Secret, flow};

/// The id of a plan: letters, digits, `-`, `_` and `.`, at most 64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PlanId(pub String);

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Terms of use: which credential is asked for, and which policies run for those who use it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// Unique within the API. In a file it may be left out and is then made from the name.
    #[serde(default)]
    pub id: PlanId,
    /// For people; required.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// The credential that is asked for.
    pub security: PlanSecurity,
    /// An expression on the request; where it is not true, the plan is passed over as if it were not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_rule: Option<String>,
    /// Whether somebody has to agree to a subscription that a consumer asks for. Default `manual`.
    #[serde(default)]
    pub validation: PlanValidation,
    /// Where the plan is in its life. Default `published`.
    #[serde(default)]
    pub status: PlanStatus,
    /// Policies for those who use this plan; they run before the API's own.
    #[serde(default)]
    pub flows: Vec<Flow>,
}

impl Plan {
    /// Every secret of the plan with its field path, in a stable order; see
    /// [`EventApi::secrets_mut`](crate::EventApi::secrets_mut).
    pub fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        flow::secrets_mut("flows", &mut self.flows)
    }
}

/// The credential that a plan asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PlanSecurity {
    /// None: everybody may.
    KeyLess,
    /// None, because nobody comes: subscribers are called.
    Push,
}

/// Who agrees to a subscription that a consumer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanValidation {
    /// Nobody needs to.
    Auto,
    /// The publisher of the API.
    #[default]
    Manual,
}

/// Where a plan is in its life: staging, published, deprecated, closed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanStatus {
    /// Being written; admits nobody.
    Staging,
    /// In use.
    #[default]
    Published,
    /// In use by those who have it, not to be had anew.
    Deprecated,
    /// Over; admits nobody.
    Closed,
}

impl PlanStatus {
    /// Whether requests are admitted by a plan of this status.
    pub const fn admits(self) -> bool {
        matches!(self, Self::Published | Self::Deprecated)
    }
}

//! A request to a WebSub hub that was answered and is not settled yet, as it is kept. Data only; what it asks for is
//! done elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_api::{ApiId, HubTerms, PlanId};

use crate::Timestamp;

/// A request that is not settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubRequestRecord {
    /// Its id, unique among all requests.
    pub id: String,
    /// The API.
    pub api: ApiId,
    /// Its channel.
    pub channel: String,
    /// The plan by which it was admitted.
    pub plan: PlanId,
    /// What is asked for.
    pub mode: HubMode,
    /// Who is to be called.
    pub callback: String,
    /// What will be agreed on.
    pub terms: HubTerms,
    /// What policies have noted about the subscriber, for filters.
    pub metadata: BTreeMap<String, String>,
    /// Where a new subscription begins; `None` where it is to unsubscribe.
    pub begins: Option<HubBeginning>,
    /// When it was answered.
    pub received_at: Timestamp,
}

/// What a subscriber asks a hub for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HubMode {
    /// To be called.
    Subscribe,
    /// Not to be called any more.
    Unsubscribe,
}

/// How far a channel had come at the moment of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubBeginning {
    /// At which broker, by its driver's identity.
    pub broker: String,
    /// The position, as its text.
    pub position: String,
}

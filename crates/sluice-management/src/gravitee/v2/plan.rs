//! A plan as the contract answers it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sluice_api::{ApiId, PlanId, PlanSecurity, PlanStatus, PlanValidation};
use sluice_store::PlanRecord;

use super::flows::FlowEntity;
use crate::{
    gravitee::catalogue::{PlanCatalogue, kept},
    time::Moment,
};

/// A plan as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Plan")]
pub(super) struct PlanEntity {
    id: PlanId,
    api_id: ApiId,
    #[serde(skip_serializing_if = "Option::is_none")]
    cross_id: Option<String>,
    name: String,
    description: String,
    definition_version: &'static str,
    /// `STANDARD`, or `PUSH` for subscribers that are called.
    mode: &'static str,
    /// The credential that is asked for; none where subscribers are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<SecurityEntity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selection_rule: Option<String>,
    validation: &'static str,
    status: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    order: i64,
    characteristics: Vec<String>,
    comment_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    general_conditions: Option<String>,
    excluded_groups: Vec<String>,
    tags: Vec<String>,
    flows: Vec<FlowEntity>,
    created_at: Moment,
    updated_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Moment>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlanSecurity")]
struct SecurityEntity {
    #[serde(rename = "type")]
    kind: &'static str,
    configuration: Value,
}

impl PlanEntity {
    pub(super) fn of(api: &ApiId, record: &PlanRecord) -> Self {
        let (plan, catalogue): (_, PlanCatalogue) = (&record.plan, kept(&record.catalogue));
        Self {
            id: plan.id.clone(),
            api_id: api.clone(),
            cross_id: catalogue.cross_id,
            name: plan.name.clone(),
            description: plan.description.clone(),
            definition_version: "V4",
            mode: mode(&plan.security),
            security: security(&plan.security)
                .map(|kind| SecurityEntity { kind, configuration: Value::Object(serde_json::Map::new()) }),
            selection_rule: plan.selection_rule.clone(),
            validation: validation(plan.validation),
            status: status(plan.status),
            kind: "API",
            order: catalogue.order,
            characteristics: catalogue.characteristics,
            comment_required: catalogue.comment_required,
            comment_message: catalogue.comment_message,
            general_conditions: catalogue.general_conditions,
            excluded_groups: catalogue.excluded_groups,
            tags: catalogue.tags,
            flows: plan.flows.iter().map(FlowEntity::of).collect(),
            created_at: Moment(record.created_at),
            updated_at: Moment(record.updated_at),
            published_at: record.published_at.map(Moment),
            closed_at: record.closed_at.map(Moment),
        }
    }
}

/// How subscribers get messages.
pub(super) const fn mode(security: &PlanSecurity) -> &'static str {
    match security {
        PlanSecurity::KeyLess => "STANDARD",
        PlanSecurity::Push => "PUSH",
    }
}

/// The credential, where one is asked for.
pub(super) const fn security(security: &PlanSecurity) -> Option<&'static str> {
    match security {
        PlanSecurity::KeyLess => Some("KEY_LESS"),
        PlanSecurity::Push => None,
    }
}

const fn validation(validation: PlanValidation) -> &'static str {
    match validation {
        PlanValidation::Auto => "AUTO",
        PlanValidation::Manual => "MANUAL",
    }
}

/// Where the plan is in its life.
pub(super) const fn status(status: PlanStatus) -> &'static str {
    match status {
        PlanStatus::Staging => "STAGING",
        PlanStatus::Published => "PUBLISHED",
        PlanStatus::Deprecated => "DEPRECATED",
        PlanStatus::Closed => "CLOSED",
    }
}

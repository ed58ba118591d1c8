//! Plans between the contract and the domain.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sluice_api::{ApiId, Plan, PlanId, PlanSecurity, PlanStatus, Problem, from_value};
use sluice_store::{PlanRecord, Timestamp};

use super::{
    catalogue::{PlanCatalogue, kept},
    flows::{FlowEntity, WrittenFlow, read_flows},
    read::unsupported,
    word,
};

/// A plan as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPlan {
    id: Option<String>,
    name: Option<String>,
    description: Option<String>,
    status: Option<String>,
    mode: Option<String>,
    security: Option<WrittenSecurity>,
    selection_rule: Option<String>,
    flows: Option<Vec<WrittenFlow>>,
    order: Option<i64>,
    characteristics: Option<Vec<String>>,
    comment_required: Option<bool>,
    comment_message: Option<String>,
    general_conditions: Option<String>,
    cross_id: Option<String>,
    excluded_groups: Option<Vec<String>>,
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct WrittenSecurity {
    #[serde(rename = "type")]
    kind: Option<String>,
    configuration: Option<Value>,
}

/// A plan that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ReadPlan {
    pub(super) plan: Plan,
    pub(super) catalogue: PlanCatalogue,
}

impl From<&PlanRecord> for ReadPlan {
    fn from(record: &PlanRecord) -> Self {
        Self { plan: record.plan.clone(), catalogue: kept(&record.catalogue) }
    }
}

/// Reads one plan. Where it does not say, it has this status and this security, and an empty id.
pub(super) fn read_plan(
    document: Value,
    status: PlanStatus,
    security: Option<&PlanSecurity>,
) -> Result<ReadPlan, Vec<Problem>> {
    let written: WrittenPlan = from_value(document).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let name = written.name.filter(|name| !name.trim().is_empty());
    if name.is_none() {
        problems.push(Problem::new("name", "field.required", "A plan needs a name."));
    }
    let plan = Plan {
        id: PlanId(written.id.unwrap_or_default()),
        name: name.unwrap_or_default(),
        description: written.description.unwrap_or_default(),
        security: read_security(written.security, security, &mut problems),
        status: read_status(written.status.as_deref(), status, &mut problems),
        flows: read_flows(written.flows, "flows", &mut problems),
    };
    if written.selection_rule.is_some_and(|rule| !rule.trim().is_empty()) {
        problems.push(unsupported("selectionRule", "A rule that selects the plan"));
    }
    if written.mode.is_some_and(|mode| word(&mode) != "standard") {
        problems.push(unsupported("mode", "A plan of another mode than 'standard'"));
    }
    let catalogue = PlanCatalogue {
        order: written.order.unwrap_or_default(),
        characteristics: written.characteristics.unwrap_or_default(),
        comment_required: written.comment_required.unwrap_or_default(),
        comment_message: written.comment_message,
        general_conditions: written.general_conditions,
        cross_id: written.cross_id,
        excluded_groups: written.excluded_groups.unwrap_or_default(),
        tags: written.tags.unwrap_or_default(),
    };
    if problems.is_empty() { Ok(ReadPlan { plan, catalogue }) } else { Err(problems) }
}

/// Reads the plans of a definition, a list or a map by id.
pub(super) fn read_plans(plans: Option<Value>, problems: &mut Vec<Problem>) -> Vec<ReadPlan> {
    let plans: Vec<(String, Option<String>, Value)> = match plans {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(plans)) => {
            let indexed = plans.into_iter().enumerate();
            indexed.map(|(index, plan)| (format!("plans[{index}]"), None, plan)).collect()
        }
        Some(Value::Object(plans)) => {
            plans.into_iter().map(|(id, plan)| (format!("plans.{id}"), Some(id), plan)).collect()
        }
        Some(_) => {
            let message = "Plans are a list, or a map by id.";
            problems.push(Problem::new("plans", "document.field", message));
            Vec::new()
        }
    };
    let mut read = Vec::new();
    for (path, id, plan) in plans {
        match read_plan(plan, PlanStatus::Published, None) {
            Ok(mut plan) => {
                plan.plan.id.0 = id.filter(|_| plan.plan.id.0.is_empty()).unwrap_or(plan.plan.id.0);
                read.push(plan);
            }
            Err(found) => problems.extend(found.into_iter().map(|problem| problem.within(&path))),
        }
    }
    read
}

fn read_security(
    security: Option<WrittenSecurity>,
    default: Option<&PlanSecurity>,
    problems: &mut Vec<Problem>,
) -> PlanSecurity {
    if let (None, Some(default)) = (&security, default) {
        return default.clone();
    }
    let kind = security.as_ref().and_then(|security| security.kind.as_deref()).map(word);
    let problem = match kind.as_deref() {
        Some("key-less" | "keyless") => {
            let settings = security.and_then(|security| security.configuration);
            let none = match settings {
                None | Some(Value::Null) => true,
                Some(settings) => settings.as_object().is_some_and(Map::is_empty),
            };
            let message = "A plan without a key has nothing to configure.";
            (!none).then(|| Problem::new("security.configuration", "plan.security.invalid", message))
        }
        Some(other) => {
            let message =
                format!("Plans with the security '{other}' can not be honoured yet; write 'key-less'.");
            Some(Problem::new("security.type", "plan.security.unsupported", message))
        }
        None => {
            let message = "Say which credential the plan asks for, for example 'key-less'.";
            Some(Problem::new("security.type", "field.required", message))
        }
    };
    problems.extend(problem);
    PlanSecurity::KeyLess
}

fn read_status(status: Option<&str>, default: PlanStatus, problems: &mut Vec<Problem>) -> PlanStatus {
    match status.map(word).as_deref() {
        None => default,
        Some("staging") => PlanStatus::Staging,
        Some("published") => PlanStatus::Published,
        Some("deprecated") => PlanStatus::Deprecated,
        Some("closed") => PlanStatus::Closed,
        Some(other) => {
            let message = format!("'{other}' is none of staging, published, deprecated, closed.");
            problems.push(Problem::new("status", "plan.status.invalid", message));
            default
        }
    }
}

/// A plan as it is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlanEntity<'a> {
    id: &'a PlanId,
    name: &'a str,
    description: &'a str,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Timestamp>,
    validation: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    security: &'a PlanSecurity,
    flows: Vec<FlowEntity<'a>>,
    status: PlanStatus,
    api_id: &'a ApiId,
    #[serde(flatten)]
    catalogue: PlanCatalogue,
    plan_status: PlanStatus,
    plan_security: &'a PlanSecurity,
    plan_validation: &'static str,
}

impl<'a> PlanEntity<'a> {
    pub(super) fn of(api_id: &'a ApiId, record: &'a PlanRecord) -> Self {
        let plan = &record.plan;
        // Nobody is asked for anything, so there is nothing to approve.
        let validation = match plan.security {
            PlanSecurity::KeyLess => "auto",
        };
        Self {
            id: &plan.id,
            name: &plan.name,
            description: &plan.description,
            created_at: record.created_at,
            updated_at: record.updated_at,
            published_at: record.published_at,
            closed_at: record.closed_at,
            validation,
            kind: "api",
            security: &plan.security,
            flows: plan.flows.iter().map(FlowEntity::of).collect(),
            status: plan.status,
            api_id,
            catalogue: kept(&record.catalogue),
            plan_status: plan.status,
            plan_security: &plan.security,
            plan_validation: validation,
        }
    }
}

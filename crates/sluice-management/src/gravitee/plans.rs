//! Plans between the contract and the domain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sluice_api::{ApiId, Plan, PlanId, PlanSecurity, PlanStatus, PlanValidation, Problem, from_value};
use sluice_store::{PlanRecord, Timestamp};

use super::{
    catalogue::{PlanCatalogue, kept},
    flows::{FlowEntity, WrittenFlow, read_flows},
    word,
};
use crate::registry::unmask_plan;

/// A plan as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewPlan")]
pub(super) struct WrittenPlan {
    id: Option<String>,
    name: Option<String>,
    description: Option<String>,
    status: Option<String>,
    mode: Option<String>,
    security: Option<WrittenSecurity>,
    selection_rule: Option<String>,
    validation: Option<String>,
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

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewPlanSecurity")]
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
        let mut plan = record.plan.clone();
        plan.validation = validation(&plan);
        Self { plan, catalogue: kept(&record.catalogue) }
    }
}

impl ReadPlan {
    /// Whether this is the plan of a record as it is shown, with masks in place of secrets.
    pub(super) fn shows(&self, record: &PlanRecord) -> bool {
        let mut shown = self.clone();
        unmask_plan(&mut shown.plan, Some(&record.plan)).is_empty() && shown == Self::from(record)
    }
}

/// Reads one plan. Where it does not say, it has this status, the security and validation of the former one,
/// and an empty id.
pub(super) fn read_plan(
    document: Value,
    status: PlanStatus,
    former: Option<&Plan>,
) -> Result<ReadPlan, Vec<Problem>> {
    let written: WrittenPlan = from_value(document).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let name = written.name.filter(|name| !name.trim().is_empty());
    if name.is_none() {
        problems.push(Problem::new("name", "field.required", "A plan needs a name."));
    }
    let security = read_security(
        written.security,
        written.mode.as_deref(),
        former.map(|plan| &plan.security),
        &mut problems,
    );
    let plan = Plan {
        id: PlanId(written.id.unwrap_or_default()),
        name: name.unwrap_or_default(),
        description: written.description.unwrap_or_default(),
        validation: read_validation(written.validation.as_deref(), &security, former, &mut problems),
        security,
        selection_rule: written.selection_rule.filter(|rule| !rule.trim().is_empty()),
        status: read_status(written.status.as_deref(), status, &mut problems),
        flows: read_flows(written.flows, "flows", &mut problems),
    };
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

/// The two contracts write a plan whose subscribers are called as a security or as a mode.
fn read_security(
    security: Option<WrittenSecurity>,
    mode: Option<&str>,
    former: Option<&PlanSecurity>,
    problems: &mut Vec<Problem>,
) -> PlanSecurity {
    let mode = mode.map(word);
    let kind = security.as_ref().and_then(|security| security.kind.as_deref()).map(word);
    let read = match (mode.as_deref(), kind.as_deref()) {
        (Some("push"), None) | (None | Some("push"), Some("subscription" | "push")) => PlanSecurity::Push,
        (None | Some("standard"), Some("key-less" | "keyless")) => PlanSecurity::KeyLess,
        (None | Some("standard"), None) => {
            let Some(former) = former else {
                let message = "Say which credential the plan asks for, for example 'key-less'.";
                problems.push(Problem::new("security.type", "field.required", message));
                return PlanSecurity::KeyLess;
            };
            former.clone()
        }
        (None | Some("standard" | "push"), Some(other)) => {
            let message = format!(
                "Plans with the security '{other}' can not be honoured yet, or not in this mode; write \
                 'key-less' or 'subscription'."
            );
            problems.push(Problem::new("security.type", "plan.security.unsupported", message));
            return PlanSecurity::KeyLess;
        }
        (Some(other), _) => {
            let message = format!("'{other}' is no mode of a plan; write 'standard' or 'push'.");
            problems.push(Problem::new("mode", "plan.mode.invalid", message));
            return PlanSecurity::KeyLess;
        }
    };
    let settings = security.and_then(|security| security.configuration);
    if settings.is_some_and(|settings| !is_nothing(&settings)) {
        let message = "A plan without a key has nothing to configure.";
        problems.push(Problem::new("security.configuration", "plan.security.invalid", message));
    }
    read
}

fn is_nothing(settings: &Value) -> bool {
    settings.is_null() || settings.as_object().is_some_and(Map::is_empty)
}

/// Without a key nobody is asked for anything, so there is nothing to agree to.
fn read_validation(
    validation: Option<&str>,
    security: &PlanSecurity,
    former: Option<&Plan>,
    problems: &mut Vec<Problem>,
) -> PlanValidation {
    match validation.map(word).as_deref() {
        None | Some("auto" | "manual") if *security == PlanSecurity::KeyLess => PlanValidation::Auto,
        None => former.map(|plan| plan.validation).unwrap_or_default(),
        Some("auto") => PlanValidation::Auto,
        Some("manual") => PlanValidation::Manual,
        Some(other) => {
            let message = format!("'{other}' is neither of auto, manual.");
            problems.push(Problem::new("validation", "plan.validation.invalid", message));
            PlanValidation::default()
        }
    }
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
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Plan")]
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
    validation: PlanValidation,
    #[serde(rename = "type")]
    kind: &'static str,
    security: SecurityEntity,
    #[serde(skip_serializing_if = "Option::is_none")]
    selection_rule: Option<&'a str>,
    flows: Vec<FlowEntity<'a>>,
    status: PlanStatus,
    api_id: &'a ApiId,
    #[serde(flatten)]
    catalogue: PlanCatalogue,
    plan_status: PlanStatus,
    plan_security: SecurityEntity,
    plan_validation: PlanValidation,
}

/// Who agrees to subscriptions. To a key-less plan there are none, whatever a definition in a file says.
pub(super) fn validation(plan: &Plan) -> PlanValidation {
    match plan.security {
        PlanSecurity::KeyLess => PlanValidation::Auto,
        PlanSecurity::Push => plan.validation,
    }
}

/// The credential of a plan as it is answered.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "PlanSecurity")]
pub(super) struct SecurityEntity {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

impl SecurityEntity {
    pub(super) const fn of(security: &PlanSecurity) -> Self {
        let kind = match security {
            PlanSecurity::KeyLess => "key-less",
            PlanSecurity::Push => "subscription",
        };
        Self { kind }
    }
}

impl<'a> PlanEntity<'a> {
    pub(super) fn of(api_id: &'a ApiId, record: &'a PlanRecord) -> Self {
        let plan = &record.plan;
        let validation = validation(plan);
        let security = SecurityEntity::of(&plan.security);
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
            security,
            selection_rule: plan.selection_rule.as_deref(),
            flows: plan.flows.iter().map(FlowEntity::of).collect(),
            status: plan.status,
            api_id,
            catalogue: kept(&record.catalogue),
            plan_status: plan.status,
            plan_security: security,
            plan_validation: validation,
        }
    }
}

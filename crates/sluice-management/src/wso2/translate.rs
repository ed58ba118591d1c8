//! From a resource to an event API: templates are read, then everything that is wrong is told at its field.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_api::{
    ApiId, EventApi, Guarantees, Limits, Plan, PlanId, PlanSecurity, PlanStatus, PlanValidation, Problem,
    from_value,
};

use super::{
    entity::Kept,
    fields::Fields,
    render::render,
    resource::{Common, DeploymentState, Kind, Metadata, Resource, WebBrokerApi, WebSubApi},
    stale, webbroker, websub,
};
use crate::ManagementOptions;

/// What a resource says.
pub(super) struct Read {
    /// With one plan, by which everybody is admitted: who may come is the policies' to say.
    pub(super) api: EventApi,
    /// What is kept beside it.
    pub(super) kept: Kept,
    /// Whether it is to be served.
    pub(super) state: DeploymentState,
    /// The UUID by which a control plane knows it.
    pub(super) artifact_id: Option<String>,
    /// Where its parts stand.
    pub(super) fields: Fields,
}

/// Reads a resource of this kind and checks it by itself.
pub(super) fn read(document: Value, kind: Kind, options: &ManagementOptions) -> Result<Read, Vec<Problem>> {
    refused(stale::problems(&document, kind))?;
    let mut rendered = document.clone();
    refused(render(&mut rendered, options))?;
    let one_receiver = as_list(&mut rendered);
    let read = match kind {
        Kind::WebSubApi => websub(rendered, options),
        Kind::WebBrokerApi => webbroker(rendered),
    };
    let in_place = |problem: Problem| match problem.path.strip_prefix("spec.receiver[0]") {
        Some(rest) if one_receiver => Problem { path: format!("spec.receiver{rest}"), ..problem },
        _ => problem,
    };
    let (api, state, metadata) =
        read.map_err(|problems| problems.into_iter().map(in_place).collect::<Vec<_>>())?;
    let fields = Fields::of(&api, kind, one_receiver);
    let mut problems = api.validate();
    problems.extend(api.unkept_promises());
    refused(fields.rename_all(problems))?;
    let kept = Kept::of(kind, document, &api);
    Ok(Read { kept, api, state, artifact_id: metadata.artifact_id().map(str::to_owned), fields })
}

fn refused(problems: Vec<Problem>) -> Result<(), Vec<Problem>> {
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Makes the only receiver of a spec a list, as it may be written; whether it was none.
fn as_list(resource: &mut Value) -> bool {
    let receiver = resource.pointer_mut("/spec/receiver").filter(|receiver| receiver.is_object());
    let Some(receiver) = receiver else { return false };
    *receiver = Value::Array(vec![receiver.take()]);
    true
}

type Translated = Result<(EventApi, DeploymentState, Metadata), Vec<Problem>>;

fn websub(rendered: Value, options: &ManagementOptions) -> Translated {
    let Resource { metadata, spec, .. } = resource::<WebSubApi>(rendered)?;
    let mut problems = Vec::new();
    let mut api = named(&metadata, spec.common(), spec.channels.len(), &mut problems);
    websub::translate(&spec, &options.hub_broker, &mut api, &mut problems);
    refused(problems)?;
    Ok((api, spec.common().deployment_state, metadata))
}

fn webbroker(rendered: Value) -> Translated {
    let Resource { metadata, spec, .. } = resource::<WebBrokerApi>(rendered)?;
    let mut problems = Vec::new();
    let mut api = named(&metadata, spec.common(), spec.channels.len(), &mut problems);
    webbroker::translate(&spec, &mut api, &mut problems);
    refused(problems)?;
    Ok((api, spec.common().deployment_state, metadata))
}

fn resource<S: DeserializeOwned>(rendered: Value) -> Result<Resource<S>, Vec<Problem>> {
    from_value(rendered).map_err(|problem| vec![problem])
}

/// An API with what both kinds have, and the rules that the model does not have.
fn named(metadata: &Metadata, common: Common<'_>, channels: usize, problems: &mut Vec<Problem>) -> EventApi {
    metadata.problems(problems);
    common.problems(problems);
    if channels == 0 {
        problems.push(Problem::new("spec.channels", "resource.invalid", "At least one channel is needed."));
    }
    EventApi {
        id: ApiId(metadata.name.clone()),
        name: common.display_name.to_owned(),
        version: common.version.to_owned(),
        description: String::new(),
        paths: Vec::new(),
        cors: None,
        receivers: Vec::new(),
        brokers: Vec::new(),
        balancing: BTreeMap::new(),
        channels: BTreeMap::new(),
        flows: Vec::new(),
        plans: vec![open_plan()],
        properties: Vec::new(),
        response_templates: BTreeMap::new(),
        limits: Limits::default(),
        guarantees: Guarantees::default(),
    }
}

/// The notation has no plans.
fn open_plan() -> Plan {
    Plan {
        id: PlanId("default".to_owned()),
        name: "default".to_owned(),
        description: String::new(),
        security: PlanSecurity::KeyLess,
        selection_rule: None,
        validation: PlanValidation::Auto,
        status: PlanStatus::Published,
        flows: Vec::new(),
    }
}

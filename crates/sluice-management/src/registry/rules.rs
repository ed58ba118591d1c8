//! Rules that look beyond one definition: paths among all APIs, plans among each other.

use sluice_api::{EventApi, HttpPath, PlanSecurity, Problem};
use sluice_store::{ApiRecord, PlanRecord};

/// The definition as it runs, or would run: with its plans.
pub(super) fn with_plans(definition: &EventApi, plans: &[PlanRecord]) -> EventApi {
    EventApi { plans: plans.iter().map(|record| record.plan.clone()).collect(), ..definition.clone() }
}

/// The paths that belong to an API, in its draft or as deployed.
pub(super) fn held_paths(record: &ApiRecord) -> impl Iterator<Item = &HttpPath> {
    record.draft.paths.iter().chain(record.deployed.iter().flat_map(|api| &api.paths))
}

/// Those paths that are among those `held` by others.
pub(super) fn taken_paths<'a>(paths: &[HttpPath], held: impl Iterator<Item = &'a HttpPath>) -> Vec<Problem> {
    let held: Vec<_> = held.collect();
    let taken = paths.iter().enumerate().filter(|(_, path)| held.iter().any(|it| it.conflicts_with(path)));
    let problem = |(index, path): (usize, &HttpPath)| {
        Problem::new(
            format!("paths[{index}].path"),
            "api.listener.paths.path.exists",
            format!("The path [{}] is already covered by another API.", path.normalized()),
        )
    };
    taken.map(problem).collect()
}

/// Two plans without a key cannot be told apart by a request.
pub(super) fn second_key_less_plan(plans: &[PlanRecord]) -> Option<Problem> {
    let open = |record: &PlanRecord| {
        record.plan.status.admits() && matches!(record.plan.security, PlanSecurity::KeyLess)
    };
    let mut open = plans.iter().enumerate().filter(|(_, record)| open(record));
    let (_, first) = open.next()?;
    let (index, _) = open.next()?;
    let message =
        format!("There is already a published key-less plan, '{}'; close it first.", first.plan.name);
    Some(Problem::new(format!("plans[{index}].security.type"), "plan.keyless.exists", message))
}

/// The first plan whose id an earlier one has.
pub(super) fn second_plan_of_an_id(plans: &[PlanRecord]) -> Option<Problem> {
    let repeated =
        |index: usize| plans[..index].iter().any(|earlier| earlier.plan.id == plans[index].plan.id);
    let index = (0..plans.len()).find(|index| repeated(*index))?;
    let message = format!("There is already a plan with the id '{}'.", plans[index].plan.id);
    Some(Problem::new(format!("plans[{index}].id"), "plan.id.exists", message))
}

//! Which of several files gets an id or a path that more than one wants. Nothing is changed here.
//!
//! Who has something keeps it for as long as it wants it; what nobody keeps goes to the first who asks.

use std::{collections::VecDeque, path::Path, sync::Arc};

use sluice_api::{ApiId, HttpPath, Problem};

use super::{super::rules, Faults, ManagedApi, Wish, file_of, stays};

/// What somebody has, or gets before others.
struct Claim<'a> {
    /// An id, and the file that has it.
    id: Option<(&'a ApiId, &'a Path)>,
    paths: Vec<&'a HttpPath>,
}

/// The wishes that can be granted together, beside what stays of the `known` APIs. A refused wish is added
/// to the faults, and makes what its file has stay; that may be in the way of further wishes.
pub(super) fn settle(mut wishes: Vec<Wish>, known: &[Arc<ManagedApi>], faults: &mut Faults) -> Vec<Wish> {
    loop {
        let before = wishes.len();
        let mut waiting = VecDeque::from(wishes);
        wishes = Vec::new();
        while let Some(wish) = waiting.pop_front() {
            let problems = {
                let staying = known.iter().filter(|api| stays(api, faults)).map(|api| of_api(api));
                let granted = wishes.iter().map(of_wish);
                let kept = waiting.iter().map(|wish| kept_by(wish, known));
                objections(&wish, &staying.chain(granted).chain(kept).collect::<Vec<_>>())
            };
            if problems.is_empty() {
                wishes.push(wish);
            } else {
                faults.insert(wish.file, problems);
            }
        }
        if wishes.len() == before {
            return wishes;
        }
    }
}

fn of_api(api: &ManagedApi) -> Claim<'_> {
    let id = file_of(api).map(|file| (api.record.id(), file));
    Claim { id, paths: rules::held_paths(&api.record).collect() }
}

fn of_wish(wish: &Wish) -> Claim<'_> {
    Claim { id: Some((wish.record.id(), &wish.file)), paths: wish.record.draft.paths.iter().collect() }
}

/// What of a wish is had already, by the API with its id or by its file.
fn kept_by<'a>(wish: &'a Wish, known: &[Arc<ManagedApi>]) -> Claim<'a> {
    let id = wish.record.id();
    let same_file = |api: &ManagedApi| file_of(api) == Some(&wish.file);
    let own: Vec<_> = known.iter().filter(|api| api.record.id() == id || same_file(api)).collect();
    let had = |path: &&HttpPath| own.iter().any(|api| api.record.draft.paths.contains(*path));
    Claim {
        id: own.iter().any(|api| api.record.id() == id && same_file(api)).then_some((id, &*wish.file)),
        paths: wish.record.draft.paths.iter().filter(had).collect(),
    }
}

fn objections(wish: &Wish, claims: &[Claim<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let id = wish.record.id();
    if let Some((_, file)) = claims.iter().filter_map(|claim| claim.id).find(|(held, _)| *held == id) {
        let message = format!("The file {} has an API with the id '{id}' already.", file.display());
        problems.push(Problem::new("id", "api.id.exists", message));
    }
    let held = claims.iter().flat_map(|claim| claim.paths.iter().copied());
    problems.extend(rules::taken_paths(&wish.record.draft.paths, held));
    problems
}

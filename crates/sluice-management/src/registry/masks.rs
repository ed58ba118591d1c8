//! The mask that is shown in place of a secret, when it comes back in an update: it stands for the secret that
//! was there before, as long as that goes to where it went.
//!
//! A mask without such a secret is a problem, because it would be taken for the secret itself. So is one for
//! another address, user or policy, because whoever may not see the secret could have it sent there.

use serde::Serialize;
use serde_json::{Value, json};
use sluice_api::{Callback, EventApi, Plan, Problem, Secret};

/// What a secret is known by: a name, and all that says where it goes.
type Place = (String, Value);

/// Puts back the secrets of an API.
pub(super) fn unmask(api: &mut EventApi, former: Option<&EventApi>) -> Vec<Problem> {
    let known = former.cloned().map(|mut former| {
        let places = api_places(&mut former);
        known(former.secrets_mut(), places)
    });
    let places = api_places(api);
    put_back(api.secrets_mut(), places, &known.unwrap_or_default())
}

/// Puts back the secrets in the flows of a plan.
pub(crate) fn unmask_plan(plan: &mut Plan, former: Option<&Plan>) -> Vec<Problem> {
    let known = former.cloned().map(|mut former| {
        let places = plan_places(&mut former);
        known(former.secrets_mut(), places)
    });
    let places = plan_places(plan);
    put_back(plan.secrets_mut(), places, &known.unwrap_or_default())
}

/// Puts back the secrets of how a subscriber is called.
pub(super) fn unmask_callback(callback: &mut Callback, former: Option<&Callback>) -> Vec<Problem> {
    let known = former.cloned().map(|mut former| {
        let places = callback_places(&mut former);
        known(former.secrets_mut(), places)
    });
    let places = callback_places(callback);
    put_back(callback.secrets_mut(), places, &known.unwrap_or_default())
}

fn known(secrets: Vec<(String, &mut Secret)>, places: Vec<Place>) -> Vec<(String, Place, Secret)> {
    let secrets = secrets.into_iter().zip(places);
    secrets.map(|((path, secret), place)| (path, place, secret.clone())).collect()
}

fn put_back(
    secrets: Vec<(String, &mut Secret)>,
    places: Vec<Place>,
    known: &[(String, Place, Secret)],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for ((path, secret), place) in secrets.into_iter().zip(places) {
        if !secret.is_masked() {
            continue;
        }
        let same = || known.iter().filter(|(_, known, _)| *known == place);
        // Of several that are alike, the one that stood here.
        let kept = same().find(|(known, ..)| *known == path).or_else(|| same().next());
        match kept {
            Some((_, _, kept)) => *secret = kept.clone(),
            None => problems.push(Problem::new(
                path,
                "secret.masked",
                "This is the mask that is shown in place of a secret, and there is no earlier secret of this \
                 connection that it could stand for; give the secret itself.",
            )),
        }
    }
    problems
}

fn api_places(api: &mut EventApi) -> Vec<Place> {
    let paths: Vec<_> = api.secrets_mut().into_iter().map(|(path, _)| path).collect();
    let shown = shown(api);
    let place = |path: &str| {
        let (list, rest) = path.split_once('[')?;
        let (index, field) = rest.split_once(']')?;
        let index: usize = index.parse().ok()?;
        match list {
            "brokers" => {
                let connection = api.brokers.get(index)?.configuration.connection();
                Some((path.to_owned(), connection.to_value()))
            }
            "receivers" => {
                Some((field.to_owned(), shown["receivers"][index]["configuration"]["proxy"].clone()))
            }
            // Not for one that is shown from now on: the mask would tell what it hides.
            "properties" => {
                let property = api.properties.get(index)?;
                Some(("property".to_owned(), json!([property.key, property.encrypted])))
            }
            _ => step_place(path, &shown),
        }
    };
    paths.into_iter().map(|path| place(&path).unwrap_or((path, Value::Null))).collect()
}

fn plan_places(plan: &mut Plan) -> Vec<Place> {
    let paths: Vec<_> = plan.secrets_mut().into_iter().map(|(path, _)| path).collect();
    let shown = shown(plan);
    paths.into_iter().map(|path| step_place(&path, &shown).unwrap_or((path, Value::Null))).collect()
}

/// The secret of a policy is known by the policy and its other settings, wherever it stands: flows are
/// rearranged.
fn step_place(path: &str, shown: &Value) -> Option<Place> {
    let (step, field) = path.split_once(".configuration")?;
    let pointer = format!("/{}", step.replace("].", "/").replace('[', "/").replace(']', ""));
    let step = shown.pointer(&pointer)?;
    Some((format!("{} {field}", step["policy"]), step["configuration"].clone()))
}

/// A header is known by its name, which stays when another is put before it.
fn callback_places(callback: &mut Callback) -> Vec<Place> {
    let headers: Vec<_> = callback.headers.iter().map(|header| format!("header {}", header.name)).collect();
    let shown = shown(callback);
    let goes_to: Value =
        ["callbackUrl", "auth", "ssl"].map(|field| shown[field].clone()).into_iter().collect();
    let mut headers = headers.into_iter();
    let secrets = callback.secrets_mut().into_iter();
    let names = secrets.map(
        |(path, _)| {
            if path.starts_with("headers[") { headers.next().unwrap_or(path) } else { path }
        },
    );
    names.map(|name| (name, goes_to.clone())).collect()
}

/// As it is shown, with masks.
fn shown(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sluice_api::MASK;

    use super::*;

    fn plan(steps: &Value) -> Plan {
        let flows = json!([{"deliver": steps}]);
        sluice_api::from_value(json!({"id": "p", "name": "p", "security": {"type": "push"}, "flows": flows}))
            .unwrap()
    }

    fn signs(header: &str, secret: &str) -> Value {
        json!({"policy": "sign", "configuration": {"header": header, "secret": secret}})
    }

    #[test]
    fn the_secret_of_a_policy_goes_with_it_and_not_with_its_place() {
        let former = plan(&json!([signs("A", "one"), signs("B", "two")]));
        let other = json!({"policy": "other", "configuration": {}});
        let mut moved = plan(&json!([other, signs("B", MASK), signs("A", MASK)]));
        assert_eq!(unmask_plan(&mut moved, Some(&former)), []);
        let secrets: Vec<_> = moved.secrets_mut().into_iter().map(|(_, it)| it.expose().to_owned()).collect();
        assert_eq!(secrets, ["two", "one"]);
        let mut changed = plan(&json!([signs("C", MASK)]));
        let problems = unmask_plan(&mut changed, Some(&former));
        assert_eq!(problems[0].path, "flows[0].deliver[0].configuration.secret");
        assert_eq!(problems[0].code, "secret.masked");
    }
}

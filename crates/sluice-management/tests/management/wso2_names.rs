//! Resources side by side: how one is found among others, and what no two may have in common.

use serde_json::json;

use crate::{
    support::{Server, api},
    wso2::{at_fault, call, created, webbroker, websub},
};

#[tokio::test]
async fn a_list_is_filtered_by_name_version_context_and_state() {
    let (server, _) = created(&websub()).await;
    let mut other = websub();
    other["metadata"]["name"] = json!("bills");
    other["spec"]["displayName"] = json!("bills");
    other["spec"]["version"] = json!("v2.0");
    other["spec"]["context"] = json!("/bills");
    other["spec"]["deploymentState"] = json!("undeployed");
    assert_eq!(call(&server, "POST", "websub-apis", Some(&other)).await.status, 201);
    for (query, names) in [
        ("displayName=bills", vec!["bills"]),
        ("version=v1.0", vec!["orders-v1-0"]),
        ("context=/bills", vec!["bills"]),
        ("status=deployed", vec!["orders-v1-0"]),
        ("status=undeployed&displayName=orders", vec![]),
        ("displayName=", vec!["orders-v1-0", "bills"]),
    ] {
        let list = call(&server, "GET", &format!("websub-apis?{query}"), None).await.json();
        let found: Vec<_> =
            list["websubApis"].as_array().unwrap().iter().map(|it| &it["metadata"]["name"]).collect();
        assert_eq!(found, names, "{query}");
    }
    let answer = call(&server, "GET", "websub-apis?status=asleep", None).await;
    assert_eq!(at_fault(&answer, 400), "status");
}

#[tokio::test]
async fn a_name_a_handle_and_a_context_belong_to_one_api_whatever_its_kind() {
    let (server, _) = created(&websub()).await;
    server.registry.create(api("native", "/native/v1"), sluice_store::Catalogue::new()).await.unwrap();
    let with = |pointers: &[(&str, &str)]| {
        let mut resource = webbroker();
        for (pointer, value) in pointers {
            *resource.pointer_mut(pointer).unwrap() = json!(value);
        }
        resource
    };
    for (resource, field) in [
        (with(&[("/metadata/name", "orders-v1-0")]), "metadata.name"),
        (with(&[("/metadata/name", "native")]), "metadata.name"),
        (with(&[("/spec/context", "/orders/v1.0")]), "spec.context"),
        (with(&[("/spec/context", "/orders")]), "spec.context"),
        (with(&[("/spec/context", "/native/v1/more")]), "spec.context"),
    ] {
        let answer = call(&server, "POST", "webbroker-apis", Some(&resource)).await;
        assert_eq!(at_fault(&answer, 409), field);
    }
    // Name and version are a matter of each kind.
    let same_name = with(&[("/spec/displayName", "orders")]);
    assert_eq!(call(&server, "POST", "webbroker-apis", Some(&same_name)).await.status, 201);
    let mut twin = websub();
    twin["metadata"]["name"] = json!("twin");
    twin["spec"]["context"] = json!("/twin");
    let answer = call(&server, "POST", "websub-apis", Some(&twin)).await;
    assert_eq!(at_fault(&answer, 409), "spec.displayName");
    twin["spec"]["version"] = json!("v1.1");
    assert_eq!(call(&server, "POST", "websub-apis", Some(&twin)).await.status, 201);
    for (field, value) in [("version", "v1.0"), ("context", "/orders/v1.0")] {
        let mut changed = twin.clone();
        changed["spec"][field] = json!(value);
        let answer = call(&server, "PUT", "websub-apis/twin", Some(&changed)).await;
        // `/orders/v1.0` with the version behind it lies below the other's.
        let fault = if field == "version" { "spec.displayName" } else { "spec.context" };
        assert_eq!(at_fault(&answer, 409), fault);
    }
    // The other host is another place.
    let mut elsewhere = twin.clone();
    elsewhere["metadata"]["name"] = json!("elsewhere");
    elsewhere["spec"]["displayName"] = json!("elsewhere");
    elsewhere["spec"]["vhosts"] = json!({ "main": "other.example" });
    assert_eq!(call(&server, "POST", "websub-apis", Some(&elsewhere)).await.status, 201);
}

#[tokio::test]
async fn of_two_that_want_the_same_at_once_one_gets_it() {
    let server = Server::start().await;
    let mut second = websub();
    second["metadata"]["name"] = json!("second");
    second["spec"]["context"] = json!("/second");
    let (first, other) = (websub(), second);
    let (one, two) = tokio::join!(
        call(&server, "POST", "websub-apis", Some(&first)),
        call(&server, "POST", "websub-apis", Some(&other))
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn an_artifact_id_is_a_uuid_of_one_api() {
    const ID: &str = "gateway.api-platform.wso2.com/artifact-id";
    let mut resource = websub();
    resource["metadata"]["annotations"] = json!({ ID: "019d953f-d386-7a64-aa92-1869a28292e0" });
    let (server, _) = created(&resource).await;
    let shown = call(&server, "GET", "websub-apis/orders-v1-0", None).await.json();
    assert_eq!(shown["metadata"], resource["metadata"]);
    let mut other = webbroker();
    other["metadata"]["annotations"] = resource["metadata"]["annotations"].clone();
    let field = format!("metadata.annotations.{ID}");
    assert_eq!(at_fault(&call(&server, "POST", "webbroker-apis", Some(&other)).await, 409), field);
    other["metadata"]["annotations"][ID] = json!("mine");
    assert_eq!(at_fault(&call(&server, "POST", "webbroker-apis", Some(&other)).await, 400), field);
}

//! Event APIs in files: deployed at start, followed when they change.

use std::fs;

use serde_json::json;

use crate::harness::{Sse, Starting, log_broker, native_api, until};

#[tokio::test]
async fn a_change_on_disk_is_picked_up_and_a_vanished_file_is_undeployed() {
    let gateway = Starting::run().api(&native_api("One", "/one", &log_broker("t"))).start().await;
    gateway.publish("/one", "x").await;

    let apis = gateway.dir().join("apis");
    fs::write(apis.join("One.json"), native_api("One", "/uno", &log_broker("t")).to_string()).unwrap();
    until("the changed path", || async { gateway.post("/uno", "x").await.status() == 202 }).await;
    assert_eq!(gateway.post("/one", "x").await.status(), 404);

    let yaml = "\
name: Two
paths: [{ path: /two }]
receivers: [{ type: http-post }]
brokers: [{ type: log, configuration: { topics: [t] } }]
plans: [{ name: Open, security: { type: key-less } }]
";
    fs::write(apis.join("two.yaml"), yaml).unwrap();
    until("the new file", || async { gateway.post("/two", "x").await.status() == 202 }).await;

    fs::remove_file(apis.join("One.json")).unwrap();
    until("the end of a removed file", || async { gateway.post("/uno", "x").await.status() == 404 }).await;
    gateway.publish("/two", "still here").await;
}

#[tokio::test]
async fn a_broken_change_leaves_the_former_version_in_force_and_says_where_it_is_broken() {
    let gateway = Starting::run().api(&native_api("One", "/one", &log_broker("t"))).start().await;
    let file = gateway.dir().join("apis/One.json");
    fs::write(&file, "{\n  \"name\": \"One\",\n  nonsense\n}").unwrap();
    until("the complaint", || async { gateway.log().contains("line 3, column") }).await;
    gateway.publish("/one", "x").await;

    let mut wrong = native_api("One", "/one", &log_broker("t"));
    wrong["receivers"][1]["configuration"] = json!({ "heartbeatIntervalInMs": 1 });
    fs::write(&file, wrong.to_string()).unwrap();
    until("the complaint", || async { gateway.log().contains("heartbeatIntervalInMs") }).await;
    gateway.publish("/one", "x").await;
}

#[tokio::test]
async fn one_bad_definition_changes_nothing_for_the_others() {
    let gateway = Starting::run()
        .api(&native_api("Good", "/good", &log_broker("t")))
        .file("apis/bad.yaml", "name: Bad\nfrobnicate: true\n")
        .api(&native_api("Thief", "/good/below", &log_broker("t")))
        .start()
        .await;
    gateway.publish("/good", "x").await;
    assert!(gateway.log().contains("frobnicate"), "{}", gateway.log());
    assert!(gateway.log().contains("api.listener.paths.path.exists"), "{}", gateway.log());
}

#[tokio::test]
async fn an_unchanged_definition_keeps_its_streams_when_another_changes() {
    let gateway = Starting::run()
        .api(&native_api("One", "/one", &log_broker("a")))
        .api(&native_api("Two", "/two", &log_broker("b")))
        .start()
        .await;
    let mut stream = Sse::open(&gateway, "/one").await;
    let file = gateway.dir().join("apis/Two.json");
    fs::write(&file, native_api("Two", "/deux", &log_broker("b")).to_string()).unwrap();
    until("the change", || async { gateway.post("/deux", "x").await.status() == 202 }).await;
    gateway.publish("/one", "after").await;
    assert_eq!(stream.message().await, "after");
}

#[tokio::test]
async fn a_definition_of_the_other_contract_is_read_too() {
    let mut definition =
        crate::harness::gravitee_api("Foreign", "/foreign", "log", &json!({ "topics": ["t"] }));
    definition["plans"] = json!([crate::harness::plan()]);
    let gateway = Starting::run().api(&definition).start().await;
    gateway.publish("/foreign", "x").await;
}

#[tokio::test]
async fn a_definition_that_can_not_be_looked_at_runs_on_and_is_complained_about_once() {
    let gateway = Starting::run().api(&native_api("One", "/one", &log_broker("t"))).start().await;
    let file = gateway.dir().join("apis/One.json");
    let replace_by = |new: &std::path::Path| fs::rename(new, &file).unwrap();
    // A link to itself is neither there nor gone.
    let aside = gateway.dir().join("aside");
    std::os::unix::fs::symlink(&file, &aside).unwrap();
    replace_by(&aside);
    let complaints = || gateway.log().matches("can not be looked at").count();
    until("the complaint", || async { complaints() == 1 }).await;
    gateway.publish("/one", "x").await;

    let new = native_api("New", "/new", &log_broker("t")).to_string();
    fs::write(gateway.dir().join("apis/New.json"), new).unwrap();
    until("the next look", || async { gateway.post("/new", "x").await.status() == 202 }).await;
    assert_eq!(complaints(), 1, "{}", gateway.log());

    fs::write(&aside, native_api("One", "/uno", &log_broker("t")).to_string()).unwrap();
    replace_by(&aside);
    until("the changed path", || async { gateway.post("/uno", "x").await.status() == 202 }).await;
}

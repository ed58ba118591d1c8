//! `cargo xtask bench recovery`: how soon a gateway that was killed serves again, with very many subscriptions and
//! their positions on the disk.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{binary, client::Connection, report};
use crate::gateway::{ANYWHERE, Gateway, Start};

const SUBSCRIPTIONS: usize = 100_000;
const MAKERS: usize = 16;
const KILLS: usize = 5;
/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_secs(60);
const ADMIN: &str = "Authorization: Basic YWRtaW46YWRtaW4=\r\nContent-Type: application/json\r\n";
const BASE: &str = "/management/organizations/DEFAULT/environments/DEFAULT";

/// Lets subscribers be at an address that is nobody's.
const CONFIG: &str = "webhooks: { allow: [203.0.113.0/24] }\n";

/// Nobody is to be called: it is about the gateway.
const API: &str = r#"{"name":"Many","apiVersion":"1","definitionVersion":"4.0.0","type":"async","description":"d",
"listeners":[{"type":"http","paths":[{"path":"/many"}],"entrypoints":[{"type":"http-post"}]},
{"type":"subscription","entrypoints":[{"type":"webhook","qos":"AT_LEAST_ONCE"}]}],
"endpointGroups":[{"name":"g","type":"log","endpoints":[{"name":"e","type":"log","configuration":{"topics":["many"]}}]}],
"flows":[{"name":"none","enabled":true,"selectors":[{"type":"channel","operations":["SUBSCRIBE"],"channel":"/"}],
"subscribe":[{"name":"f","enabled":true,"policy":"message-filtering","configuration":{"filter":"{#message.content == 'to all'}"}}]}]}"#;

pub(super) fn measure(directory: &Path) -> Result<(), String> {
    let config = directory.join("sluice.yaml");
    fs::write(&config, CONFIG).map_err(|error| format!("{}: {error}.", config.display()))?;
    let arguments = vec!["run".to_owned(), "--config".to_owned(), config.display().to_string()];
    let mut start = Start { binary: &binary(), directory, arguments, listen: ANYWHERE.to_owned() };
    let mut gateway = start.start()?;
    make_subscriptions(&gateway)?;
    println!("{SUBSCRIPTIONS} subscriptions, each with a stored position");
    let (mut ready, mut served) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        // Some work, so that positions move.
        Connection::open(&gateway.address)?.done("POST", "/many", "", "to nobody")?;
        thread::sleep(Duration::from_secs(5));
        // The same address again, to be asked before the ready file names it.
        start.listen.clone_from(&gateway.address);
        gateway.kill();
        let (begin, mut first) = (Instant::now(), Duration::ZERO);
        gateway = start.start_and(|| {
            first = first_acknowledgement(&start.listen, begin)?;
            Ok(())
        })?;
        served.push(first.as_secs_f64() * 1000.0);
        ready.push(gateway.ready_after.as_secs_f64() * 1000.0);
        thread::sleep(Duration::from_secs(10));
    }
    report("SIGKILL, exec to the first 202", "ms", &served);
    report("  exec to ready, all subscriptions served", "ms", &ready);
    report("  resident memory, ten seconds after", "MiB", &[gateway.resident_mib()?]);
    Ok(())
}

/// Asks until a message is acknowledged; how long after `begin` that was.
fn first_acknowledgement(address: &str, begin: Instant) -> Result<Duration, String> {
    while begin.elapsed() < PATIENCE {
        let posted =
            Connection::open(address).and_then(|mut client| client.done("POST", "/many", "", "to nobody"));
        if posted.is_ok() {
            return Ok(begin.elapsed());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(format!("{address}: nothing was acknowledged within {PATIENCE:?}."))
}

/// By the management API, as people would.
fn make_subscriptions(gateway: &Gateway) -> Result<(), String> {
    let mut admin = Connection::open(&gateway.management)?;
    let mut made = |path: &str, body: &str| {
        let answer = admin.done("POST", &format!("{BASE}{path}"), ADMIN, body)?;
        id(&answer)
    };
    let api = made("/v4/apis", API)?;
    let plan = |kind: &str| {
        format!(
            r#"{{"name":"{kind}","description":"d","status":"PUBLISHED","characteristics":[],"security":{{"type":"{kind}"}}}}"#
        )
    };
    made(&format!("/v4/apis/{api}/plans"), &plan("key-less"))?;
    let push = made(&format!("/v4/apis/{api}/plans"), &plan("subscription"))?;
    Connection::open(&gateway.management)?.done(
        "POST",
        &format!("{BASE}/v4/apis/{api}?action=start"),
        ADMIN,
        "",
    )?;
    eprintln!("xtask: making {SUBSCRIPTIONS} subscriptions");
    let makers: Vec<_> = (0..MAKERS)
        .map(|maker| {
            let (management, api, push) = (gateway.management.clone(), api.clone(), push.clone());
            thread::spawn(move || make_some(maker, &management, &api, &push))
        })
        .collect();
    for maker in makers {
        maker.join().map_err(|_| "A client failed.".to_owned())??;
    }
    Ok(())
}

/// One application's share: a plan has one subscription of each application, so there is one for each.
fn make_some(maker: usize, management: &str, api: &str, plan: &str) -> Result<(), String> {
    let mut admin = Connection::open(management)?;
    let mut number = maker;
    while number < SUBSCRIPTIONS {
        let application = format!(r#"{{"name":"App {number}","description":"d"}}"#);
        let application = id(&admin.done("POST", &format!("{BASE}/applications"), ADMIN, &application)?)?;
        let path = format!("{BASE}/v4/apis/{api}/subscriptions?application={application}&plan={plan}");
        // An address of RFC 5737, which is nobody's.
        let body = r#"{"configuration":{"entrypointId":"webhook","callbackUrl":"https://203.0.113.1/"}}"#;
        admin.done("POST", &path, ADMIN, body)?;
        if number.is_multiple_of(10_000) {
            eprintln!("xtask: {number} of {SUBSCRIPTIONS}");
        }
        number += MAKERS;
    }
    Ok(())
}

/// The id in a document.
fn id(document: &str) -> Result<String, String> {
    let id = document.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next());
    id.map(str::to_owned).ok_or_else(|| format!("No id in {document}"))
}

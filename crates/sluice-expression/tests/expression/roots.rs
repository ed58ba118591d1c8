//! What can be read beside the message, and that nothing is made which nobody reads.

use sluice_expression::{EvalContext, EvalError, Expression, Value};

use crate::{World, failure, holds, text};

#[test]
fn the_request_is_read() {
    for (source, wanted) in [
        (
            "{#request.id} {#request.transactionId} {#request.method} {#request.scheme}",
            "req-1 tx-1 POST http",
        ),
        ("{#request.uri} {#request.path}", "/demo/stores/123?q=1&q=2&flag= /demo/stores/123"),
        ("{#request.contextPath} {#request.pathInfo}", "/demo /stores/123"),
        ("{#request.paths[2]} {#request.pathInfos[2]} {#request.paths.size()}", "stores 123 4"),
        ("{#request.host} {#request.version}", "localhost:8082 HTTP_1_1"),
        ("{#request.remoteAddress} {#request.localAddress}", "127.0.0.1 127.0.0.2"),
        ("{#request.timestamp}", "1793894829045"),
        ("{#request.headers['x-new-topic'][0]} {#request.headers.getFirst('X-New-Topic')}", "new new"),
        ("{#request.params['q']} {#request.params.q[1]} {#request.params['flag'][0]}", "1,2 2 "),
        ("{#request.params.keySet()}", "q,flag"),
        ("{#properties['name_' + 'a']}", "Anna"),
        ("{#request.jsonContent.foo.bar} {#request.jsonContent.n[1]}", "something 2"),
        ("{#jsonPath(#request.content, '$.foo.bar')}", "something"),
    ] {
        assert_eq!(text(source), wanted, "{source}");
    }
    for truth in [
        "{#request.pathParams.isEmpty()}",
        "{#request.headers['absent'] == null && #request.params['absent'] == null}",
        "{#request.ssl.clientHost == null && #request.ssl.client.dn == null && #request.ssl['server'].isEmpty()}",
        "{#request.headers.containsAllKeys({'X-New-Topic', 'x-autooffsetreset'})}",
        "{(not #request.headers.containsAllKeys({'X-New-Topic', 'absent'}))}",
        "{#request.headers.toSingleValueMap()['X-New-Topic'] == 'new'}",
        "{#request.content.startsWith('{')}",
    ] {
        assert!(holds(truth), "{truth}");
    }
}

#[test]
fn an_xml_body_is_read_as_maps() {
    let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
        <p:order xmlns:p="urn:x" id="7"><item>a</item><item>b &amp; c</item><to><city>Paris</city></to></p:order>"#;
    let mut world = World::new();
    world.request.content = Some(xml.into());
    for (source, wanted) in [
        ("{#request.xmlContent.order.to.city + ''}", "Paris"),
        ("{#request.xmlContent.order.item[1] + ''}", "b & c"),
        ("{#request.xmlContent['order']['id'] + ''}", "7"),
    ] {
        let expression = Expression::parse(source).unwrap();
        assert_eq!(expression.evaluate(&world.context()).unwrap(), Value::Text(wanted.into()), "{source}");
    }
    let expression = Expression::parse("{#request.xmlContent.order.id}").unwrap();
    let nested = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));
    for bad in ["<order>", "plain", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", &nested] {
        world.request.content = Some(bad.to_owned().into());
        assert!(expression.evaluate(&world.context()).is_err(), "{bad}");
    }
}

#[test]
fn the_response_is_read() {
    assert!(holds("{#response.status == 202}"));
    assert!(!holds("{#response.status >= 500}"));
    assert_eq!(text("{#response.headers['content-type'][0]}"), "text/plain");
}

#[test]
fn attributes_are_found_with_and_without_their_prefix() {
    for truth in [
        "{#context.attributes['api'] == 'api-1' && #context.attributes.plan == 'plan-1'}",
        "{#context.attributes['gravitee.attribute.api'] == 'api-1'}",
        "{#context.attributes['my-attribute'] == 'my-value'}",
        "{#context.attributes['jwt.claims']['iss'] == 'issuer'}",
        "{#context.attributes['jwt.claims'].roles.contains('writer')}",
        "{#context.attributes['absent'] == null && not #context.attributes.containsKey('absent')}",
        "{#message.attributes['left'] == 'by a policy' && #message.attributes.size() == 1}",
        "{(not #message.error)}",
    ] {
        assert!(holds(truth), "{truth}");
    }
}

#[test]
fn what_surrounds_a_message_is_read() {
    for (source, wanted) in [
        ("{#api.id} {#api.name} {#api.version} {#api.properties['region']}", "api-1 Orders 1.0 eu"),
        ("{#properties['region']} {#properties.region} {#properties.get('absent')}", "eu eu "),
        ("{#dictionaries['cities']['par']} {#dictionaries.cities.par}", "Paris Paris"),
        ("{#secrets.get('/vault/secret/kafka:bootstrap')}", "kafka:9092"),
        ("{#node.id} {#node.version} {#node.tenant} {#node.zone}", "node-1 0.1.0 blue "),
        ("{#node.shardingTags}", "internal,eu"),
        ("{#endpoints['primary']}", "kafka://one:9092"),
        ("{#subscription.applicationName} {#subscription.clientId}", "shop "),
    ] {
        assert_eq!(text(source), wanted, "{source}");
    }
    assert_eq!(failure("{#dictionaries['absent']['x']}"), EvalError::OfNull("index"));
    assert_eq!(failure("{#secrets.get('/a:b')}"), EvalError::NoSecret("/a:b".into()));
}

#[test]
fn without_a_request_everything_in_it_is_null_or_empty() {
    for source in [
        "{#request.id == null && #request.paths != null && #request.timestamp == null}",
        "{#request.headers['x'] == null && #request.params.isEmpty() && #request.jsonContent == null}",
        "{#response.status == null && #response.headers.isEmpty()}",
        "{#context.attributes['api'] == null && #api.id == null && #properties['x'] == null}",
        "{#dictionaries['x'] == null && #node.id == null && #endpoints['x'] == null}",
    ] {
        assert_eq!(Expression::parse(source).unwrap().holds(&EvalContext::new()), Ok(true), "{source}");
    }
}

#[test]
fn it_is_known_what_an_expression_reads() {
    let reads = |source: &str| {
        let expression = Expression::parse(source).unwrap();
        (expression.reads_message(), expression.reads_request(), expression.reads_subscription())
    };
    assert_eq!(reads("a {#message.id} {#request.id}"), (true, true, false));
    assert_eq!(reads("{#subscription.metadata.x}{#response.status}"), (false, true, true));
    assert_eq!(
        reads("{#context.attributes['x'] + #api.id + #properties['y'] + #node.id}"),
        (false, false, false)
    );
    assert_eq!(reads("{({1}.?[#this == #message.contentLength])}"), (true, false, false));
    let secrets = Expression::parse("{#secrets.get('a')}:{#xmlEscape(#secrets.get('b'))}").unwrap();
    assert_eq!(secrets.secrets().collect::<Vec<_>>(), ["a", "b"]);
    let dictionaries =
        Expression::parse("{#dictionaries['a'].x + #dictionaries.b['y'] + #dictionaries[#api.id]?.z}");
    assert_eq!(dictionaries.unwrap().dictionaries().collect::<Vec<_>>(), ["a", "b"]);
}

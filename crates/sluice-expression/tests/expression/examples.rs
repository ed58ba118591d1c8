//! Expressions that people use, as they are written in definitions and guides: each has a value.

use sluice_expression::{EvalContext, Expression};

use crate::World;

const EXAMPLES: &[&str] = &[
    "{#jsonPath(#message.content, '$.feature') == 'demo-filter'}",
    "{#jsonPath(#message.content, '$.feature') == #subscription.metadata.feature}",
    "{#jsonPath(#message.content,'$.feature') == #subscription.metadata.feature}",
    "{#jsonPath(payload, '$.myField') == 'myValue'}",
    "{#message.headers.foo == #subscription.metadata['bar']}",
    "{#request.headers['X-Topic'] != null}",
    "{#request.headers['X'] != null}",
    "{#message.metadata['key']}",
    "kafka://{#message.metadata['topic']}/x",
    "{#message.content}",
    "{#message.headers['x-header-test'][0]}",
    "{#request.headers['x-foo'] == 'bar'}",
    "{#response.status == 200}",
    "{#response.status >= 500}",
    "{#context.attributes['my-attribute'] == 'my-value'}",
    "{#request.headers['X-Condition-Flow-Selection'][0] == 'root-condition'} ",
    "{#request.headers['X-Condition-Flow-Selection'][0] == 'product-condition'} ",
    "{#request.headers['X-Topic-Override-Request-Level'] != null}",
    "{#request.headers['X-Topic-Override-Request-Level'][0]}",
    "{#request.headers['X-Topic-Override-Message-Level'] != null}",
    "{#request.headers['X-Topic-Override-Message-Level'][0]}",
    "{#request.headers['X-New-Topic'] != null}",
    "{#request.headers['X-New-Topic'][0]}",
    "{#request.headers['X-AutoOffsetReset'][0]}",
    "{#secrets.get('/vault/secret/rabbitmq:host')}",
    "{#secrets.get('/vault/secret/kafka:bootstrap')}",
    "{#secrets.get('/vault/secret/solace:url')}",
    "{#context.attributes['jwt.claims']['iss']}",
    "age: {(T(java.lang.Math).random() * 60).intValue()}",
    "{#jsonPath(#message.content, '$.none')?.contains('Group4')?:false}",
    "{#properties['region']}",
    "{#dictionaries['cities']['par']}",
];

#[test]
fn every_example_parses_and_has_a_value() {
    let world = World::new();
    for source in EXAMPLES {
        let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let value = expression.evaluate(&world.context());
        assert!(value.is_ok(), "{source}: {:?}", value.err());
    }
}

#[test]
fn every_example_that_is_evaluated_with_nothing_ends() {
    for source in EXAMPLES {
        let _ = Expression::parse(source).unwrap().evaluate(&EvalContext::new());
    }
}

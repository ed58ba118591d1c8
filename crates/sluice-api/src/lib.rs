//! An event API as data: what is published, where it is received, which broker stands behind it, who may use
//! it. Reading, defaults and validation; no I/O, no running parts.
//!
//! Every way in (management dialects, files, the command line) ends in an [`EventApi`] and passes
//! [`EventApi::validate`], so that a rule is written once.

mod broker;
mod event_api;
mod flow;
mod kafka;
mod plan;
mod problem;
mod read;
mod receiver;
mod secret;
mod validate;

pub use broker::{
    AutoOffsetReset, Broker, BrokerConfig, ConsumerSettings, LogConfig, LogProducer, MockConfig, NameValue,
};
pub use event_api::{ApiId, EventApi, HttpPath, Limits};
pub use flow::{Channel, ChannelOperator, Flow, Operation, Step};
pub use kafka::{
    Compression, KafkaConfig, KafkaProducer, KafkaSecurity, KeyStore, Sasl, SaslMechanism, SecurityProtocol,
    StoreType, Tls, TrustStore,
};
pub use plan::{Plan, PlanId, PlanSecurity, PlanStatus};
pub use problem::Problem;
pub use read::{Format, from_value, parse_document};
pub use receiver::{HttpPostConfig, Qos, Receiver, ReceiverConfig, SseConfig};
pub use secret::{MASK, Secret};

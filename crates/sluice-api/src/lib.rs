//! An event API as data: what is published, where it is received, which broker stands behind it, who may use
//! it. Reading, defaults and validation; no I/O, no running parts.
//!
//! Every way in (management dialects, files, the command line) ends in an [`EventApi`] and passes
//! [`EventApi::validate`], so that a rule is written once.

mod answer;
mod broker;
mod callback;
mod channel;
mod event_api;
mod flow;
mod guarantees;
mod hub;
mod journal;
mod json_path;
mod plan;
mod problem;
mod qos;
mod read;
mod receiver;
mod request_headers;
mod secret;
mod settings;
mod subscription;
mod validate;
mod webhook;
mod webhook_receiver;
mod websub;

pub use answer::{Cors, ResponseTemplate};
pub use broker::{
    AmqpAddresses, AmqpConfig, AmqpConsumer, AmqpTopics, AutoOffsetReset, Balancing, Broker, BrokerAuth,
    BrokerConfig, BrokerEndpoint, BrokerKeyStore, BrokerSecurity, BrokerTls, BrokerTrustStore,
    ClientCredentials, Compression, ConsumerSettings, ExpressionSetting, IsolationLevel, KafkaAutoCreate,
    KafkaConfig, KafkaConsumer, KafkaOauth, KafkaProducer, KafkaSecurity, KeyStore, LogConfig, LogProducer,
    MockConfig, MqttConfig, MqttConsumer, MqttProducer, MqttRetained, MqttTransport, MqttVersion, NameValue,
    RabbitmqConfig, RabbitmqConsumer, RabbitmqExchange, RabbitmqProducer, RabbitmqQueue, RabbitmqQueueType,
    Sasl, SaslMechanism, SecurityProtocol, SettingScope, Side, SolaceConfig, SolaceSemp, SolaceTransport,
    StoreType, Tls, TrustStore, client_settings, has_expression,
};
pub use callback::{
    Assertion, AssertionAlgorithm, AssertionClaim, AssertionKey, BasicCredentials, Callback, CallbackAuth,
    CallbackHeader, CallbackKeyStore, CallbackOrder, CallbackRetry, CallbackSignature, CallbackTls,
    CallbackTrustStore, Credentials, FixedToken, RetryOption, RetryStrategy, SecretPlace, TimeUnit,
};
pub use channel::ApiChannel;
pub use event_api::{ApiId, EventApi, HttpPath, Limits, Property};
pub use flow::{Channel, ChannelOperator, Flow, HttpSelector, Operation, Step};
pub use guarantees::{Guarantees, SlowClients, Spool, UnknownPosition};
pub use hub::{HubSignature, HubTerms};
pub use json_path::JsonPath;
pub use plan::{Plan, PlanId, PlanSecurity, PlanStatus, PlanValidation};
pub use problem::Problem;
pub use qos::{Offer, Qos, offered, offers};
pub use read::{Format, from_value, parse_document};
pub use receiver::{
    DeadLetter, Direction, FrameFormat, HttpGetConfig, HttpPostConfig, Receiver, ReceiverConfig, SseConfig,
    WebsocketConfig, WebsocketPublisher,
};
pub use request_headers::{is_credential, is_signature, is_withheld};
pub use secret::{MASK, Secret};
pub use settings::{SECRET_NAMES, Settings};
pub use subscription::{ApplicationId, Subscription, SubscriptionId};
pub use validate::{is_group_name, is_topic_name};
pub use webhook::{CallbackBreaker, CallbackHttp, CallbackProxy, ProxyType, WebhookConfig};
pub use webhook_receiver::{
    CloudEvents, HmacAlgorithm, RequestField, SignatureEncoding, WebhookHandshake, WebhookProvider,
    WebhookReceiverConfig, WebhookSender,
};
pub use websub::WebsubConfig;

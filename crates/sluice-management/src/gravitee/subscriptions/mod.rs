//! Subscriptions in the 3.20 contract. The publisher's calls are below the API, the consumer's below the
//! application; a portal has one address of its own.

mod application;
mod entity;
mod keys;
mod list;
mod publisher;
mod read;

pub(super) use application::{
    change_consumer_status, close as close_of_application, create as create_of_application,
    get as get_of_application, list as list_of_application, subscribe_from_portal,
    update as update_of_application,
};
pub(super) use entity::SubscriptionEntity;
pub(super) use keys::{
    find_key, find_key_of_application, list as list_keys, list_of_application as list_keys_of_application,
    renew,
};
pub(super) use list::SubscriptionPage;
pub(super) use publisher::{
    can_create, change_status, close, create, get, list, process, subscribers, transfer, update,
};

//! Cases about which broker it is.

use super::{Subject, open_driver, restart, step};

pub async fn a_broker_stays_the_same_over_restarts(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let known = step("ask who it is", driver.identity()).await.expect("the broker says who it is");
    assert!(!known.is_empty());
    let again = step("ask again", driver.identity()).await.expect("it says so again");
    assert_eq!(again, known);
    let driver = restart(subject, driver).await;
    let later = step("ask after a restart", driver.identity()).await.expect("it says so after a restart");
    assert_eq!(later, known);
}
